"""Ready-made adapters, and how one of somebody's own is found."""

import json
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.engines.adapter_protocols import load_adapter
from deployments.engines.adapters import ChatCompletions, Coqui, Embeddings, HttpRequest, Rerank, Speech, Transcription
from deployments.engines.shapes import ShapeError
from deployments.errors import UnavailableError
from deployments.values.language import Generation, Message, Role
from deployments.values.speech import SpeechText
from tests.refusals import refused

MESSAGES = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hello?")]


def over_a_handle(request: Any) -> Request:
    """Return a request as the deployment gets it."""
    assert isinstance(request, HttpRequest)
    arrived = pickle.loads(pickle.dumps(request))
    assert isinstance(arrived, Request)
    return arrived


def test_chat_is_asked_as_over_http() -> None:
    arguments = ChatCompletions("big").request(MESSAGES, Generation(max_tokens=7, temperature=0.5, stop=("\n",)))
    assert arguments.positional == (
        {
            "model": "big",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
            "max_tokens": 7,
            "temperature": 0.5,
            "stop": ["\n"],
            "stream": True,
        },
    )
    assert ChatCompletions(takes="named").request(MESSAGES, Generation()).named["max_tokens"] == 512


async def test_a_request_over_a_handle_is_one_of_starlette() -> None:
    arguments = ChatCompletions("big", takes="http").request(MESSAGES, Generation())
    request = over_a_handle(*arguments.positional)
    assert (request.method, request.url.path) == ("POST", "/v1/chat/completions")
    assert request.headers["content-type"] == "application/json"
    assert (await request.json())["model"] == "big"
    assert json.loads(await request.body())["stream"] is True


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"choices": [{"delta": {"content": "a"}}]}, "a"),
        ({"choices": [{"delta": {"role": "assistant", "content": None}}]}, ""),
        ({"choices": []}, ""),
        ({"choices": [{"message": {"content": "whole"}}]}, "whole"),
        (
            'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: {"choices": [{"delta": {"content": "b"}}]}\n\n',
            "ab",
        ),
        ("data: [DONE]\n\n", ""),
        (": ping\n\n", ""),
        ('id: 7\nretry: 30\nevent: message\ndata:{"choices": [{"delta": {"content": "a"}}]}\n\n', "a"),
        ({"choices": [{"delta": {"content": [{"type": "text", "text": "a"}]}}]}, "a"),
        (b'{"choices": [{"message": {"content": "whole"}}]}', "whole"),
        (JSONResponse({"choices": [{"message": {"content": "whole"}}]}), "whole"),
    ],
)
def test_text_is_read_out_of_what_deployments_answer(item: Any, text: str) -> None:
    assert ChatCompletions().text(item).text == text


@pytest.mark.parametrize("item", [{"error": {"message": "no"}}, "data: {", 7, {"choices": 7}])
def test_what_is_no_chat_completion_is_refused(item: Any) -> None:
    with pytest.raises((ShapeError, ValueError, AttributeError)):
        ChatCompletions().text(item)


def test_embeddings_are_put_in_order() -> None:
    assert Embeddings("m").request(["a", "b"]).positional == ({"model": "m", "input": ["a", "b"]},)
    answer = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]}
    assert Embeddings().vectors(answer) == [[1.0], [2.0]]
    pydantic = SimpleNamespace(model_dump=lambda: answer)
    assert Embeddings().vectors(pydantic) == [[1.0], [2.0]]


def test_scores_are_put_in_order() -> None:
    fields = {"query": "q", "documents": ["a", "b"], "top_n": 2}
    assert Rerank(takes="named").request("q", ["a", "b"]).named == fields
    assert Rerank().scores({"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "score": 0.1}]}) == [
        0.1,
        0.9,
    ]
    assert Rerank().scores([{"index": 0, "score": 0.5}]) == [0.5]


def test_speech_is_sent_as_a_wav_file() -> None:
    fields = Transcription("w").request(np.zeros(160, np.float32), "en").positional[0]
    assert isinstance(fields, dict)
    assert fields["file"][:4] == b"RIFF"
    assert (fields["language"], fields["model"]) == ("en", "w")
    assert Transcription().text(JSONResponse({"text": " hello "})) == "hello"


async def test_speech_over_http_is_a_form() -> None:
    request = over_a_handle(*Transcription(takes="http").request(np.zeros(160, np.float32), "").positional)
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    body = await request.body()
    assert b'name="file"; filename="utterance.wav"' in body
    assert b'name="language"' not in body


def test_sound_may_come_bare_or_in_a_response() -> None:
    assert Speech().sound(b"RIFF") == b"RIFF"
    assert Speech().sound(Response(b"RIFF")) == b"RIFF"
    with pytest.raises(ShapeError, match="dict where an audio file was expected"):
        Coqui().sound({"audio": "RIFF"})


def test_a_voice_sample_goes_along_where_its_field_is_named() -> None:
    sentence = SpeechText("hello", voice="v", reference=b"RIFF")
    assert Speech(reference_field="ref").request(sentence).positional[0]["ref"] == "UklGRg=="  # pyright: ignore[reportIndexIssue]
    assert Coqui(takes="named").request(sentence).named == {"text": "hello", "speaker_id": "v"}


async def test_coqui_over_http_is_a_get_and_a_form_with_a_sample() -> None:
    plain = over_a_handle(*Coqui(takes="http").request(SpeechText("hello", voice="v")).positional)
    assert (plain.method, dict(plain.query_params)) == ("GET", {"text": "hello", "speaker_id": "v"})
    sample = SpeechText("hello", reference=b"RIFF")
    form = over_a_handle(*Coqui(takes="http", reference_field="wav").request(sample).positional)
    assert (form.method, await form.body()) == ("POST", b"text=hello&wav=UklGRg%3D%3D")


def test_an_adapter_is_found_by_its_path() -> None:
    adapter = load_adapter("deployments.engines.adapters:Rerank", {"method": "rank", "takes": "named"})
    assert isinstance(adapter, Rerank)
    assert adapter.method == "rank"


@pytest.mark.parametrize(
    ("path", "arguments", "setting"),
    [
        ("deployments.engines.adapters", {}, "engine.adapter"),
        ("deployments.engines.nowhere:Rerank", {}, "engine.adapter"),
        ("deployments.engines.adapters:Nothing", {}, "engine.adapter"),
        ("deployments.engines.adapter_protocols:Arguments", {}, "engine.adapter"),
        ("deployments.engines.adapters:Rerank", {"metod": "rank"}, "engine.arguments"),
        ("deployments.engines.adapters:Rerank", {"takes": "carrots"}, "engine.arguments"),
    ],
)
def test_one_that_is_not_there_is_named_with_its_setting(path: str, arguments: dict[str, Any], setting: str) -> None:
    with refused(UnavailableError) as raised:
        load_adapter(path, arguments)
    assert raised.value.message.startswith(f"{setting}: ")
