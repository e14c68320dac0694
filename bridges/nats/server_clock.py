"""The time of day at the NATS server, which says when it has kept a request."""

import time
from datetime import datetime


class ServerClock:
    """Follows the server's clock: ours may be set otherwise, and may be set anew while a request waits."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None

    def set(self, now: datetime, asked_at: float) -> None:
        """Take the server's word what time it is: it said so between `asked_at`, of `time.monotonic()`, and now."""
        self._ahead_s = now.timestamp() - (asked_at + time.monotonic()) / 2

    def now(self) -> float:
        """Return the server's time, in seconds since 1970; our own as long as the server has said nothing."""
        return time.time() if self._ahead_s is None else time.monotonic() + self._ahead_s

    def age_s(self, then: datetime) -> float:
        """Return the seconds since a time of the server's; by our own clock as long as the server has said nothing."""
        return max(0.0, self.now() - then.timestamp())
