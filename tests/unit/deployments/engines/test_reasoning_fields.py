"""How much a model is to think goes out in the fields that its server accepts; those that it refuses are tried once."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest

from deployments.engines.language.reasoning_fields import AcceptedFields, Fields, all_fields
from deployments.errors import BackEnd, UnavailableError, UpstreamFailedError
from deployments.values.language import FinishReason, Generation, Piece, ReasoningEffort

NONE, LOW, HIGH = ReasoningEffort.NONE, ReasoningEffort.LOW, ReasoningEffort.HIGH
ANSWER = [Piece("Four"), Piece(end=FinishReason.STOP)]


def refusal(status: int = 400) -> UpstreamFailedError:
    return UpstreamFailedError("refused", retryable=False, back_end=BackEnd("language model", status))


class Server:
    """Refuses what `refuses` says."""

    def __init__(self, refuses: Callable[[Mapping[str, Any]], bool]) -> None:
        self._refuses = refuses
        self.asked: list[Fields] = []

    async def ask(self, fields: Fields) -> AsyncGenerator[Piece]:
        self.asked.append(fields)
        if self._refuses(fields):
            raise refusal()
        for piece in ANSWER:
            yield piece


async def answered(accepted: AcceptedFields, server: Server, generation: Generation) -> list[Piece]:
    return [piece async for piece in accepted.asked(generation, server.ask)]


SERVERS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "vLLM": lambda fields: fields.get("reasoning_effort") not in {None, "none", "low", "medium", "high"},
    "vLLM without a budget": lambda fields: "thinking_token_budget" in fields,
    "vLLM before it knew none": lambda fields: fields.get("reasoning_effort") == "none",
    "OpenAI": lambda fields: bool(fields.keys() - {"reasoning_effort"}),
    "OpenAI, o3": lambda fields: bool(fields.keys() - {"reasoning_effort"}) or fields.get("reasoning_effort") == "none",
    "LiteLLM, a model that does not think": bool,
}


def test_a_server_that_ignores_what_it_does_not_know_is_told_all() -> None:
    assert all_fields(Generation(effort=NONE)) == {
        "reasoning_effort": "none",
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False, "reasoning_effort": "none"},
    }
    assert all_fields(Generation(effort=HIGH, thought_tokens=100)) == {
        "reasoning_effort": "high",
        "chat_template_kwargs": {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"},
        "thinking_token_budget": 100,
        "thinking_budget_tokens": 100,
        "reasoning_budget_tokens": 100,
        "thinking_budget": 100,
        "reasoning": {"max_tokens": 100},
    }


async def test_where_nothing_is_to_be_said_nothing_is() -> None:
    server = Server(lambda _: False)
    assert await answered(AcceptedFields(), server, Generation()) == ANSWER
    assert server.asked == [{}]


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("effort", ReasoningEffort)
@pytest.mark.parametrize("budget", [None, 100])
async def test_what_a_server_refuses_is_tried_once(name: str, effort: ReasoningEffort, budget: int | None) -> None:
    server, accepted = Server(SERVERS[name]), AcceptedFields()
    generation = Generation(effort=effort, thought_tokens=budget)
    assert await answered(accepted, server, generation) == ANSWER
    tries = len(server.asked)
    assert tries <= 6
    assert await answered(accepted, server, generation) == ANSWER
    assert server.asked[tries:] == [server.asked[-1]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vLLM", {**all_fields(Generation(effort=NONE))}),
        (
            "vLLM before it knew none",
            {
                "reasoning_effort": "low",
                "chat_template_kwargs": {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
            },
        ),
        ("OpenAI", {"reasoning_effort": "none"}),
        ("OpenAI, o3", {"reasoning_effort": "low"}),
        ("LiteLLM, a model that does not think", {}),
    ],
)
async def test_no_thought_is_asked_for_as_nearly_as_a_server_knows_it(name: str, said: Fields) -> None:
    server = Server(SERVERS[name])
    await answered(AcceptedFields(), server, Generation(effort=NONE))
    assert server.asked[-1] == said


async def test_a_request_that_is_refused_for_something_else_is_an_error_each_time() -> None:
    server, accepted = Server(lambda _: True), AcceptedFields()
    for _ in range(2):
        with pytest.raises(UpstreamFailedError):
            await answered(accepted, server, Generation(effort=LOW))
    assert server.asked[-1] == {}


@pytest.mark.parametrize("error", [refusal(401), refusal(404), UpstreamFailedError("failed"), UnavailableError("away")])
async def test_what_is_no_refusal_of_a_request_is_not_tried_again(error: Exception) -> None:
    asked: list[Fields] = []

    async def ask(fields: Fields) -> AsyncGenerator[Piece]:
        asked.append(fields)
        raise error
        yield Piece()

    with pytest.raises(type(error)):
        [_ async for _ in AcceptedFields().asked(Generation(effort=LOW), ask)]
    assert len(asked) == 1


async def test_an_answer_that_breaks_off_is_not_asked_for_again() -> None:
    async def ask(fields: Fields) -> AsyncGenerator[Piece]:
        del fields
        yield ANSWER[0]
        raise refusal()

    answer = AcceptedFields().asked(Generation(effort=LOW), ask)
    assert await anext(answer) == ANSWER[0]
    with pytest.raises(UpstreamFailedError):
        await anext(answer)
