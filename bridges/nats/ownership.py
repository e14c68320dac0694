"""Which replica a session belongs to, where several listen to the same subjects.

Every replica hears every message and keeps those of its own sessions. A session stays with the replica that announced
it; a new one goes to the replica with the highest hash of the two names (rendezvous hashing), so that all agree without
asking, and a replica that comes or goes moves no more sessions than it must.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

_LOST_AFTER_S = 3.0


@dataclass(slots=True)
class _Replica:
    heard_at: float
    sessions: frozenset[str]


@dataclass(slots=True)
class SessionOwners:
    """What this replica knows of the others.

    Attributes:
        replica: Its own name.
    """

    replica: str
    _others: dict[str, _Replica] = field(default_factory=dict[str, _Replica])

    def heard(self, replica: str, sessions: Iterable[str], now: float) -> bool:
        """Take another replica's announcement; return whether it was unknown before."""
        if replica == self.replica:
            return False
        is_new = replica not in self._others
        self._others[replica] = _Replica(now, frozenset(sessions))
        return is_new

    def left(self, replica: str) -> None:
        """Take another replica's farewell."""
        self._others.pop(replica, None)

    def forget_lost(self, now: float) -> list[str]:
        """Count those out that have not been heard for 3 s, and return their names."""
        lost = [name for name, other in self._others.items() if now - other.heard_at > _LOST_AFTER_S]
        for name in lost:
            del self._others[name]
        return lost

    def is_mine(self, session_id: str) -> bool:
        """Say whether a session that is not open here yet is to be opened here."""
        if not self._others:
            return True
        if any(session_id in other.sessions for other in self._others.values()):
            return False
        return all(self._outweighs(session_id, other) for other in self._others)

    def lost_to(self, replica: str, mine: Iterable[str], theirs: Iterable[str]) -> set[str]:
        """Return the sessions of mine that another replica announced as its own and has more right to."""
        return {session_id for session_id in set(mine) & set(theirs) if not self._outweighs(session_id, replica)}

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the other replicas."""
        return tuple(self._others)

    def _outweighs(self, session_id: str, other: str) -> bool:
        return _weight(session_id, self.replica) > _weight(session_id, other)


def _weight(session_id: str, replica: str) -> bytes:
    return blake2b(f"{replica} {session_id}".encode(), digest_size=8).digest()
