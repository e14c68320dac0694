"""The clients of the live sessions, as messages reach them."""

from google.protobuf.message import Message

from bridges.nats.connection import Connection
from bridges.nats.outbox import Outbox
from bridges.nats.presence import Listeners
from bridges.subjects import AUDIO_STREAM, TRANSCRIPTION, subject_for


class SessionClients:
    """Sends to the clients of all sessions of a replica, over the connection that it is given by `connect`."""

    def __init__(self) -> None:
        self._connection: Connection

    def connect(self, connection: Connection) -> None:
        """Send over a connection from now on."""
        self._connection = connection

    async def tell(self, session_id: str, message: Message) -> None:
        """Publish a transcript, or an interruption, of a session."""
        await self._connection.publish(subject_for(TRANSCRIPTION, session_id=session_id), message.SerializeToString())

    async def reply(self, subject: str, message: Message) -> None:
        """Answer a message on its reply subject."""
        await self._connection.publish(subject, message.SerializeToString())

    def outbox(self) -> Outbox:
        """Return what the answers in a session are sent by."""
        return Outbox(self._connection, AUDIO_STREAM, "", {}, Listeners())
