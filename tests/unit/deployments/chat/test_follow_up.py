import pytest

from deployments.chat.follow_up import is_follow_up, resolve
from deployments.values.language import Exchange

FRANCE = Exchange("What is the capital of France?", "Paris.")


@pytest.mark.parametrize(
    "question",
    ["And its population?", "How old is it?", "What about Spain?", "Why?", "And on Sundays?", "When do they open?"],
)
def test_what_cannot_be_understood_by_itself_follows_up(question: str) -> None:
    assert is_follow_up(question)
    assert resolve(question, [FRANCE]) == f"What is the capital of France? {question}"


@pytest.mark.parametrize(
    "question", ["What is the capital of Spain?", "How much is a return ticket?", "Wo liegt der Bahnhof in Bern?"]
)
def test_what_stands_by_itself_is_taken_as_it_is(question: str) -> None:
    assert not is_follow_up(question)
    assert resolve(question, [FRANCE]) == question


def test_a_chain_of_follow_ups_leans_on_the_question_that_began_it() -> None:
    history = [FRANCE, Exchange("And its population?", "Two million."), Exchange("Its area?", "105 km².")]
    assert resolve("And its mayor?", history) == "What is the capital of France? And its mayor?"


def test_without_a_question_before_it_nothing_is_resolved() -> None:
    assert resolve("And its population?", []) == "And its population?"
    assert resolve("And now?", [Exchange("Why?", "Because.")]) == "And now?"
