"""Trying again: how long the pauses are, and when it is time to give up."""

import asyncio
from collections.abc import Callable

import pytest

from deployments.backoff import Backoff, retry, retry_after_s
from deployments.errors import HearthError, NotFoundError, OverloadedError, UnavailableError

AWAY = UnavailableError("away")


class Work:
    """Fails as it is told, then works."""

    def __init__(self, *errors: HearthError) -> None:
        self.errors = list(errors)
        self.attempts = 0

    async def __call__(self) -> str:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each pause; none is waited for."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waited


def seconds(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_s() or 0.0 for _ in range(count)]


def test_pauses_grow_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(1.0, 5.0)
    for most, pause in zip([1.0, 2.0, 4.0, 5.0, 5.0], seconds(backoff, 5), strict=True):
        assert most / 2 <= pause <= most
    backoff.reset()
    assert 0.5 <= seconds(backoff, 1)[0] <= 1.0


def test_a_longer_pause_that_is_asked_for_is_given() -> None:
    backoff = Backoff(1.0, 5.0)
    assert backoff.next_s(30.0) == 30.0
    assert (backoff.next_s(0.0) or 0.0) >= 1.0, "the next one grows as ever"


@pytest.mark.parametrize("backoff", [Backoff(1.0, 1.0, pauses=3), Backoff(1.0, 1.0, total_s=2.0)])
def test_there_is_an_end_by_number_or_by_time(backoff: Backoff) -> None:
    given = [backoff.next_s() for _ in range(6)]
    assert given[:2] != [None, None]
    # A pause that no longer fits ends nothing: a shorter one that is drawn next may fit.
    assert given.count(None) >= 2
    backoff.reset()
    assert backoff.next_s() is not None


def test_what_would_be_waited_for_too_long_is_given_up_at_once() -> None:
    assert Backoff(1.0, 1.0, total_s=2.0).next_s(30.0) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-1", None),
        ("inf", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_seconds_are_read_from_a_header_and_dates_are_not(header: str, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


async def test_work_is_done_again_until_it_succeeds(pauses: list[float]) -> None:
    work, told = Work(AWAY, AWAY), list[HearthError]()
    assert await retry(work, Backoff(1.0, 8.0), failed=told.append) == "done"
    assert (work.attempts, len(pauses), told) == (3, 2, [AWAY, AWAY])


async def test_the_pause_that_an_error_asks_for_is_made(pauses: list[float]) -> None:
    assert await retry(Work(UnavailableError("away", retry_after_s=7.0)), Backoff(1.0, 2.0)) == "done"
    assert pauses == [7.0]


@pytest.mark.parametrize(
    "error", [NotFoundError("gone"), OverloadedError("too much"), UnavailableError("off", retryable=False)]
)
async def test_what_is_not_named_or_will_not_pass_is_not_tried_again(pauses: list[float], error: HearthError) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        await retry(work, Backoff(1.0, 8.0))
    assert (work.attempts, pauses) == (1, [])


async def test_several_kinds_may_be_named(pauses: list[float]) -> None:
    assert (
        await retry(Work(AWAY, OverloadedError("x")), Backoff(1, 8), on=(UnavailableError, OverloadedError)) == "done"
    )
    assert len(pauses) == 2


@pytest.mark.parametrize("until", [lambda: 0.4, lambda: 0.0], ids=["a pause would use it up", "nothing is left"])
async def test_no_pause_is_begun_past_the_deadline(pauses: list[float], until: Callable[[], float]) -> None:
    with pytest.raises(UnavailableError):
        await retry(Work(AWAY), Backoff(1.0, 8.0), remaining_s=until)
    assert pauses == []


async def test_cancelling_ends_a_pause() -> None:
    trying = asyncio.create_task(retry(Work(AWAY), Backoff(3600.0, 3600.0)))
    await asyncio.sleep(0)
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
