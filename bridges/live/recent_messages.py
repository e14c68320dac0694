"""The last messages of sessions that other replicas listen to, for the one that goes on should that replica die.

They are kept as they came, and nobody looks into them. What is kept of a session ends where its replica has told what
was said; so it is its last utterance, or some seconds of silence.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from bridges.live.handover import SessionHandover

_ENVELOPE_BYTES = 100
"""What a message takes beside its payload, roughly."""
_COMPARED = 256
_TRIMMED_TO = 0.9


@dataclass(frozen=True, slots=True)
class RecentMessage:
    """A message as it came.

    Attributes:
        at: When, on the loop's clock.
        data: Its payload.
        reply: Its reply subject.
        was_taken: Whether the replica that has died had taken it.
    """

    at: float
    data: bytes
    reply: str
    was_taken: bool


class _Ring:
    """The last messages of one session.

    Attributes:
        size: Their bytes.
    """

    __slots__ = ("_dropped", "_messages", "_offset", "_taken", "_told", "size")

    def __init__(self) -> None:
        self._messages: deque[tuple[float, bytes, bytes]] = deque()
        self._dropped = 0
        self._taken = 0
        self._told = 0
        self._offset: int | None = None
        self.size = 0

    def add(self, at: float, data: bytes, reply: bytes, since: float) -> int:
        """Add a message, and drop those of before `since`; return by how many bytes the ring has grown."""
        self._messages.append((at, data, reply))
        grown = len(data) + _ENVELOPE_BYTES
        self.size += grown
        while self._messages[0][0] < since:
            grown -= self._drop()
        return grown

    def settle(self, known: SessionHandover) -> int:
        """Drop what its replica does not need to go on; return how many bytes that were."""
        taken = self._number_of_last_taken(known)
        freed = 0
        while self._messages and self._dropped < taken - known.kept:
            freed += self._drop()
        self._taken = max(self._taken, taken)
        return freed

    def shrink(self, size: int) -> int:
        """Drop the oldest until no more than so many bytes are left; return how many bytes were dropped."""
        freed = 0
        while self.size > size:
            freed += self._drop()
        return freed

    def messages(self) -> Iterator[RecentMessage]:
        """Yield them in order."""
        for number, (at, data, reply) in enumerate(self._messages, self._dropped + 1):
            yield RecentMessage(at, data, reply.decode(errors="replace"), number <= self._taken)

    def _drop(self) -> int:
        _, data, _ = self._messages.popleft()
        freed = len(data) + _ENVELOPE_BYTES
        self.size -= freed
        self._dropped += 1
        return freed

    def _number_of_last_taken(self, known: SessionHandover) -> int:
        """Return the number, as counted here, of the last message that the replica had taken when it told that.

        Payloads may repeat, as those of digital silence do. So the count decides, once both counts were compared.
        """
        newest = self._dropped + len(self._messages)
        if known.taken < self._told:
            # The session began anew.
            self._offset = None
        self._told = known.taken
        if self._offset is not None:
            number = known.taken - self._offset
            index = number - self._dropped - 1
            # It may not have come here yet, or not be kept any more.
            if not 0 <= index < len(self._messages) or crc32(self._messages[index][1]) == known.last_taken:
                return number
        for back in range(min(len(self._messages), _COMPARED)):
            if crc32(self._messages[-1 - back][1]) == known.last_taken:
                self._offset = known.taken - (newest - back)
                return newest - back
        return newest


class RecentMessages:
    """The last messages of several sessions, by their ids.

    Args:
        keep_s: Seconds for which a message is kept at most.
        max_bytes: Of all that is kept, roughly.
    """

    def __init__(self, keep_s: float, max_bytes: int) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._rings: dict[str, _Ring] = {}
        self._size = 0

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._rings

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        return self._size

    def begin(self, session_id: str) -> None:
        """Keep the messages of a session from now on."""
        self._rings.setdefault(session_id, _Ring())

    def add(self, session_id: str, at: float, data: bytes, reply: bytes) -> None:
        """Keep a message, if it is of a session whose messages are kept."""
        ring = self._rings.get(session_id)
        if ring is None:
            return
        self._size += ring.add(at, data, reply, at - self._keep_s)
        if self._size > self._max_bytes:
            self._make_room()

    def settle(self, known: SessionHandover) -> None:
        """Drop what is not needed to go on with a session, as its replica tells."""
        ring = self._rings.get(known.session_id)
        if ring is not None:
            self._size -= ring.settle(known)

    def end(self, session_id: str) -> list[RecentMessage]:
        """Keep no message of a session any more, and return those that were kept."""
        ring = self._rings.pop(session_id, None)
        if ring is None:
            return []
        self._size -= ring.size
        return list(ring.messages())

    def _make_room(self) -> None:
        share = int(self._max_bytes * _TRIMMED_TO / len(self._rings))
        for ring in self._rings.values():
            self._size -= ring.shrink(share)
