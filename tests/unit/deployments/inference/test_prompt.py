from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import InvalidRequestError, Limit
from deployments.inference.prompt import fit, reductions, to_messages
from deployments.values.language import Exchange, Message, Prompt, Role
from tests.refusals import refused

EXAMPLE = Exchange("When does it open?", "It opens at nine.", ("It opens at nine on weekdays.",))
PROMPT = Prompt(
    system="Answer briefly.",
    question="Who wrote it?",
    passages=("First passage.", "Second passage.", "Third passage."),
    examples=(EXAMPLE, EXAMPLE),
    history=(Exchange("Oldest?", "Yes."), Exchange("Newest?", "No.")),
)


async def count_words(messages: Sequence[Message]) -> int:
    return sum(len(message.content.split()) for message in messages)


def words(prompt: Prompt) -> int:
    return sum(len(message.content.split()) for message in to_messages(prompt))


def test_what_never_changes_comes_first_so_that_a_prefix_cache_holds_it() -> None:
    messages = to_messages(PROMPT)
    assert [message.role for message in messages] == [Role.SYSTEM, *[Role.USER, Role.ASSISTANT] * 4, Role.USER]
    assert messages[0].content == "Answer briefly."
    assert "It opens at nine on weekdays." in messages[1].content
    assert messages[5].content == "Oldest?"
    assert messages[-1].content.startswith("Passage:\n\nFirst passage.")
    assert messages[-1].content.endswith("Question: Who wrote it?")


def test_a_question_without_passages_is_asked_as_it_is() -> None:
    assert to_messages(Prompt("", "Who?")) == [Message(Role.USER, "Who?")]


async def test_a_prompt_that_fits_is_not_touched() -> None:
    assert await fit(PROMPT, 10_000, count_words) == to_messages(PROMPT)


def test_the_oldest_turn_goes_first_then_the_worst_passage_then_examples_then_the_last_passage() -> None:
    steps = [(len(step.history), len(step.passages), len(step.examples)) for step in reductions(PROMPT)]
    assert steps == [(2, 3, 2), (1, 3, 2), (0, 3, 2), (0, 2, 2), (0, 1, 2), (0, 1, 1), (0, 1, 0), (0, 0, 0)]
    assert reductions(PROMPT)[1].history == (Exchange("Newest?", "No."),)
    assert reductions(PROMPT)[4].passages == ("First passage.",)


@pytest.mark.parametrize("step", range(len(reductions(PROMPT))))
async def test_no_more_is_cut_than_needed(step: int) -> None:
    wanted = reductions(PROMPT)[step]
    assert await fit(PROMPT, words(wanted), count_words) == to_messages(wanted)


async def test_a_question_that_cannot_fit_is_refused_with_the_figures() -> None:
    with refused(InvalidRequestError, field="message", limit=Limit("engine.context_tokens", 4, 5)):
        await fit(PROMPT, 4, count_words)


@given(st.text(max_size=200), st.lists(st.text(max_size=100), max_size=5), st.integers(1, 120))
async def test_whatever_is_kept_is_whole(question: str, passages: list[str], limit: int) -> None:
    prompt = Prompt("s", question, tuple(passages))

    async def count_bytes(messages: Sequence[Message]) -> int:
        return sum(len(message.content.encode()) for message in messages)

    try:
        messages = await fit(prompt, limit, count_bytes)
    except InvalidRequestError:
        return
    assert messages in [to_messages(step) for step in reductions(prompt)]
    assert await count_bytes(messages) <= limit
