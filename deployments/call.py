"""What travels with every call through the graph: who it is for, and how long it may take."""

import time
from dataclasses import dataclass
from typing import Self

from deployments.errors import DeadlineExceededError

Trace = tuple[tuple[str, str], ...]
"""The W3C headers `traceparent` and, where there is one, `tracestate`; empty for a call that belongs to no trace."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way through the graph.

    The deadline is a time of this process's monotonic clock. A pickled call carries the seconds that are left, and the
    counting starts again where it arrives, so that the clocks of two machines need not agree. The receiver does not
    count the time on the way. The caller does, and cancels.

    Attributes:
        request_id: Hearth's own id of the request, for logs: that of its trace, where it has one.
        deadline: When the answer must be there, in seconds of `time.monotonic()`.
        trace: The span that the call is made under; empty where the request is not traced.
        session: What the request belongs to, such as a conversation; empty where it stands alone. Deployments with
            several replicas can answer all requests of a session with the same one, which has read what went before.
    """

    request_id: str
    deadline: float
    trace: Trace = ()
    session: str = ""

    @classmethod
    def within(cls, seconds: float, request_id: str = "", trace: Trace = (), session: str = "") -> Self:
        """Start a call that has `seconds` from now."""
        return cls(request_id, time.monotonic() + seconds, trace, session)

    def remaining(self) -> float:
        """Return the seconds left, 0 when the deadline has passed."""
        return max(0.0, self.deadline - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise `DeadlineExceededError` when no time is left for `doing`."""
        if self.remaining() == 0.0:
            raise DeadlineExceededError(f"no time left for {doing}")

    def __reduce__(self) -> tuple[object, tuple[float, str, Trace, str]]:
        return type(self).within, (self.remaining(), self.request_id, self.trace, self.session)
