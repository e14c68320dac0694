"""Trying again what may succeed later: pauses that grow, and the one loop that makes them.

The loop is our own, and not that of a library such as stamina, for what it has to know: the seconds that an error of
ours asks for (`retry_after_s`), the deadline of a call, and work that is tried for as long as the service lives.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployments.errors import HearthError, UnavailableError

T = TypeVar("T")


class Backoff:
    """Pauses between attempts: each up to twice the one before, with chance in it so that many do not come at once.

    Args:
        first_s: Seconds of the first pause at most.
        longest_s: Seconds of any pause at most, unless an error asks for more.
        pauses: How many pauses there are before one gives up.
        total_s: Seconds of all pauses together before one gives up.
    """

    def __init__(
        self, first_s: float, longest_s: float, *, pauses: float = math.inf, total_s: float = math.inf
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._pauses = pauses
        self._total_s = total_s
        self.reset()

    def reset(self) -> None:
        """Begin anew, with a short pause: something went well."""
        self._next_s = min(self._first_s, self._longest_s)
        self._pauses_left = self._pauses
        self._seconds_left = self._total_s

    def next_s(self, at_least_s: float | None = None) -> float | None:
        """Return the seconds of the next pause; None where it is time to give up.

        Args:
            at_least_s: Seconds that the one who failed asks for; None where it says nothing.
        """
        pause = max(at_least_s or 0.0, self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 - nothing secret
        if self._pauses_left <= 0 or pause > self._seconds_left:
            return None
        self._next_s = min(2 * self._next_s, self._longest_s)
        self._pauses_left -= 1
        self._seconds_left -= pause
        return pause

    async def pause(self, at_least_s: float | None = None) -> bool:
        """Wait for the next pause; return False at once where it is time to give up."""
        seconds = self.next_s(at_least_s)
        if seconds is None:
            return False
        await asyncio.sleep(seconds)
        return True


def retry_after_s(header: str | None) -> float | None:
    """Return the seconds that an HTTP answer asks for; None where it has no such header, or one that holds a date."""
    text = (header or "").strip()
    seconds = float(text) if text.isdecimal() else math.inf
    return seconds if math.isfinite(seconds) else None


def _endless() -> float:
    return math.inf


def _unheeded(error: HearthError) -> None:
    del error


async def retry(
    work: Callable[[], Awaitable[T]],
    backoff: Backoff,
    *,
    on: type[HearthError] | tuple[type[HearthError], ...] = UnavailableError,
    remaining_s: Callable[[], float] = _endless,
    failed: Callable[[HearthError], None] = _unheeded,
) -> T:
    """Return what some work returns, done again after a pause for as long as it fails in a way that may pass.

    An error that asks for a longer pause than the next one (`retry_after_s`) is given it. Cancelling the caller ends
    both the work and the pauses.

    Args:
        work: Begins an attempt. It may be done more than once.
        backoff: The pauses, and when to give up.
        on: Errors after which to try again, where they say of themselves that it makes sense (`retryable`).
        remaining_s: Tells the seconds that are left, such as `Call.remaining`. A pause that would use them up is not
            begun.
        failed: Is told of each error after which the work is tried again, before the pause.

    Raises:
        HearthError: The last error of the work, where it was given up, or one that `on` does not name.
    """
    while True:
        try:
            return await work()
        except on as error:
            pause = backoff.next_s(error.retry_after_s) if error.retryable else None
            if pause is None or pause >= remaining_s():
                raise
            failed(error)
        await asyncio.sleep(pause)
