"""What the NATS server does not permit, although a part of Hearth needs it."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from bridges.nats_access import Violation, named
from bridges.subjects import SUBJECTS, Role
from deployments.call import Call
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

_MOST_PUBLISHED = 64
_HELD_S = 60.0
"""The server says nothing of a publish that it permits, so one that it refused counts for this long."""


class Refusals:
    """What one part of Hearth was refused, and whether it can do its work without.

    It cannot do without a subscription, nor without publishing on a subject that the table gives it. What a client
    chose for its answer is that client's affair.

    Args:
        role: The part.
        now: Seconds of a clock.

    Attributes:
        arrived: Set when a subscription was refused.
    """

    def __init__(self, role: Role, now: Callable[[], float] = time.monotonic) -> None:
        self._role = role
        self._now = now
        self._subscriptions: Counter[str] = Counter()
        self._published: dict[str, float] = {}
        self.arrived = asyncio.Event()

    @property
    def subscriptions(self) -> frozenset[str]:
        """The subjects whose subscriptions are refused."""
        return frozenset(self._subscriptions)

    def refused(self, violation: Violation, subscribed: Iterable[str]) -> None:
        """Take the server's word.

        Args:
            violation: What it refused.
            subscribed: Subjects that were subscribed to, as they are written.
        """
        if violation.is_subscription:
            subject = named(violation, subscribed)
            self._subscriptions[subject] += 1
            self.arrived.set()
            logger.error("the NATS server does not let %s subscribe to %s", self._role, subject)
        elif subject := self._own(violation.subject):
            self._published.pop(subject, None)
            self._published[subject] = self._now()
            if len(self._published) > _MOST_PUBLISHED:
                # Subjects hold ids that clients choose.
                del self._published[next(iter(self._published))]
            logger.error("the NATS server does not let %s publish on %s", self._role, subject)
        else:
            logger.warning("the NATS server does not let %s answer on %s", self._role, violation.subject)

    def count(self, subject: str) -> int:
        """Return how often a subscription was refused since it was last permitted."""
        return self._subscriptions[subject]

    def permitted(self, subject: str) -> None:
        """Take it that a subscription was not refused when it was asked for again."""
        del self._subscriptions[subject]

    def forget(self) -> None:
        """Begin anew, as a new connection does: the server refuses again what it does not permit."""
        self._subscriptions.clear()
        self._published.clear()

    def check(self) -> str:
        """Return what is refused now, in words; empty where nothing is."""
        self._published = {one: at for one, at in self._published.items() if self._now() - at < _HELD_S}
        refused = [f"subscribe to {one}" for one in sorted(self._subscriptions)]
        refused += [f"publish on {one}" for one in sorted(self._published)]
        return f"the server does not let {self._role} {', '.join(refused)}" if refused else ""

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Return the NATS server as what is not ready, and nothing where all is permitted; see `Reporting`."""
        del call
        detail = self.check()
        return (ComponentStatus("NATS", ready=False, detail=detail),) if detail else ()

    def _own(self, subject: str) -> str:
        """Return a subject that the table gives this part, as the table writes it; empty where it does not."""
        for row in SUBJECTS:
            tokens = replace(row, pattern=row.pattern.lower()).parameters(subject)
            if tokens is not None and self._role in row.publishers:
                return row.pattern.format(**tokens)
        return ""
