"""What an ingress is doing, and what of late went wrong: for those who ask how it is."""

import time
from collections import deque
from dataclasses import dataclass

_ERRORS_KEPT = 10


@dataclass(frozen=True, slots=True)
class RequestError:
    """A request that failed.

    Attributes:
        at: When its answer was out, in Unix seconds.
        subject: Its pattern.
        kind: The class of the error.
    """

    at: float
    subject: str
    kind: str


class Activity:
    """How many requests an ingress has, and the last of those that failed.

    Attributes:
        in_flight: Requests that are worked on.
        waiting: Requests that wait for their turn.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiting = 0
        self._errors: deque[RequestError] = deque(maxlen=_ERRORS_KEPT)

    def open(self, in_flight: int, waiting: int) -> None:
        """Take note of how many requests there are."""
        self.in_flight, self.waiting = in_flight, waiting

    def failed(self, subject: str, kind: str) -> None:
        """Take note of a request that failed.

        Args:
            subject: Its pattern.
            kind: The class of the error. What its client was told may quote its user, and others ask how we are.
        """
        self._errors.append(RequestError(time.time(), subject, kind))

    def last_errors(self) -> tuple[RequestError, ...]:
        """Return the last requests that failed, the newest first."""
        return tuple(reversed(self._errors))
