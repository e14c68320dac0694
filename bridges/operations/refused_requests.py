"""What is told of requests that were refused without any work.

Under overload there are thousands a second, and each line of the log costs as much as all the rest of its refusal. So
the first ones of each second have a line of their own, like every request; of further ones their number is told.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

_LINES_PER_S = 10


@dataclass(slots=True)
class RefusedSum:
    """Requests that were refused for one reason since the last time that anybody asked.

    Attributes:
        subject: Their pattern.
        kind: Of the error that they were answered with.
        number: How many there were.
        untold: How many of them have no line of their own.
    """

    subject: str
    kind: str
    number: int = 0
    untold: int = 0

    def log_line(self) -> str:
        """Return the line for those that have none."""
        return json.dumps(
            {"event": "requests_refused", "subject": self.subject, "outcome": self.kind, "requests": self.untold}
        )


class RefusedRequests:
    """Counts requests that were refused, by subject and kind of error: what is kept does not grow with them."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], RefusedSum] = {}
        self._second = 0
        self._lines = 0

    def add(self, subject: str, kind: str, now: float) -> bool:
        """Count one.

        Args:
            subject: Its pattern.
            kind: Of the error that it was answered with.
            now: Seconds of a clock.

        Returns:
            Whether it is to have a line of its own.
        """
        found = self._sums.get((subject, kind))
        if found is None:
            found = self._sums[(subject, kind)] = RefusedSum(subject, kind)
        found.number += 1
        if int(now) != self._second:
            self._second, self._lines = int(now), 0
        self._lines += 1
        if self._lines <= _LINES_PER_S:
            return True
        found.untold += 1
        return False

    def take(self) -> Iterator[RefusedSum]:
        """Give what was counted since the last time."""
        sums, self._sums = self._sums, {}
        yield from sums.values()
