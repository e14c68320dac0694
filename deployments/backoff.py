"""Pauses between attempts at something that is away."""

import random


class Pauses:
    """Pauses between attempts: each up to twice the one before, with chance in it so that many do not come at once.

    Args:
        first_s: Seconds of the first pause at most.
        longest_s: Seconds of any pause at most.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._next_s = first_s
        self._longest_s = longest_s

    def next(self, at_least_s: float = 0.0) -> float:
        """Return the seconds of the next pause."""
        pause = min(self._next_s, self._longest_s)
        self._next_s = pause * 2
        return max(at_least_s, pause * random.uniform(0.5, 1.0))  # noqa: S311 - nothing secret
