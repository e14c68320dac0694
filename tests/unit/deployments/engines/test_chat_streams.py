"""Answers of chat completions in the bytes that servers and gateways really send, however the network cuts them."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.openai_chat import OpenAIChat
from deployments.engines.language.remote_model import RemoteLanguageModel
from deployments.engines.shapes import transcript_of
from deployments.errors import (
    BackEnd,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    PayloadTooLargeError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.values.language import FinishReason, Generation, Message, Piece, Role
from tests.refusals import refused

EVENT_STREAM = "text/event-stream"
DONE = "data: [DONE]\n\n"


class Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


async def pieces_of(
    *pieces: bytes, content_type: str = EVENT_STREAM, seconds: float = 5.0, status: int = 200
) -> list[Piece]:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": content_type}, stream=Pieces(list(pieces)))

    back_end = HttpBackEnd(
        "http://model.test", role="language model", takes_client_input=True, transport=httpx.MockTransport(answer)
    )
    engine = RemoteLanguageModel(OpenAIChat(back_end, model="big"), context_tokens=4096)
    async with aclosing(engine.generate(Call.within(seconds), [Message(Role.USER, "Hi")], Generation())) as generated:
        return [piece async for piece in generated]


async def answered(*pieces: bytes, content_type: str = EVENT_STREAM, seconds: float = 5.0, status: int = 200) -> str:
    sent = await pieces_of(*pieces, content_type=content_type, seconds=seconds, status=status)
    return "".join(piece.text for piece in sent)


def event(content: object, **choice: object) -> str:
    """Return an event as vLLM writes it, its text not escaped."""
    return f"data: {json.dumps({'choices': [{'delta': {'content': content}, **choice}]}, ensure_ascii=False)}\n\n"


TEXT = "Süd\u2028wind\u0085und\u2029ein\x1c\u000b😀 Ende"
STREAM = event(None) + ": keep-alive\n\n" + event(TEXT[:9]) + event(TEXT[9:]) + event("", finish_reason="stop") + DONE


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_an_answer_is_the_same_however_lines_end_and_the_bytes_are_cut(end: str) -> None:
    sent = STREAM.replace("\n", end).encode()
    cuts = random.Random(23)
    for _ in range(200):
        places = sorted(cuts.sample(range(len(sent) + 1), k=cuts.randint(0, 12)))
        pieces = [sent[start:stop] for start, stop in zip([0, *places], [*places, len(sent)], strict=True)]
        assert await answered(*pieces) == TEXT


@pytest.mark.parametrize(
    "stream",
    [
        event(None).replace('"content": null', '"content": null, "refusal": "Hello"') + DONE,
        event([{"type": "refusal", "refusal": "Hello"}]) + DONE,
        event("Hello").replace("data: ", "data:") + DONE.replace("data: ", "data:"),
        "\ufeff" + event("Hello") + DONE,
        "id: 7\nretry: 3000\nevent: message\n" + event("Hello") + DONE,
        event("Hello") + "data: [DONE]",
        event("Hello").strip() + "\n" + DONE,
        event("Hello", finish_reason="stop"),
        event("Hello") + event("", finish_reason="length"),
        event("Hello", finish_reason="stop") + 'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n',
        event("Hello", finish_reason="") + DONE,
        event("Hel", finish_reason="null") + event("lo", finish_reason="FINISH_REASON_UNSPECIFIED") + DONE,
        event("Hello").replace('"choices"', '"success": true, "base_resp": {"status_code": 0}, "choices"') + DONE,
        event("Hel") + event("lo") + 'data: {"choices": [{"delta": {}, "message": {"content": "Hello"}}]}\n\n' + DONE,
        event("Hello") + 'data: {"choices": [{"delta": null, "message": {"content": "Hello"}}]}\n\n',
        event("Hello") + "event: ping\ndata: {}\n\ndata: null\n\ndata:\n\n" + DONE,
        event("Hello", error=None, finish_reason=None).replace('"choices"', '"error": null, "choices"') + DONE,
        'data: {"choices": null}\n\ndata: {"choices": [null]}\n\ndata: {"choices": [{"delta": null}]}\n\n'
        + event("Hello")
        + DONE,
        'data: {\ndata: "choices":\ndata: [{"delta": {"content": "Hello"}}]}\n\n' + DONE,
        event([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hello"}])
        + DONE,
    ],
)
async def test_what_servers_add_or_leave_out_changes_no_answer(stream: str) -> None:
    assert await answered(stream.encode()) == "Hello"


@pytest.mark.parametrize("content_type", [EVENT_STREAM, "application/json", "text/plain; charset=iso-8859-1", ""])
@pytest.mark.parametrize(
    "body",
    [
        STREAM,
        json.dumps({"choices": [{"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]}),
        json.dumps({"choices": [{"message": {"content": TEXT}, "delta": None}], "error": None}, indent=1),
    ],
)
async def test_the_body_says_whether_it_is_a_stream(content_type: str, body: str) -> None:
    sent = body.encode()
    assert await answered(b"", b"\n", sent[:1], sent[1:90], sent[90:], content_type=content_type) == TEXT


FAILED = [
    {"error": {"message": "CUDA error", "type": "server_error"}},
    {"error": {"message": "CUDA error", "type": "None", "param": "None", "code": "500"}},
    {"error": "CUDA error"},
    {"object": "error", "message": "CUDA error", "type": "InternalServerError", "code": 500},
    {"type": "error", "error": {"type": "api_error", "message": "CUDA error"}},
    {"detail": "CUDA error"},
    {"detail": [{"loc": ["body"], "msg": "CUDA error"}]},
    {"message": "CUDA error"},
    {"Message": "CUDA error"},
    {"success": False, "reason": "CUDA error"},
    {"error_code": 17, "error_msg": "CUDA error"},
    {"fault": {"faultstring": "CUDA error"}},
    {"choices": [{"delta": {"error": "CUDA error"}}]},
    {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "CUDA error"}},
    {"choices": [{"delta": {}, "finish_reason": "ERROR", "message": "CUDA error"}]},
    {"choices": [{"delta": {}, "finish_reason": "cancelled", "message": "CUDA error"}]},
    {"choices": [{"delta": {}, "finish_reason": "engine_overloaded", "message": "CUDA error"}]},
    {"choices": [{"delta": {}, "finish_reason": "insufficient_system_resource", "message": "CUDA error"}]},
    {"choices": [{"delta": {}, "finish_reason": "repetition_truncation", "message": "CUDA error"}]},
    {"choices": [{"delta": {}, "finish_reason": "abort", "message": "CUDA error"}]},
    {
        "choices": [
            {"delta": {"content": ""}, "finish_reason": "error", "error": {"code": 500, "message": "CUDA error"}}
        ]
    },
]


@pytest.mark.parametrize("said", FAILED, ids=json.dumps)
@pytest.mark.parametrize("behind", [DONE, ""])
@pytest.mark.parametrize("before", [event("half"), ""])
async def test_an_error_inside_a_stream_is_an_error_and_its_words_are_logged(
    said: object, behind: str, before: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UpstreamFailedError) as caught:
        await answered(f"{before}data: {json.dumps(said)}\n\n{behind}".encode())
    assert "CUDA error" in caplog.text
    assert "CUDA error" not in caught.value.message


async def test_an_event_named_error_is_an_error_whatever_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    for data in ("CUDA error", '{"reason": "CUDA error"}', '{"error": "CUDA error"}'):
        caplog.clear()
        with pytest.raises(UpstreamFailedError):
            await answered(f"event: error\ndata: {data}\n\n{DONE}".encode())
        assert "CUDA error" in caplog.text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_an_error_line_of_llama_cpp_is_an_error_however_it_is_cut(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = json.dumps({"code": 500, "message": "CUDA error", "type": "server_error"})
    sent = f"{event('an error: no')}error: {said}\n\n".replace("\n", end).encode()
    for at in range(len(sent)):
        caplog.clear()
        with pytest.raises(UpstreamFailedError):
            await answered(sent[:at], sent[at:])
        assert "CUDA error" in caplog.text


async def test_an_error_line_of_llama_cpp_tells_a_question_that_is_too_long() -> None:
    said = {"code": 400, "message": "the request exceeds the context size", "type": "exceed_context_size_error"}
    with pytest.raises(InvalidRequestError):
        await answered(f"error: {json.dumps(said)}\n\n".encode())


@pytest.mark.parametrize(
    ("told", "end"),
    [
        ("stop", FinishReason.STOP),
        ("tool_calls", FinishReason.STOP),
        ("eos_token", FinishReason.STOP),
        ("length", FinishReason.TOKEN_LIMIT),
        ("MAX_TOKENS", FinishReason.TOKEN_LIMIT),
        ("model_context_window_exceeded", FinishReason.TOKEN_LIMIT),
        ("content_filter", FinishReason.CONTENT_FILTER),
        (None, FinishReason.STOP),
    ],
)
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_answer_says_why_it_ended(told: str | None, end: FinishReason, *, is_streamed: bool) -> None:
    whole = json.dumps({"choices": [{"message": {"content": "half"}, "finish_reason": told}]})
    body = event("half") + event(None, finish_reason=told) + DONE if is_streamed else whole
    pieces = await pieces_of(body.encode())
    assert pieces[0].text == "half"
    assert [piece.end for piece in pieces if piece.end] == [pieces[-1].end] == [end]


THOUGHTS: list[dict[str, object]] = [
    {"reasoning_content": "Hm", "content": None},
    {"reasoning": "Hm", "content": ""},
    {"reasoning": "Hm", "reasoning_content": "Hm"},
    {"thinking": "Hm"},
    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
    {"content": [{"type": "thinking", "thinking": "Hm"}]},
    {"content": [{"type": "reasoning", "reasoning": "Hm"}]},
]


@pytest.mark.parametrize("delta", THOUGHTS, ids=json.dumps)
async def test_what_a_model_thinks_is_no_text_of_its_answer(delta: dict[str, object]) -> None:
    thinking = json.dumps({"choices": [{"delta": delta}]})
    pieces = await pieces_of(f"data: {thinking}\n\n{event('Yes')}{DONE}".encode())
    assert pieces == [Piece(thought="Hm"), Piece("Yes"), Piece(end=FinishReason.STOP)]


async def test_a_status_inside_a_stream_counts_as_one_before_it() -> None:
    too_long = {"message": "This model's maximum context length is 4096 tokens", "code": "400"}
    with refused(OverloadedError, back_end=BackEnd("language model", 429)):
        await answered(b'data: {"error": {"message": "slow down", "code": "429"}}\n\n')
    with pytest.raises(Exception, match="too long") as caught:
        await answered(f"data: {json.dumps({'error': too_long})}\n\n".encode())
    assert isinstance(caught.value.__cause__, PayloadTooLargeError)


@pytest.mark.parametrize("stream", ["", ": ping\n\n", event("half"), "{}", "data: {}\n\n"])
async def test_a_body_that_tells_no_end_is_an_error(stream: str) -> None:
    with refused(UnavailableError, back_end=BackEnd("language model")):
        await answered(stream.encode())


async def test_comments_do_not_lengthen_the_time_of_an_answer() -> None:
    with pytest.raises(DeadlineExceededError):
        await answered(*[b": still here\n\n"] * 1000, event("late").encode(), seconds=0.001)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (['"Hi \\ud83d"', '"\\ude00!"'], "Hi 😀!"),
        (['"Hi"', '"\\ud83d"', '""', '"\\ude00"'], "Hi😀"),
        (['"Hi \\ud83d"', '"!"'], "Hi \ufffd!"),
        (['"Hi \\ude00"'], "Hi \ufffd"),
        (['"Hi \\ud83d"'], "Hi \ufffd"),
    ],
)
@pytest.mark.parametrize("field", ["content", "reasoning"])
async def test_halves_of_a_character_are_joined_or_replaced(field: str, parts: list[str], text: str) -> None:
    sent = "".join(f'data: {{"choices": [{{"delta": {{"{field}": {part}}}}}]}}\n\n' for part in parts)
    pieces = await pieces_of((sent + DONE).encode())
    assert "".join(piece.text + piece.thought for piece in pieces) == text


def test_a_transcript_has_no_half_of_a_character() -> None:
    assert transcript_of(json.loads('{"text": "Hi \\ud83d"}')) == "Hi \ufffd"


TOO_LONG = [
    "prompt is too long: 213462 tokens > 200000 maximum",
    "litellm.ContextWindowExceededError: Input is too long for requested model.",
    "Input is too long for requested model.",
    "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
]


@pytest.mark.parametrize("words", TOO_LONG)
async def test_a_question_that_is_too_long_is_the_client_s_to_shorten_in_the_words_of_any_server(words: str) -> None:
    with pytest.raises(InvalidRequestError, match="too long"):
        await answered(f"data: {json.dumps({'error': {'message': words}})}\n\n".encode())
    with pytest.raises(InvalidRequestError, match="too long"):
        await answered(json.dumps({"error": {"message": words}}).encode(), status=422)


async def test_a_code_inside_a_stream_tells_a_question_that_is_too_long() -> None:
    told = {"message": "too long", "code": "context_length_exceeded", "type": "invalid_request_error"}
    with pytest.raises(InvalidRequestError, match="too long"):
        await answered(f"data: {json.dumps({'error': told})}\n\n".encode())


WHOLE_ANSWER = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})


@pytest.mark.parametrize(
    "body",
    [
        f": OPENROUTER PROCESSING\n\n{WHOLE_ANSWER}",
        f": one\n\n: two\n\n\n{WHOLE_ANSWER}",
        f"{WHOLE_ANSWER}\n\n{DONE}",
        f": one\r\n\r\n{WHOLE_ANSWER}\r\ndata: [DONE]\r\n\r\n",
        f": one\n\n{event('Hello')}{DONE}",
    ],
)
async def test_a_whole_answer_may_have_comments_and_events_around_it(body: str) -> None:
    sent = body.encode()
    assert await answered(sent) == "Hello"
    for at in range(len(sent)):
        assert await answered(sent[:at], sent[at:]) == "Hello"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("<html><body>502 Bad Gateway</body></html>", "a web page"),
        ("\n<!doctype html>\n<p>Sign in: now</p>", "a web page"),
        ("upstream connect error or disconnect/reset before headers", "a text that is no answer"),
    ],
)
async def test_a_body_that_is_no_answer_is_told_as_what_it_is_and_asked_for_once(body: str, what: str) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, text=body)

    back_end = HttpBackEnd("http://model.test", role="language model", transport=httpx.MockTransport(answer))
    engine = RemoteLanguageModel(OpenAIChat(back_end, model="big"), context_tokens=4096)
    with pytest.raises(UpstreamFailedError, match=what):
        async with aclosing(engine.generate(Call.within(5.0), [Message(Role.USER, "Hi")], Generation())) as pieces:
            await anext(pieces)
    assert len(asked) == 1
