"""Models behind HTTP: the contract's requests, and every way in which a server can fail."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing

import httpx
import numpy as np
import pytest

from deployments.call import Call
from deployments.engines.hearing.openai_transcription import OpenAITranscription
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.openai_chat import OpenAIChat
from deployments.engines.language.remote_model import RemoteLanguageModel
from deployments.engines.speaking.http_speech import CoquiSpeech, OpenAISpeech
from deployments.engines.vectors.openai_embeddings import OpenAIEmbeddings
from deployments.engines.vectors.rerank_api import RerankApiReranker
from deployments.errors import (
    BackEnd,
    DeadlineExceededError,
    HearthError,
    InvalidRequestError,
    Limit,
    OverloadedError,
    PayloadTooLargeError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.values.access import Secret, ServerAccess
from deployments.values.language import Generation, Message, Piece, Role
from deployments.values.retrieval import Ranking
from deployments.values.sound import wav_file
from deployments.values.speech import SpeechText, TranscriptQuality
from tests.pieces import texts
from tests.refusals import refused
from tests.speaking import spoken_by

Answer = Callable[[httpx.Request], httpx.Response]
MESSAGES = [Message(Role.USER, "Hi")]


def server(
    answer: Answer, access: ServerAccess | None = None, *, role: str = "model", takes_client_input: bool = False
) -> HttpBackEnd:
    return HttpBackEnd(
        "http://model.test",
        role=role,
        access=access,
        takes_client_input=takes_client_input,
        transport=httpx.MockTransport(answer),
    )


def chat_engine(answer: Answer) -> RemoteLanguageModel:
    back_end = server(answer, role="language model", takes_client_input=True)
    return RemoteLanguageModel(OpenAIChat(back_end, model="big"), context_tokens=4096)


def refusing(status: int, body: str = "because: http://model.test", headers: Mapping[str, str] | None = None) -> Answer:
    return lambda _: httpx.Response(status, text=body, headers=headers)


async def embed(back_end: HttpBackEnd, seconds: float = 5.0) -> None:
    await OpenAIEmbeddings(back_end, model="m").embed(Call.within(seconds), ["x"])


def event(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


class Body(httpx.AsyncByteStream):
    """A response body that may break off, and that remembers being closed."""

    def __init__(self, *pieces: str, error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece.encode()
        if self._error:
            raise self._error

    async def aclose(self) -> None:
        self.closed = True


async def generate(engine: RemoteLanguageModel, seconds: float = 5.0) -> list[str]:
    generation = Generation(max_tokens=7, temperature=0.5, stop=("END",))
    return [text async for text in texts(engine.generate(Call.within(seconds), MESSAGES, generation))]


async def test_chat_asks_as_the_api_says_and_streams_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", "secret")
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        role = 'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'
        usage = 'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
        return httpx.Response(
            200, stream=Body(": ping\n\n", role, event("Hel"), event("lo"), usage, "data: [DONE]\n\n")
        )

    chat = OpenAIChat(server(answer, ServerAccess(Secret(variable="MODEL_KEY")), role="language model"), model="big")
    engine = RemoteLanguageModel(chat, context_tokens=4096)
    assert await generate(engine) == ["Hel", "lo"]
    assert engine.tokens_generated == 2
    assert asked[0].url == "http://model.test/v1/chat/completions"
    assert asked[0].headers["authorization"] == "Bearer secret"
    assert json.loads(asked[0].content) == {
        "model": "big",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "stop": ["END"],
        "stream": True,
    }


@pytest.mark.parametrize(
    "base_url", ["http://model.test", "http://model.test/", "http://model.test/v1", "http://model.test/v1/"]
)
async def test_a_base_url_may_end_with_the_api_s_version(base_url: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://model.test/v1/embeddings"
        return httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0]}]})

    back_end = HttpBackEnd(base_url, role="model", transport=httpx.MockTransport(answer))
    assert (await OpenAIEmbeddings(back_end, model="m").embed(Call.within(5.0), ["x"])).shape == (1, 1)


async def test_leaving_a_stream_closes_the_connection() -> None:
    body = Body(event("a"), event("b"), event("c"))
    engine = chat_engine(lambda _: httpx.Response(200, stream=body))
    async with aclosing(engine.generate(Call.within(5.0), MESSAGES, Generation())) as pieces:
        assert await anext(pieces) == Piece("a")
        assert not body.closed
    assert body.closed


async def test_a_server_that_comes_back_is_tried_again_before_the_first_token() -> None:
    attempts: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        attempts.append(1)
        if len(attempts) < 3:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, stream=Body(event("at last"), "data: [DONE]\n\n"))

    assert await generate(chat_engine(answer)) == ["at last"]


async def test_nothing_is_tried_again_after_the_first_token() -> None:
    attempts: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        attempts.append(1)
        return httpx.Response(200, stream=Body(event("half"), error=httpx.ReadError("reset", request=request)))

    async with aclosing(chat_engine(answer).generate(Call.within(5.0), MESSAGES, Generation())) as pieces:
        assert await anext(pieces) == Piece("half")
        with refused(UnavailableError, back_end=BackEnd("language model")):
            await anext(pieces)
    assert len(attempts) == 1


async def test_a_stream_that_ends_without_its_end_is_an_error() -> None:
    engine = chat_engine(lambda _: httpx.Response(200, stream=Body(event("half"))))
    with refused(UnavailableError, back_end=BackEnd("language model")):
        await generate(engine)


@pytest.mark.parametrize("line", ["data: not json\n\n", 'data: {"choices": [3]}\n\n', 'data: {"error": "boom"}\n\n'])
async def test_a_stream_that_cannot_be_read_is_an_error(line: str) -> None:
    with pytest.raises(UpstreamFailedError):
        await generate(chat_engine(lambda _: httpx.Response(200, stream=Body(line))))


OPERATORS = [301, 400, 401, 403, 404, 405, 409, 422]
PASSING = [
    (408, UnavailableError),
    (425, UnavailableError),
    (429, OverloadedError),
    (500, UpstreamFailedError),
    (502, UnavailableError),
    (503, UnavailableError),
    (504, UnavailableError),
]


@pytest.mark.parametrize("status", [*OPERATORS, 413])
async def test_a_refusal_is_the_operator_s_to_mend(status: int) -> None:
    with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("embeddings server", status)):
        await embed(server(refusing(status), role="embeddings server"))


@pytest.mark.parametrize(("status", "kind"), PASSING)
async def test_what_may_pass_may_be_tried_again(status: int, kind: type[HearthError]) -> None:
    with refused(kind, retryable=True, retry_after_s=None, back_end=BackEnd("model", status)):
        await embed(server(refusing(status)))


@pytest.mark.parametrize("status", [*OPERATORS, *(status for status, _ in PASSING)])
async def test_no_error_shows_where_a_server_is_or_what_it_said(status: int) -> None:
    with pytest.raises(HearthError) as raised:
        await embed(server(refusing(status), role="embeddings server"))
    assert "embeddings server" in raised.value.message
    assert str(status) in raised.value.message
    assert "model.test" not in raised.value.message
    assert "because" not in raised.value.message


@pytest.mark.parametrize(
    ("status", "setting"),
    [(401, "engine.api_key_variable"), (403, "engine.api_key_variable"), (404, "engine.model"), (400, "engine.kind")],
)
async def test_the_log_says_what_the_server_said_and_which_setting_to_look_at(
    status: int, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UpstreamFailedError):
        await embed(server(refusing(status, "x" * 1000), role="embeddings server"))
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    line = record.getMessage()
    assert f"embeddings server at http://model.test/v1/embeddings answered {status}: xxx" in line
    assert setting in line
    assert len(line) < 500


async def test_credentials_in_a_url_are_used_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(500, text="no")

    transport = httpx.MockTransport(answer)
    back_end = HttpBackEnd("http://ada:secret@model.test/v1", role="model", transport=transport)
    caplog.set_level(logging.DEBUG, "deployments")
    with pytest.raises(UpstreamFailedError):
        await embed(back_end)
    assert asked[0].headers["authorization"].startswith("Basic ")
    assert back_end.base_url == "http://model.test"
    assert "secret" not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")


@pytest.mark.parametrize(
    ("status", "retry_after", "kind", "seconds"),
    [
        (429, "30", OverloadedError, 30.0),
        (503, "30", UnavailableError, 30.0),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", UnavailableError, None),
    ],
)
async def test_a_server_that_says_when_to_come_back_is_quoted(
    status: int, retry_after: str, kind: type[HearthError], seconds: float | None
) -> None:
    with refused(kind, retryable=True, retry_after_s=seconds):
        await embed(server(refusing(status, headers={"Retry-After": retry_after})))


async def test_a_server_that_asks_for_a_long_wait_is_not_asked_again_while_somebody_waits() -> None:
    attempts: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        attempts.append(1)
        return httpx.Response(503, headers={"Retry-After": "30"})

    with refused(UnavailableError, retry_after_s=30.0):
        await embed(server(answer), seconds=60.0)
    assert len(attempts) == 1


TOO_LONG = [
    (400, {"error": {"code": "context_length_exceeded", "message": "reduce the length"}}),
    (400, {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}}),
    (400, {"object": "error", "message": "This model's maximum context length is 8 tokens. You requested 9"}),
    (400, {"object": "error", "message": "The input (9 tokens) is longer than the model's context length (8)."}),
    (413, {"message": "too large"}),
]
"""As OpenAI, llama.cpp, vLLM, SGLang and a proxy say it."""


@pytest.mark.parametrize(("status", "body"), TOO_LONG)
async def test_a_question_that_is_too_long_for_the_model_is_the_client_s(status: int, body: object) -> None:
    limit, back_end = Limit("engine.context_tokens", 4096), BackEnd("language model", status)
    with refused(InvalidRequestError, field="message", limit=limit, back_end=back_end):
        await generate(chat_engine(refusing(status, json.dumps(body))))


@pytest.mark.parametrize(("status", "body"), TOO_LONG)
async def test_what_hearth_itself_has_cut_too_long_is_not(status: int, body: object) -> None:
    with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("model", status)):
        await embed(server(refusing(status, json.dumps(body))))


async def test_a_text_that_is_too_long_to_be_spoken_is_the_client_s() -> None:
    back_end = server(refusing(413), role="speech server", takes_client_input=True)
    with refused(PayloadTooLargeError, back_end=BackEnd("speech server", 413)):
        await spoken_by(OpenAISpeech(back_end, model="", voices=("alloy",)), SpeechText("Hello", voice="alloy"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("x"), UnavailableError),
        (httpx.ConnectTimeout("x"), UnavailableError),
        (httpx.ReadTimeout("x"), DeadlineExceededError),
        (httpx.RemoteProtocolError("x"), UnavailableError),
        (httpx.DecodingError("x"), UpstreamFailedError),
    ],
)
async def test_a_broken_connection_is_told_as_what_it_is(error: Exception, kind: type[HearthError]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with refused(kind, retryable=True, back_end=BackEnd("model")) as raised:
        await embed(server(answer), seconds=5.0)
    assert "model.test" not in raised.value.message


async def test_no_request_is_made_when_no_time_is_left() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing may be sent")

    with pytest.raises(DeadlineExceededError):
        await OpenAIEmbeddings(server(answer), model="m").embed(Call.within(0.0), ["x"])


async def test_embeddings_come_in_the_order_of_the_texts_batch_by_batch() -> None:
    batches: list[list[str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        texts = json.loads(request.content)["input"]
        batches.append(texts)
        data = [{"index": index, "embedding": [float(len(text)), 0.0]} for index, text in enumerate(texts)]
        return httpx.Response(200, json={"data": data[::-1]})

    engine = OpenAIEmbeddings(server(answer), model="m", batch_size=2)
    vectors = await engine.embed(Call.within(5.0), ["a", "bb", "ccc"])
    assert batches == [["a", "bb"], ["ccc"]]
    assert np.allclose(vectors, [[1.0, 0.0]] * 3), "rows have length 1"


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0}]},
        {"wrong": 1},
        ["list"],
    ],
)
async def test_embeddings_that_do_not_fit_the_texts_are_refused(answer: object) -> None:
    with pytest.raises(UpstreamFailedError):
        await OpenAIEmbeddings(server(lambda _: httpx.Response(200, json=answer)), model="m").embed(
            Call.within(5.0), ["x"]
        )


@pytest.mark.parametrize("score", ["relevance_score", "score"])
async def test_a_reranker_is_asked_as_the_api_says_and_its_order_is_by_score(score: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/rerank"
        assert json.loads(request.content) == {"query": "q", "documents": ["a", "b"], "top_n": 2, "model": "m"}
        return httpx.Response(200, json={"results": [{"index": 0, score: 0.1}, {"index": 1, score: 0.9}]})

    rankings = await RerankApiReranker(server(answer), model="m").rerank(Call.within(5.0), "q", ["a", "b"])
    assert rankings == [Ranking(1, 0.9), Ranking(0, 0.1)]


@pytest.mark.parametrize(
    "answer",
    [
        {"results": [{"index": 0, "score": 1.0}]},
        {"results": [{"index": 0, "score": 1.0}, {"index": 0, "score": 1.0}]},
        {"results": [{"index": 0}, {"index": 1}]},
        {"results": 3},
        [],
    ],
)
async def test_a_ranking_that_does_not_fit_the_passages_is_refused(answer: object) -> None:
    with pytest.raises(UpstreamFailedError):
        await RerankApiReranker(server(lambda _: httpx.Response(200, json=answer))).rerank(
            Call.within(5.0), "q", ["a", "b"]
        )


async def test_no_passages_need_no_request() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing may be sent")

    assert await RerankApiReranker(server(answer)).rerank(Call.within(5.0), "q", []) == []


async def test_an_answer_that_is_not_json_is_refused() -> None:
    with refused(UpstreamFailedError, back_end=BackEnd("model")):
        await embed(server(refusing(200, "<html>")))


async def test_transcription_sends_a_wav_file_as_the_api_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", "secret")
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"text": " Hello. "})

    engine = OpenAITranscription(
        server(answer, ServerAccess(Secret(variable="MODEL_KEY"))), model="large", partial_model="small"
    )
    samples = np.zeros(1600, np.float32)
    assert (await engine.transcribe(Call.within(5), samples, "de", TranscriptQuality.FINAL)).text == "Hello."
    await engine.transcribe(Call.within(5), samples, "", TranscriptQuality.PARTIAL)
    final, partial = (request.content for request in asked)
    assert asked[0].url.path == "/v1/audio/transcriptions"
    assert asked[0].headers["Authorization"] == "Bearer secret"
    assert b'name="file"; filename="utterance.wav"' in final
    assert wav_file(bytes(3200), 16_000) in final
    assert b"large" in final
    assert b'name="language"\r\n\r\nde' in final
    assert b"small" in partial
    assert b'name="language"' not in partial


@pytest.mark.parametrize("body", [{}, [], {"words": "x"}])
async def test_a_transcript_of_another_shape_is_the_server_s_failure(body: object) -> None:
    engine = OpenAITranscription(server(lambda _: httpx.Response(200, json=body)), model="large")
    with pytest.raises(UpstreamFailedError):
        await engine.transcribe(Call.within(5), np.zeros(1600, np.float32), "", TranscriptQuality.FINAL)


async def transcribed(answer: Answer, language: str, default: str = "") -> str:
    back_end = server(answer, role="transcription server")
    engine = OpenAITranscription(back_end, model="large", language=default)
    samples = np.zeros(1600, np.float32)
    return (await engine.transcribe(Call.within(5), samples, language, TranscriptQuality.FINAL)).text


@pytest.mark.parametrize(
    ("asked_for", "set_to", "told"),
    [("en-US", "", b"en"), ("DE_at", "", b"de"), ("", "fr", b"fr"), ("de", "fr", b"de"), ("", "", None)],
)
async def test_a_transcription_server_is_told_the_language_as_it_knows_it(
    asked_for: str, set_to: str, told: bytes | None
) -> None:
    asked: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.content)
        return httpx.Response(200, json={"text": "Yes."})

    await transcribed(answer, asked_for, set_to)
    field = b'name="language"\r\n\r\n'
    assert (field in asked[0]) == (told is not None)
    if told is not None:
        assert asked[0].split(field)[1].startswith(told + b"\r\n")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"error": {"message": "unsupported language: xx\nLanguage must be one of: [en de]"}}),
        (400, {"error": {"message": "Language 'xx' is not supported.", "param": "language"}}),
        (400, {"object": "error", "message": "Unsupported language: 'xx'. Language must be one of ['en', 'de']."}),
        (422, {"detail": [{"loc": ["body", "language"], "msg": "Input should be 'en' or 'de'"}]}),
    ],
)
async def test_a_language_that_a_transcription_server_does_not_know_is_the_client_s(status: int, said: object) -> None:
    with refused(InvalidRequestError, field="language", back_end=BackEnd("transcription server", status)) as raised:
        await transcribed(refusing(status, json.dumps(said)), "xx")
    assert "language 'xx'" in raised.value.reason
    with refused(UpstreamFailedError, retryable=False):
        await transcribed(refusing(status, json.dumps(said)), "")


async def test_sound_that_a_transcription_server_does_not_read_is_named(caplog: pytest.LogCaptureFixture) -> None:
    said = "Invalid file format. Supported formats: ['flac', 'mp3']"
    with refused(UpstreamFailedError, retryable=False) as raised:
        await transcribed(refusing(400, said), "en")
    assert "does not read WAV files" in raised.value.reason
    assert said in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"text": " Yes.\n", "language": "english", "segments": []}),
        httpx.Response(200, text=" Yes.\n"),
    ],
)
async def test_a_transcript_comes_as_json_or_as_text(answer: httpx.Response) -> None:
    assert await transcribed(lambda _: answer, "en") == "Yes."


async def test_an_error_in_place_of_a_transcript_is_one_and_its_words_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As the server of whisper.cpp has it, with a status of success."""
    with pytest.raises(UpstreamFailedError):
        await transcribed(lambda _: httpx.Response(200, json={"error": "failed to process audio"}), "en")
    assert "failed to process audio" in caplog.text


async def test_speech_asks_as_the_openai_api_says_and_reads_the_wav() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=wav_file(b"\x00\x20" * 2205, 22_050))

    engine = OpenAISpeech(server(answer), model="tts", voices=("alloy", "nova"), reference_field="ref_audio")
    spoken = await spoken_by(engine, SpeechText("Hello there.", voice="nova", reference=b"RIFF"))
    assert (spoken.rate, spoken.seconds, spoken.text) == (22_050, 0.1, "Hello there.")
    assert [word.word for word in spoken.words] == ["Hello", "there."]
    body = json.loads(asked[0].content)
    assert asked[0].url.path == "/v1/audio/speech"
    assert body == {
        "input": "Hello there.",
        "voice": "nova",
        "response_format": "wav",
        "model": "tts",
        "ref_audio": "UklGRg==",
    }
    assert [voice.name for voice in engine.voices] == ["alloy", "nova"]
    assert engine.clones


async def test_speech_asks_as_coqui_s_server_expects() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=wav_file(bytes(4410), 22_050))

    engine = CoquiSpeech(server(answer), speakers=("p225",), language="en", reference_field="speaker_wav")
    await spoken_by(engine, SpeechText("Hello & bye", voice="p225", language="de"))
    await spoken_by(engine, SpeechText("Hello", voice="p225", reference=b"RIFF"))
    assert (asked[0].method, asked[0].url.path) == ("GET", "/api/tts")
    assert dict(asked[0].url.params) == {"text": "Hello & bye", "speaker_id": "p225", "language_id": "de"}
    assert asked[1].method == "POST"
    assert b"speaker_wav=UklGRg%3D%3D" in asked[1].content
    assert not CoquiSpeech(server(answer), speakers=("",)).clones


@pytest.mark.parametrize("content", [b"", b"<html>busy</html>", b'{"error": "no"}'])
async def test_an_answer_that_is_no_sound_is_the_server_s_failure(content: bytes) -> None:
    engine = CoquiSpeech(server(lambda _: httpx.Response(200, content=content)), speakers=("",))
    with pytest.raises(UpstreamFailedError):
        await spoken_by(engine, SpeechText("Hello"))


async def test_a_voice_that_the_server_does_not_know_is_a_wrong_setting() -> None:
    back_end = server(refusing(400, "no such voice"), role="speech server", takes_client_input=True)
    with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("speech server", 400)):
        await spoken_by(OpenAISpeech(back_end, model="", voices=("alloy",)), SpeechText("Hello", voice="alloy"))


async def test_a_server_that_is_gone_without_a_word_is_noticed() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        back_end = HttpBackEnd(f"http://{host}:{port}", role="model")
        async with back_end.stream(Call.within(5), "/", {}) as response:
            connected: socket.socket = response.extensions["network_stream"].get_extra_info("socket")
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, interval, count, unacknowledged_ms = (
                connected.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    socket.TCP_KEEPIDLE,
                    socket.TCP_KEEPINTVL,
                    socket.TCP_KEEPCNT,
                    socket.TCP_USER_TIMEOUT,
                )
            )
            assert idle + interval * count <= 30
            assert 0 < unacknowledged_ms <= 30_000
        await back_end.close()
