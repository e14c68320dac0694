"""Servers that do not take what most take: asked otherwise once, and remembered."""

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.dialect import Dialect
from deployments.engines.language.openai_chat import OpenAIChat
from deployments.engines.language.remote_model import RemoteLanguageModel
from deployments.errors import InvalidRequestError, UpstreamFailedError
from deployments.values.language import FinishReason, Generation, Message, Role

MESSAGES = [Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi"), Message(Role.ASSISTANT, "Hello.")]
QUESTION = [*MESSAGES, Message(Role.USER, "Why?")]
STOPS = ("A", "B", "C", "D", "E")
Body = dict[str, Any]


def openai(message: str, param: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}})


class Server:
    """A server that refuses what it does not take, in its own words.

    Args:
        refuses: Returns the words of its refusal; empty for a request that it takes.
        status: Of its refusals.
        inside: Whether it refuses inside a stream that begins well.
        answer: What it says.
    """

    def __init__(
        self, refuses: Callable[[Body], str], status: int = 400, *, inside: bool = False, answer: str = "Yes."
    ) -> None:
        self.asked: list[Body] = []
        self._refuses, self._status, self._inside, self._answer = refuses, status, inside, answer
        back_end = HttpBackEnd(
            "http://model.test",
            role="language model",
            takes_client_input=True,
            transport=httpx.MockTransport(self._respond),
        )
        self._engine = RemoteLanguageModel(OpenAIChat(back_end, model="big"), context_tokens=4096)

    async def says(self, messages: list[Message] = QUESTION, stop: tuple[str, ...] = ()) -> str:
        generation = Generation(max_tokens=7, temperature=0.2, stop=stop)
        async with aclosing(self._engine.generate(Call.within(5.0), messages, generation)) as pieces:
            said = [piece async for piece in pieces]
        assert [piece.end for piece in said if piece.end] == [FinishReason.STOP]
        return "".join(piece.text for piece in said)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.asked.append(body)
        if refusal := self._refuses(body):
            if self._inside:
                return httpx.Response(200, text=f"data: {refusal}\n\n")
            return httpx.Response(self._status, text=refusal)
        if not body.get("stream"):
            return httpx.Response(200, json={"choices": [{"message": {"content": self._answer}}]})
        chunks = [json.dumps({"choices": [{"delta": {"content": letter}}]}) for letter in self._answer]
        return httpx.Response(200, text="".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]))


def roles(body: Body) -> list[str]:
    return [message["role"] for message in body["messages"]]


def refusing(field: str, words: str) -> Callable[[Body], str]:
    return lambda body: words if field in body else ""


NO_SYSTEM = [
    (400, {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400}),
    (400, {"error": {"message": "System role not supported System role not supported", "code": 400}}),
    (400, {"error": {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}}),
    (500, {"error": {"code": 500, "message": "Value is not callable: System role not supported", "type": "server"}}),
    (422, {"error": "Template error: System role not supported", "error_type": "template_error"}),
    (400, {"error": {"message": "'messages[0].role' does not support 'system' with this model."}}),
]


@pytest.mark.parametrize(("status", "said"), NO_SYSTEM)
@pytest.mark.parametrize("inside", [False, True])
async def test_a_template_without_a_system_role_gets_the_system_prompt_with_the_first_question(
    status: int, said: Mapping[str, object], *, inside: bool
) -> None:
    server = Server(lambda body: json.dumps(said) if "system" in roles(body) else "", status, inside=inside)
    assert [await server.says(), await server.says()] == ["Yes.", "Yes."]
    assert len(server.asked) == 3, "it is remembered"
    assert server.asked[-1]["messages"] == [
        {"role": "user", "content": "Be brief.\n\nHi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]


async def test_a_server_that_fails_without_a_word_is_tried_without_a_system_role_once() -> None:
    """SGLang does, where a template raises an error."""
    server = Server(lambda body: "Internal Server Error" if "system" in roles(body) else "", 500)
    assert await server.says() == "Yes."
    always = Server(lambda _: "Internal Server Error", 500)
    with pytest.raises(UpstreamFailedError):
        await always.says()
    assert len(always.asked) == 2


async def test_a_server_that_has_answered_and_then_fails_is_not_asked_otherwise() -> None:
    fails: list[str] = []
    server = Server(lambda _: "".join(fails), 500)
    await server.says()
    fails.append("out of memory")
    with pytest.raises(UpstreamFailedError):
        await server.says()
    assert len(server.asked) == 2


TOKENS = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


async def test_a_server_that_wants_max_completion_tokens_and_no_temperature_gets_that() -> None:
    def refuses(body: Body) -> str:
        if "max_tokens" in body:
            return openai(TOKENS, "max_tokens")
        words = "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is"
        return openai(f"{words} supported.", "temperature") if "temperature" in body else ""

    server = Server(refuses)
    assert [await server.says(), await server.says()] == ["Yes.", "Yes."]
    assert len(server.asked) == 4
    assert server.asked[-1].keys() == {"model", "messages", "stream", "max_completion_tokens"}
    assert server.asked[-1]["max_completion_tokens"] == 7


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (422, '{"error": "Input validation error: `temperature` must be strictly positive", "error_type": "x"}'),
        (400, openai("litellm.UnsupportedParamsError: big does not support parameters: ['temperature']")),
        (422, '{"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"], "msg": "Extra inputs"}]}'),
        (400, 'Unknown name "temperature": Cannot find field.'),
    ],
)
async def test_a_field_that_is_refused_by_its_name_is_left_out(status: int, words: str) -> None:
    server = Server(refusing("temperature", words), status)
    assert await server.says() == "Yes."
    assert server.asked[-1].keys() == {"model", "messages", "stream", "max_tokens"}


async def test_what_an_error_repeats_of_the_request_is_not_what_it_refuses() -> None:
    said = {"detail": [{"loc": ["body", "model"], "msg": "no such model", "input": {"temperature": 0.2, "stop": []}}]}
    server = Server(lambda _: json.dumps(said), 422)
    with pytest.raises(UpstreamFailedError):
        await server.says([Message(Role.USER, "Hi")])
    assert len(server.asked) == 1


async def test_a_question_that_is_too_long_is_asked_once() -> None:
    said = openai("'max_tokens' is too large: 7. This model's maximum context length is 4096 tokens")
    server = Server(lambda _: said)
    with pytest.raises(InvalidRequestError):
        await server.says()
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "words",
    [
        openai("Unsupported value: 'stream' does not support true with this model.", "stream"),
        openai("Your organization must be verified to stream this model.", "stream"),
        '{"detail": "Streaming is not supported"}',
    ],
)
async def test_a_server_that_refuses_to_stream_is_asked_for_the_whole_answer(words: str) -> None:
    server = Server(refusing("stream", words))
    assert [await server.says(), await server.says()] == ["Yes.", "Yes."]
    assert ["stream" in body for body in server.asked] == [True, False, False]


async def test_a_server_that_has_no_streaming_is_asked_for_the_whole_answer() -> None:
    server = Server(refusing("stream", "Not Implemented"), 501)
    assert [await server.says(), await server.says()] == ["Yes.", "Yes."]
    assert ["stream" in body for body in server.asked] == [True, False, False]


async def test_a_server_takes_as_many_stop_texts_as_it_can_and_the_answer_ends_at_the_others_too() -> None:
    long = openai("Invalid 'stop': array too long. Expected an array with maximum length 4, but got 5 instead.", "stop")
    four = Server(lambda body: long if len(body.get("stop", ())) > 4 else "", answer="Yes, CD. No, E. Why?")
    assert await four.says(stop=STOPS) == "Yes, CD. No, "
    assert four.asked[-1]["stop"] == ["A", "B", "C", "D"]
    none = Server(
        refusing("stop", openai("Unsupported parameter: 'stop' is not supported with this model.", "stop")),
        answer="Yes, -- and no, --- end",
    )
    assert await none.says(stop=(*STOPS, "---")) == "Yes, -- and no, "
    assert "stop" not in none.asked[-1]


async def test_a_server_that_is_never_content_is_not_asked_for_ever() -> None:
    def refuses(body: Body) -> str:
        return openai(f"Unsupported: {', '.join(body)}; system role not supported, cannot stream=True")

    server = Server(refuses)
    with pytest.raises(UpstreamFailedError):
        await server.says(stop=STOPS)
    assert len(server.asked) < 10


async def test_what_did_not_help_is_not_remembered() -> None:
    refusals = [openai("no 'temperature', please"), openai("and no credit")]
    server = Server(lambda _: refusals.pop(0) if refusals else "")
    with pytest.raises(UpstreamFailedError):
        await server.says([Message(Role.USER, "Hi")])
    assert await server.says() == "Yes."
    assert "temperature" in server.asked[-1]


@pytest.mark.parametrize("status", [400, 500])
def test_a_refusal_that_names_a_field_of_its_sender_is_the_sender_s_to_heed(status: int) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    body = {"messages": messages, "temperature": 0.2, "reasoning_effort": "none", "stream": True}
    said = openai("Unsupported value: 'reasoning_effort' does not support 'none' with this model.", "reasoning_effort")
    assert Dialect().after(status, said, body) is None
    assert Dialect().last_resort(status, said, body) is None
    assert Dialect().last_resort(status, "Bad Request", body) == Dialect(joins_system=True)
