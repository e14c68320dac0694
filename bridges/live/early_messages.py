"""The messages that come while a replica does not know yet which sessions are its own."""

import logging
from collections import Counter, deque

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.client_messages import StreamStep

logger = logging.getLogger(__name__)

_MOST_BYTES = 32 << 20
_MOST_BYTES_OF_ONE = 8 << 20


class EarlyMessages:
    """Keeps the messages of sessions that begin now, each from its "start" on, in order.

    Of the others nothing is kept. They belong to other replicas, or to none: then the next chunk opens them. An old
    chunk could bring a session back that has ended at another replica meanwhile.
    """

    def __init__(self) -> None:
        self._messages: deque[Msg] = deque()
        self._begun: Counter[str] = Counter()
        self._bytes = 0
        self._has_lost = False

    def keep(self, message: Msg) -> None:
        """Keep a message if it is one of a session that begins, and there is room: 8 MiB for each, 32 MiB in all."""
        if message.subject not in self._begun and not _is_start(message):
            return
        size = _size(message)
        if self._bytes + size > _MOST_BYTES or self._begun[message.subject] + size > _MOST_BYTES_OF_ONE:
            if not self._has_lost:
                logger.warning("messages of new sessions are lost: too many come before the other replicas are known")
            self._has_lost = True
            return
        self._begun[message.subject] += size
        self._bytes += size
        self._messages.append(message)

    def forget(self, subject: str) -> None:
        """Keep no message of a session, which is heard in another way."""
        if subject not in self._begun:
            return
        del self._begun[subject]
        others = [message for message in self._messages if message.subject != subject]
        self._messages = deque(others)
        self._bytes = sum(_size(message) for message in others)

    def next(self) -> Msg | None:
        """Return the next message, once; None where there is none any more."""
        if not self._messages:
            self._begun.clear()
            return None
        message = self._messages.popleft()
        self._bytes -= _size(message)
        return message


def _size(message: Msg) -> int:
    return len(message.subject) + len(message.data)


def _is_start(message: Msg) -> bool:
    try:
        return messages_pb2.STTStreamMessage.FromString(message.data).type == StreamStep.START
    except DecodeError:
        return False
