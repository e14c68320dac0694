"""Ready-made adapters, and how one of somebody's own is found."""

import json
import pickle
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.engines.adapter_protocols import load_adapter
from deployments.engines.adapters import ChatCompletions, Coqui, Embeddings, HttpRequest, Rerank, Speech, Transcription
from deployments.engines.shapes import FailureToldError, ShapeError
from deployments.errors import UnavailableError
from deployments.settings.deployed import HandleSettings
from deployments.values.language import FinishReason, Generation, Message, Role
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
    adapter = load_adapter("deployments.engines.adapters:Rerank", {"method": "rank", "takes": "named"}, "scores")
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
        load_adapter(path, arguments, "scores")
    assert raised.value.message.startswith(f"{setting}: ")


OWN = {
    "broken": "def (",
    "fails": "raise RuntimeError('no card')",
    "picky": "class A:\n def __init__(self, size):\n  raise ValueError(f'size is {size}')",
    "instance": "A = object()",
    "nameless": "class A:\n method = None\n streams = False\n def request(self): ...\n scores = request",
    "unnamed": "class A:\n method = ''\n streams = False\n def request(self): ...\n scores = request",
    "unsure": "class A:\n method = 'm'\n streams = 'no'\n def request(self): ...\n scores = request",
    "readerless": "class A:\n method = 'm'\n streams = False\n def request(self): ...\n text = request",
    "mute": "class A:\n method = 'm'\n streams = False\n request = None\n def scores(self, answer): ...",
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "engine.adapter: own_broken:A cannot be imported: SyntaxError: "),
        ("fails", "engine.adapter: own_fails:A cannot be imported: RuntimeError: no card"),
        ("picky", "engine.arguments: own_picky:A does not take them: ValueError: size is 7"),
        ("instance", "engine.adapter: own_instance:A is of the type object; a class was expected"),
        ("nameless", "engine.adapter: `method` of own_nameless:A is None; the name of a method was expected"),
        ("unnamed", "engine.adapter: `method` of own_unnamed:A is ''; the name of a method was expected"),
        ("unsure", "engine.adapter: `streams` of own_unsure:A is 'no'; True or False was expected"),
        ("readerless", "engine.adapter: own_readerless:A has no method `scores`, which an adapter here needs"),
        ("mute", "engine.adapter: own_mute:A has no method `request`, which an adapter here needs"),
    ],
)
def test_one_that_is_none_is_named_when_it_is_loaded(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"own_{name}.py").write_text(OWN[name])
    monkeypatch.syspath_prepend(tmp_path)
    with refused(UnavailableError) as raised:
        load_adapter(f"own_{name}:A", {"size": 7} if name == "picky" else {}, "scores")
    assert raised.value.message.startswith(said)


@pytest.mark.parametrize("path", [".adapters:Rerank", ":Rerank", "adapters"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with refused(UnavailableError) as raised:
        load_adapter(path, {}, "scores")
    assert "is not of the form package.module:Class" in raised.value.message
    with pytest.raises(ValidationError, match="adapter"):
        HandleSettings.model_validate({"kind": "handle", "application": "a", "deployment": "d", "adapter": path})


@pytest.mark.parametrize("field", ["application", "deployment"])
def test_a_deployment_has_a_name(field: str) -> None:
    given = {"kind": "handle", "application": "a", "deployment": "d", "adapter": "a:B", field: ""}
    with pytest.raises(ValidationError, match=field):
        HandleSettings.model_validate(given)


class Delta(NamedTuple):
    content: str


@dataclass
class Choice:
    delta: Delta


class Body(BaseModel):
    body: str
    data: list[dict[str, Any]]


def test_an_object_is_read_by_its_attributes() -> None:
    choice = Choice(Delta("a"))
    for answer in (SimpleNamespace(choices=[choice]), {"choices": [choice]}, SimpleNamespace(choices=(choice,))):
        assert ChatCompletions().text(answer).text == "a"
    entry = SimpleNamespace(index=0, embedding=np.array([1.0, 2.0]))
    [vector] = Embeddings().vectors(SimpleNamespace(data=[entry]))
    assert list(vector) == [1.0, 2.0]


def test_a_field_named_body_is_a_field() -> None:
    answer = Body(body="x", data=[{"index": 0, "embedding": [1.0]}])
    assert Embeddings().vectors(answer) == [[1.0]]


async def test_the_client_of_a_request_over_a_handle_is_there() -> None:
    request = over_a_handle(*ChatCompletions(takes="http").request(MESSAGES, Generation()).positional)
    assert not await request.is_disconnected()
    async with aclosing(request.stream()) as pieces:
        assert [piece async for piece in pieces if piece]


@pytest.mark.parametrize(
    ("item", "end"),
    [
        ("data: [DONE]\n\n", FinishReason.STOP),
        ('data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n', FinishReason.TOKEN_LIMIT),
        ('data: {"choices": [{"delta": {"content": "a"}}]}\n\n', None),
        ('{"choices": [{"message": {"content": "whole"}}]}', FinishReason.STOP),
    ],
)
def test_an_event_tells_whether_it_ends_the_answer(item: str, end: FinishReason | None) -> None:
    assert ChatCompletions().text(item).end is end


def test_events_in_an_item_are_read_as_those_over_http() -> None:
    item = 'data: {"choices": [{"delta": {"content": "a\u2028b"}}]}\r\n\r\n'
    assert ChatCompletions().text(item).text == "a\u2028b"
    with pytest.raises(FailureToldError):
        ChatCompletions().text("event: error\ndata: CUDA error\n\n")
