"""Which replicas there are, and which of them a session belongs to, where several listen to the same subjects.

A new session goes to the replica with the highest hash of the two names (rendezvous hashing). So all agree without
asking, and a replica that comes or goes moves no more sessions than it must.

Each replica sends a heartbeat four times a second, or twice where it is alone, and hears its own. A replica that does
not hear itself is cut off from the server, and the silence of the others tells it nothing.

A replica that misses some heartbeats is suspected to be gone. Whoever suspects it asks the server, which knows whether
it is connected. One that is connected is only slow, or its machine is gone: it is given up after three seconds.

The other way round, each replica has a lease. It ends before anybody may suspect it, and a heartbeat that comes back
renews it. Without one, its sessions may belong to another replica by now, and it says nothing to their clients.
"""

import math
from dataclasses import dataclass, field
from hashlib import blake2b

HEARTBEAT_S = 0.25
"""Seconds between two heartbeats of a replica."""
ALONE_HEARTBEAT_S = 0.5
"""The same where no other replica is known: nobody waits for them, but the lease is to be valid when one comes."""
LEASE_S = 0.6
"""Seconds from the sending of a heartbeat to the end of the lease that it gives."""
_SUSPECTED_AFTER_S = 0.75
_BACK_S = 2.0
"""What the others are given to come back, too, after this replica was cut off: the server may have been away."""
_LOST_AFTER_S = 3.0
_DEAF_AFTER_S = 2.0


@dataclass(slots=True)
class SessionOwners:
    """What this replica knows of the others. Times are in seconds, on a clock that never goes back.

    Attributes:
        replica: Its own name.
    """

    replica: str
    _heard_at: dict[str, float] = field(default_factory=dict[str, float])
    _echo_at: float = -math.inf
    _hearing_since: float = math.inf
    _back_at: float = -math.inf

    def heard(self, replica: str, now: float) -> bool:
        """Take a heartbeat, of another replica or of this one; return whether it is of one that was unknown before."""
        if replica == self.replica:
            if now - self._echo_at > _DEAF_AFTER_S:
                self._hearing_since = now
            if now - self._echo_at > _SUSPECTED_AFTER_S:
                self._back_at = now
            self._echo_at = now
            return False
        is_new = replica not in self._heard_at
        self._heard_at[replica] = now
        return is_new

    def left(self, replica: str) -> None:
        """Take another replica's farewell."""
        self._heard_at.pop(replica, None)

    def forget_lost(self, now: float) -> list[str]:
        """Forget the replicas that were silent for 3 s, while this one heard itself; return their names."""
        if now - self._echo_at > _DEAF_AFTER_S:
            return []
        silent_since = now - _LOST_AFTER_S
        lost = [name for name, at in self._heard_at.items() if max(at, self._hearing_since) < silent_since]
        for name in lost:
            del self._heard_at[name]
        return lost

    def suspects(self, now: float) -> list[str]:
        """Return the replicas that were silent for 0.75 s, while this one heard itself: they may be gone."""
        if now - self._echo_at > _SUSPECTED_AFTER_S or now - self._back_at < _BACK_S:
            return []
        silent_since = now - _SUSPECTED_AFTER_S
        return [name for name, at in self._heard_at.items() if at < silent_since]

    def successor(self, session_id: str, owner: str) -> str:
        """Return the replica that a session belongs to once its replica is gone; empty where there is no other."""
        others = [name for name in (self.replica, *self._heard_at) if name != owner]
        return max(others, key=lambda name: _weight(session_id, name), default="")

    def is_mine(self, session_id: str) -> bool:
        """Say whether a session that no replica has yet is to be opened here."""
        return all(self.outweighs(session_id, other) for other in self._heard_at)

    def owner_of(self, session_id: str) -> str:
        """Return the replica that opens a session which no replica has yet."""
        return max((self.replica, *self._heard_at), key=lambda name: _weight(session_id, name))

    def outweighs(self, session_id: str, other: str) -> bool:
        """Say whether this replica has more right to a session than another one, should both have opened it."""
        return _weight(session_id, self.replica) > _weight(session_id, other)

    @property
    def heard_since(self) -> float:
        """When the other replica was heard that was heard longest ago; infinite where there is none."""
        return min(self._heard_at.values(), default=math.inf)

    @property
    def heartbeat_s(self) -> float:
        """The seconds to the next heartbeat."""
        return HEARTBEAT_S if self._heard_at else ALONE_HEARTBEAT_S

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the other replicas."""
        return tuple(self._heard_at)


def _weight(session_id: str, replica: str) -> bytes:
    return blake2b(f"{replica} {session_id}".encode(), digest_size=8).digest()
