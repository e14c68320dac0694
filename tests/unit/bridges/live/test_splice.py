"""How a session goes from one way of its messages to another without losing or doubling one."""

from collections.abc import Sequence

import pytest

from bridges.live.splice import Splice

REST = (".", 0)
"""Nothing comes for a moment."""


def taken(events: Sequence[tuple[str, int]]) -> list[int]:
    """Return the numbers of the messages that are taken: each comes by the way "old" or "new"."""
    splice = Splice()
    found: list[int] = []
    for way, number in events:
        if (way == "old" and splice.old(b"%d" % number)) or (way == "new" and splice.new(b"%d" % number)):
            found.append(number)
        elif (way, number) == REST:
            splice.rest()
    return found


def old(*numbers: int) -> list[tuple[str, int]]:
    return [("old", number) for number in numbers]


def new(*numbers: int) -> list[tuple[str, int]]:
    return [("new", number) for number in numbers]


def test_the_new_way_is_taken_once_both_have_brought_the_same() -> None:
    assert taken([*old(1, 2), *new(2), REST, *new(3), *old(3), *new(4)]) == [1, 2, 3, 4]


@pytest.mark.parametrize("late", ["old", "new"])
def test_a_way_that_is_late_is_waited_for(late: str) -> None:
    first, second = (new(2, 3), old(2, 3)) if late == "old" else (old(2, 3), new(2, 3))
    assert taken([*old(1), *first, REST, *second, REST, *new(4), *old(4)]) == [1, 2, 3, 4]


def test_without_a_rest_the_old_way_is_taken() -> None:
    assert taken([*old(1), *new(1), *old(2), *new(2), *new(3), *old(3)]) == [1, 2, 3]


def test_the_new_way_is_not_taken_before_it_has_brought_anything() -> None:
    assert taken([*old(1), REST, *new(3), *old(2), *old(3), REST, *new(4)]) == [1, 2, 3, 4]


def test_messages_that_are_the_same_are_counted() -> None:
    assert taken([*old(1, 0, 0, 0), *new(0, 0), REST, *new(0, 0), *old(0, 0)]) == [1, 0, 0, 0, 0, 0]


def test_of_a_long_burst_the_last_messages_are_compared() -> None:
    burst = list(range(1000))
    assert taken([*old(*burst), *new(*burst[500:]), REST, *new(1000), *old(1000)]) == [*burst, 1000]
