"""What replicas tell each other of their sessions, without loss: changes, and all of them to those that missed some.

Nothing here sends anything. `ToldSessions` makes the messages of one replica, `PeerSessions` reads them at another one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bridges.generated.hearth.v1 import audio_pb2
from bridges.live.handover import SessionHandover

_ENVELOPE_BYTES = 128
"""What a message takes beside its replica's name and its sessions, amply."""
_MOST_BYTES = 262_144
"""Of one message, although the server may take more: it goes to every replica."""

T = TypeVar("T")


class ToldSessions:
    """What the others were told of this replica's sessions.

    Args:
        replica: Its name.
    """

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._version = 0
        self._told: dict[str, SessionHandover] = {}

    @property
    def session_ids(self) -> frozenset[str]:
        """The sessions that this replica has told to be its own."""
        return frozenset(self._told)

    def has(self, session_id: str) -> bool:
        """Say whether this replica has told that a session is its own."""
        return session_id in self._told

    def heartbeat(
        self, *, beat: int = 0, leaving: bool = False, asks: str = "", asks_everybody: bool = False
    ) -> audio_pb2.AudioReplica:
        """Return the message that says that this replica is there, and what it has told so far.

        Args:
            beat: When it is sent, in milliseconds of this replica's clock; 0 for one that renews no lease.
            leaving: Whether the others may take its sessions over.
            asks: The replica that is to tell all of its sessions.
            asks_everybody: Whether all are.
        """
        return audio_pb2.AudioReplica(
            replica=self._replica,
            version=self._version,
            leaving=leaving,
            asks=asks,
            asks_everybody=asks_everybody,
            beat=beat,
        )

    def changes(self, sessions: Iterable[SessionHandover], max_bytes: int) -> list[audio_pb2.AudioReplica]:
        """Return the messages that tell what has changed since the last ones; none where nothing has.

        Args:
            sessions: All that there are now.
            max_bytes: Of one message, as the server takes it.
        """
        now = {session.session_id: session for session in sessions}
        told, self._told = self._told, now
        return self._differences(told, now, max_bytes)

    def updates(
        self, sessions: Iterable[tuple[str, SessionHandover | None]], max_bytes: int
    ) -> list[audio_pb2.AudioReplica]:
        """Return the messages that tell what has changed in some sessions; none where nothing has.

        Args:
            sessions: Their ids, with what they are now; None for those that are no more.
            max_bytes: Of one message, as the server takes it.
        """
        now: dict[str, SessionHandover] = {}
        told: dict[str, SessionHandover] = {}
        for name, session in sessions:
            if (before := self._told.pop(name, None)) is not None:
                told[name] = before
            if session is not None:
                now[name] = self._told[name] = session
        return self._differences(told, now, max_bytes)

    def all(self, sessions: Iterable[SessionHandover], max_bytes: int) -> list[audio_pb2.AudioReplica]:
        """Return the messages that tell all sessions, whatever was told before; one at least.

        Args:
            sessions: All that there are now.
            max_bytes: Of one message, as the server takes it.
        """
        self._told = {session.session_id: session for session in sessions}
        # A version of its own, so that one that misses a piece of it sees the gap.
        self._version += 1
        told = [session.message() for session in self._told.values()]
        pieces = list(_packed(told, [one.ByteSize() for one in told], self._room(max_bytes))) or [[]]
        return [
            audio_pb2.AudioReplica(
                replica=self._replica,
                version=self._version,
                all=audio_pb2.AllSessions(piece=number, pieces=len(pieces), sessions=piece),
            )
            for number, piece in enumerate(pieces)
        ]

    def _differences(
        self, told: Mapping[str, SessionHandover], now: Mapping[str, SessionHandover], max_bytes: int
    ) -> list[audio_pb2.AudioReplica]:
        changed = [
            session.message(with_terms=before is None or before.terms != session.terms)
            for name, session in now.items()
            if (before := told.get(name)) != session
        ]
        gone = [name for name in told if name not in now]
        room = self._room(max_bytes)
        messages = [self._next(changed=some) for some in _packed(changed, [one.ByteSize() for one in changed], room)]
        messages += [self._next(gone=some) for some in _packed(gone, [len(name.encode()) for name in gone], room)]
        return messages

    def _next(self, changed: Sequence[audio_pb2.AudioSession] = (), gone: Sequence[str] = ()) -> audio_pb2.AudioReplica:
        self._version += 1
        return audio_pb2.AudioReplica(replica=self._replica, version=self._version, changed=changed, gone=gone)

    def _room(self, max_bytes: int) -> int:
        return min(max_bytes, _MOST_BYTES) - len(self._replica.encode()) - _ENVELOPE_BYTES


@dataclass(frozen=True, slots=True)
class SessionNews:
    """What a message told of a replica's sessions, by their ids.

    Attributes:
        changed: Those that are new or changed.
        gone: Those that it listens to no more.
    """

    changed: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class PeerSessions:
    """The sessions of another replica, as far as it has told them.

    Attributes:
        sessions: By their ids.
        is_whole: Whether it has told all, and nothing of what it told since was missed; else it is to be asked for all.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, SessionHandover] = {}
        self.is_whole = False
        self._version = 0
        self._collected: dict[str, SessionHandover] = {}
        self._next_piece = 0

    def take(self, message: audio_pb2.AudioReplica) -> SessionNews:
        """Take what the replica tells.

        Raises:
            InvalidRequestError: A session in it cannot be read.
        """
        if message.HasField("all"):
            return self._take_piece(message.version, message.all)
        if message.version != self._version + bool(message.changed or message.gone):
            self.is_whole = False
        self._version = message.version
        changed = [session.session_id for session in message.changed if self._keep(session, self.sessions)]
        gone = [session_id for session_id in message.gone if self.sessions.pop(session_id, None)]
        return SessionNews(frozenset(changed), frozenset(gone))

    def _take_piece(self, version: int, piece: audio_pb2.AllSessions) -> SessionNews:
        if piece.piece == 0:
            self._collected, self._next_piece = {}, 0
        elif piece.piece != self._next_piece or version != self._version:
            # One before it was lost.
            self._next_piece = -1
        # Until the last one is there.
        self.is_whole, self._version = False, version
        if self._next_piece < 0:
            return SessionNews()
        self._next_piece += 1
        for session in piece.sessions:
            self._keep(session, self._collected)
        return self._replaced() if self._next_piece == piece.pieces else SessionNews()

    def _replaced(self) -> SessionNews:
        before, self.sessions, self._collected = self.sessions, self._collected, {}
        self.is_whole = True
        return SessionNews(frozenset(self.sessions), frozenset(before.keys() - self.sessions.keys()))

    def _keep(self, message: audio_pb2.AudioSession, among: dict[str, SessionHandover]) -> bool:
        """Keep a session; return False for one whose terms were missed."""
        session = SessionHandover.from_message(message, among.get(message.session_id))
        if session is None:
            self.is_whole = False
            return False
        among[session.session_id] = session
        return True


def _packed(items: Sequence[T], sizes: Sequence[int], room: int) -> Iterator[list[T]]:
    """Yield the items in as few lists as keep within the room; one that is larger by itself gets a list of its own."""
    packed: list[T] = []
    used = 0
    for item, size in zip(items, sizes, strict=True):
        # Its field's number and length are counted with it.
        needed = size + 8
        if packed and used + needed > room:
            yield packed
            packed, used = [], 0
        packed.append(item)
        used += needed
    if packed:
        yield packed
