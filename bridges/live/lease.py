"""Whether a replica may speak for its sessions: nobody else can have taken them over meanwhile."""

import asyncio
import math
from collections.abc import Callable

from bridges.nats.connection import Publisher
from bridges.nats.ownership import LEASE_S
from bridges.operations.clock import now
from deployments.errors import UnavailableError

_WAITED_S = 30.0


class Lease:
    """The right to say something to the clients of a replica's sessions.

    It lasts for a while from the sending of each heartbeat that comes back. Once it has ended, another replica may have
    gone on with the sessions. So it begins again only when it is known which sessions the others have.

    Args:
        has_others: Says whether there are other replicas; a replica alone needs no lease.
    """

    def __init__(self, has_others: Callable[[], bool]) -> None:
        self._has_others = has_others
        self._sent_at = -math.inf
        self._begins_at = math.inf
        self._lapsed_at: float | None = None
        self._is_over = False
        self._restored = asyncio.Event()

    @property
    def lasts(self) -> bool:
        """Whether something may be said now."""
        if self._is_over or not self._has_others() or self._sent_at == -math.inf:
            # Before the first heartbeat of a replica nobody knows it.
            return True
        if self._lapsed_at is None and now() - self._sent_at > LEASE_S:
            self._lapsed_at, self._begins_at = now(), math.inf
            self._restored.clear()
        return self._lapsed_at is None

    async def wait(self) -> None:
        """Return once something may be said.

        Raises:
            UnavailableError: That took more than 30 s.
        """
        try:
            async with asyncio.timeout(_WAITED_S):
                while not self.lasts:
                    await self._restored.wait()
        except TimeoutError:
            raise UnavailableError("this replica has not heard from the others for too long") from None

    def renew(self, sent_at: float) -> None:
        """Take a heartbeat that came back.

        Args:
            sent_at: When it was sent.
        """
        # One that comes after a gap does not make good for it.
        _ = self.lasts
        self._sent_at = max(self._sent_at, sent_at)
        if self._lapsed_at is not None and sent_at > self._lapsed_at:
            self._begins_at = min(self._begins_at, sent_at)

    def know(self, heard_at: float) -> None:
        """Learn that the sessions of all others are known: a lease that had ended may begin again.

        Args:
            heard_at: When the one that was heard longest ago was heard.
        """
        # A message of before the end might not tell what was taken over since.
        if self._lapsed_at is not None and heard_at > self._begins_at and now() - self._sent_at <= LEASE_S:
            self._lapsed_at = None
            self._restored.set()

    def end(self) -> None:
        """Need it no more, because the replica leaves."""
        self._is_over = True
        self._restored.set()


class LeasedConnection:
    """Sends over a connection while a lease lasts, and waits where it has ended.

    Args:
        connection: Sends.
        lease: See `Lease`.
    """

    def __init__(self, connection: Publisher, lease: Lease) -> None:
        self._connection = connection
        self._lease = lease

    @property
    def max_payload(self) -> int:
        """As of the connection."""
        return self._connection.max_payload

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message.

        Raises:
            nats.errors.Error: It was not sent.
            UnavailableError: The lease did not begin again in time.
        """
        if not self._lease.lasts:
            await self._lease.wait()
        await self._connection.publish(subject, payload, reply, headers)
