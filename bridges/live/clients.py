"""The clients of the live sessions, as messages reach them."""

import logging

from google.protobuf.message import Message

from bridges.live.lease import Lease, LeasedConnection
from bridges.nats.connection import Connection
from bridges.nats.sender import Sender
from bridges.nats.trust import STRICT, Trust
from bridges.subjects import TRANSCRIPTION, subject_for

logger = logging.getLogger(__name__)


class SessionClients:
    """Sends to the clients of all sessions of a replica, over the connection that it is given by `connect`.

    It waits where another replica may have taken sessions over: see `Lease`. Then what it sends raises
    `UnavailableError` after a while.

    Args:
        lease: Whether something may be said.
        trust: Where clients are answered.
    """

    def __init__(self, lease: Lease, trust: Trust = STRICT) -> None:
        self._lease = lease
        self._trust = trust
        self._connection: LeasedConnection

    def connect(self, connection: Connection) -> None:
        """Send over a connection from now on."""
        self._connection = LeasedConnection(connection, self._lease)

    async def until_allowed(self) -> None:
        """Return once something may be said: at once, but for replicas that were cut off.

        Raises:
            UnavailableError: That took too long.
        """
        if not self._lease.lasts:
            await self._lease.wait()

    async def tell(self, session_id: str, message: Message) -> None:
        """Publish a transcript, or an interruption, of a session."""
        await self._connection.publish(subject_for(TRANSCRIPTION, session_id=session_id), message.SerializeToString())

    async def reply(self, subject: str, message: Message) -> None:
        """Answer a message on its reply subject, where that is one for answers."""
        if not self._trust.allows_reply(subject):
            logger.warning(
                "a message of a live session is not answered on %s: no inbox, none of nats.answer_subjects", subject
            )
            return
        await self._connection.publish(subject, message.SerializeToString())

    def sender(self) -> Sender:
        """Return what sends the answers in a session."""
        return Sender(self._connection)
