"""The time of day at the NATS server, which says when it has kept a request."""

import time
from datetime import datetime


class ServerClock:
    """Follows the server's clock: ours may be set otherwise, and may be set anew while a request waits."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None

    def set(self, now: datetime) -> None:
        """Take the server's word what time it is."""
        self._ahead_s = now.timestamp() - time.monotonic()

    def age_s(self, then: datetime) -> float:
        """Return the seconds since a time of the server's; by our own clock as long as the server has said nothing."""
        now = time.time() if self._ahead_s is None else time.monotonic() + self._ahead_s
        return max(0.0, now - then.timestamp())
