"""A token bucket: so much may be taken at once, and so much comes back each second."""

from dataclasses import dataclass

_RESUMES_AT = 0.25
"""The share of a bucket that has to be back before more is taken than is known beforehand. Sound that was let through
as it trickles in would be cut into syllables."""

_ROUNDING = 1e-6
"""Of a bucket. Who waits as long as told is not to be refused for what was lost in rounding."""


@dataclass(slots=True)
class TokenBucket:
    """A bucket. It holds one time alone: when it will be full again (the generic cell rate algorithm, ATM Forum 1996).

    Times are in seconds on one clock.

    Attributes:
        per_s: What comes back each second.
        burst: What it holds when it is full.
        full_at: When it is full, if nothing more is taken.
        is_exhausted: Whether more had to be refused, and not enough has come back yet.
    """

    per_s: float
    burst: float
    full_at: float = 0.0
    is_exhausted: bool = False

    def take(self, amount: float, now: float) -> float:
        """Take an amount; return 0, or the seconds after which it can be taken where it cannot now.

        More than `burst` can never be taken.
        """
        lacking = amount - self._held(now)
        if lacking > self.burst * _ROUNDING:
            return lacking / self.per_s
        self.spend(amount, now)
        return 0.0

    def spend(self, amount: float, now: float) -> None:
        """Take an amount that was used already, whether or not the bucket holds it."""
        self.full_at = max(self.full_at, now) + amount / self.per_s

    def wait(self, now: float) -> float:
        """Return the seconds for which nothing may be used of which it is known only afterwards how much it was."""
        held = self._held(now)
        if held <= 0:
            self.is_exhausted = True
        lacking = self.burst * _RESUMES_AT - held
        if self.is_exhausted and lacking > self.burst * _ROUNDING:
            return lacking / self.per_s
        self.is_exhausted = False
        return 0.0

    def is_full(self, now: float) -> bool:
        """Say whether it is as if nothing had ever been taken."""
        return self.full_at <= now

    def _held(self, now: float) -> float:
        return self.burst - max(0.0, self.full_at - now) * self.per_s
