"""What the benchmark of upgrades counts as answered once, twice and not at all."""

import pytest

from tests.benchmarks.upgrade_chats import ANSWER, Asked, tally
from tests.benchmarks.upgrade_talk import Talk

ONCE = Asked(1.0, first_at=1.1, answered_at=1.2, finals=1, ends=1, text=ANSWER)


def counts(asked: Asked) -> tuple[int, int, int, int, int]:
    found = tally([asked])
    assert found.sent == 1
    return found.once, found.twice, found.refused, found.lost, found.broken


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ONCE, (1, 0, 0, 0, 0)),
        (Asked(1.0), (0, 0, 0, 1, 0)),
        (Asked(1.0, first_at=1.1, text=ANSWER), (0, 0, 0, 1, 0)),
        (Asked(1.0, answered_at=1.2, finals=1, error="overloaded"), (0, 0, 1, 0, 0)),
        (Asked(1.0, answered_at=1.2, finals=2, ends=1, text=ANSWER), (0, 1, 0, 0, 0)),
        (Asked(1.0, answered_at=1.2, finals=1, ends=2, text=ANSWER), (0, 1, 0, 0, 0)),
        (Asked(1.0, answered_at=1.2, finals=1, ends=1, text=f"Seven {ANSWER}"), (0, 1, 0, 0, 0)),
        (Asked(1.0, answered_at=1.2, finals=1, ends=1, text="Seven"), (1, 0, 0, 0, 1)),
    ],
)
def test_a_request_is_answered_once_or_said_to_be_what_it_is(
    asked: Asked, expected: tuple[int, int, int, int, int]
) -> None:
    assert counts(asked) == expected


def test_times_are_those_of_what_was_answered() -> None:
    found = tally([ONCE, Asked(5.0)])
    assert (found.answer_s, found.first_s) == (pytest.approx([0.2]), pytest.approx([0.1]))


def test_what_comes_back_belongs_to_the_last_utterance_that_was_over() -> None:
    talk = Talk("a", 2.0, [10.0, 20.0, 30.0], finals=[(13.0, 0), (32.5, 1), (33.0, 2)], answers=[21.0], stopped_at=40.0)
    assert talk.slots() == [(1, 1), (0, 0), (2, 0)]
    assert talk.went_on


@pytest.mark.parametrize("finals", [[(12.5, 0)], [(12.5, 0), (22.5, 0)]])
def test_a_session_ended_early_that_begins_anew_or_falls_silent(finals: list[tuple[float, int]]) -> None:
    assert not Talk("a", 2.0, [10.0, 20.0], finals=finals, stopped_at=30.0).went_on
