"""The status of speech in a session: its words, and the messages that carry them."""

import time

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.sender import Sender
from bridges.subjects import SPEECH_STATUS, subject_for

PROCESSING, COMPLETED, ERROR = "processing", "completed", "error"
INTERRUPTED = "the listener interrupted it"
BROKEN_OFF = "it broke off: the replica that spoke it is gone"


def status_message(session_id: str, status: str, message: str = "") -> messages_pb2.TTSStatus:
    """Return how speech to a session fares."""
    return messages_pb2.TTSStatus(session_id=session_id, status=status, message=message, timestamp=int(time.time()))


async def tell_status(sender: Sender, session_id: str, status: str, message: str = "") -> None:
    """Publish how speech to a session fares."""
    await sender.send(subject_for(SPEECH_STATUS, session_id=session_id), status_message(session_id, status, message))
