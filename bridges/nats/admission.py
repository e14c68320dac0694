"""Which requests wait for their turn, which of them is next, and which are refused.

Each row of the requests has limits of its own, so that no kind of work can take the places of another. Of what waits,
the kinds take their turns in the configured order, and within a kind it is the users' turn in the order in which they
came, each later by the places that they hold and have held of late. So who asks now and then waits for nobody who asks
all the time, and who has large requests does not get more time than who has small ones. The last free places are kept
from those who have held much more than others. Of one user's requests, the one whose deadline comes first is first.
When a row is full, whoever has most waiting there loses the last of it (longest queue drop), so that a newcomer is
heard.
"""

from bisect import insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, TypeVar

from bridges.nats.usage import Usage
from bridges.requests import Request
from deployments.settings.orchestration import NatsSettings, RequestLimits
from deployments.values.requests import RequestKind

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class RowLimits:
    """What one row of the requests may take.

    Attributes:
        kind: Whose places it shares and when its turn comes.
        in_flight: Requests worked on at once.
        waiting: Requests that wait.
        held_bytes: Of all payloads that wait and are worked on.
        wait_s: Seconds that a request waits at most.
    """

    kind: RequestKind
    in_flight: int
    waiting: int
    held_bytes: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Ticket(Generic[K]):
    """A request as the order of turns sees it.

    Attributes:
        row: The name of its row.
        user: Whose it is; requests of one user share that user's turns and places.
        size: Of its payload, in bytes.
        arrived: When, in seconds of `time.monotonic()`.
        deadline: When its answer has to be there.
        request: What is to be worked on.
    """

    row: str
    user: str
    size: int
    arrived: float
    deadline: float
    request: K


@dataclass(frozen=True, slots=True)
class Refused(Generic[K]):
    """A request that is not taken, or not kept.

    Attributes:
        ticket: The request.
        limit: Of its row, by the name of the field of `RowLimits`.
        allowed: The most that is allowed.
        given: How much it would have been.
        wait_s: Seconds after which none of those that wait now does so any more.
    """

    ticket: Ticket[K]
    limit: str
    allowed: float
    given: float
    wait_s: float = 0.0


_HELD_BYTES = 64 << 20
_CONTROL = RequestLimits(in_flight=4, waiting=64)
_CONTROL_ROWS = {
    # Each has passages found and a prompt read, for nobody who waits.
    "login": RequestLimits(in_flight=2, waiting=16),
    # Each is accepted when a server has kept it.
    "pipeline-trigger": RequestLimits(in_flight=16, waiting=256),
}


def row_limits(row: Request, settings: NatsSettings) -> RowLimits:
    """Return the limits of a row: what the settings say of it, and where they say nothing, what its kind has."""
    given = settings.limits.get(row.name, RequestLimits()).model_dump(exclude_none=True)
    return RowLimits(row.kind, **{**_defaults(row, settings), **given})


def _defaults(row: Request, settings: NatsSettings) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "in_flight": settings.max_in_flight,
        "waiting": settings.max_waiting,
        "held_bytes": _HELD_BYTES,
        "wait_s": settings.max_wait_s,
    }
    if row.kind is RequestKind.CONTROL:
        return defaults | _CONTROL_ROWS.get(row.name, _CONTROL).model_dump(exclude_none=True)
    if row.kind is RequestKind.INGESTION:
        documents = {
            "in_flight": max(1, settings.max_in_flight // 4),
            "waiting": min(64, settings.max_waiting),
            "wait_s": max(settings.max_wait_s, settings.ingest_timeout_s / 2),
        }
        return defaults | documents
    return defaults


@dataclass(slots=True)
class _Row(Generic[K]):
    """The requests of one row."""

    limits: RowLimits
    in_flight: int = 0
    held_bytes: int = 0
    waiting: int = 0
    # The users whose requests wait, in the order of their turns; the requests of each, the earliest deadline first.
    users: deque[str] = field(default_factory=deque[str])
    queues: dict[str, list[tuple[float, int, Ticket[K]]]] = field(
        default_factory=dict[str, list[tuple[float, int, Ticket[K]]]]
    )

    def waiting_bytes(self, user: str) -> int:
        """Return the bytes of a user's requests that wait."""
        return sum(entry[2].size for entry in self.queues.get(user, ()))


class Admission(Generic[K]):
    """The order of turns of one ingress.

    Not for several threads. Whoever takes a request says later that it has ended.

    Args:
        rows: The limits of each row, by its name.
        places: Requests of all kinds but control that are worked on at once.
        order: The kinds that share the places, the first one first.
        user_share: The part of the places that one user may hold; one place in any case.
    """

    def __init__(
        self, rows: Mapping[str, RowLimits], places: int, order: Sequence[RequestKind], user_share: float = 1.0
    ) -> None:
        self._rows: dict[str, _Row[K]] = {name: _Row(limits) for name, limits in rows.items()}
        self._usage = Usage(places, user_share)
        self._waiting = 0
        self._in_flight = 0
        rank = {kind: number for number, kind in enumerate((RequestKind.CONTROL, *order))}
        self._ranked = [
            [name for name, row in self._rows.items() if rank[row.limits.kind] == number] for number in range(len(rank))
        ]
        ingesting = [row.limits.in_flight for row in self._rows.values() if row.limits.kind is RequestKind.INGESTION]
        # One place is always another kind's.
        self._most_ingesting = min(max(ingesting, default=0), max(1, places - 1))
        self._ingesting = 0
        self._order = count()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._waiting

    @property
    def in_flight(self) -> int:
        """How many requests are worked on."""
        return self._in_flight

    def held(self) -> dict[str, int]:
        """Return how many requests wait and are worked on, by row; rows without any are not in it."""
        held = {name: row.waiting + row.in_flight for name, row in self._rows.items()}
        return {name: number for name, number in held.items() if number}

    def offer(self, ticket: Ticket[K]) -> list[Refused[K]]:
        """Let a request wait; return those that are refused for it, or itself where it is refused."""
        row = self._rows[ticket.row]
        limits = row.limits
        needed = row.held_bytes + ticket.size
        if needed > limits.held_bytes:
            return self._offer_for_bytes(row, ticket, needed)
        if row.waiting < limits.waiting or self._may_start(row, ticket):
            self._put(row, ticket)
            return []
        loser = max(row.users, key=lambda user: len(row.queues[user]), default=None)
        if loser is None or len(row.queues[loser]) <= len(row.queues.get(ticket.user, ())) + 1:
            return [Refused(ticket, "waiting", limits.waiting, row.waiting + 1, limits.wait_s)]
        refused = Refused(self._last_of(row, loser), "waiting", limits.waiting, row.waiting + 1, limits.wait_s)
        self._put(row, ticket)
        return [refused]

    def _offer_for_bytes(self, row: _Row[K], ticket: Ticket[K], needed: int) -> list[Refused[K]]:
        """Let a request wait in the room of whoever has most bytes waiting, and keeps no fewer than the newcomer."""
        most = row.limits.held_bytes
        loser = max(row.users, key=row.waiting_bytes, default=None)
        left = row.waiting_bytes(loser) - (needed - most) if loser else 0
        if loser is None or left < row.waiting_bytes(ticket.user) + ticket.size:
            return [Refused(ticket, "held_bytes", most, needed)]
        dropped: list[Refused[K]] = []
        while row.held_bytes + ticket.size > most:
            dropped.append(Refused(self._last_of(row, loser), "held_bytes", most, needed))
        self._put(row, ticket)
        return dropped

    def take(self, now: float) -> Ticket[K] | None:
        """Return the request whose turn it is, None where there is none or no place for it.

        Args:
            now: Seconds of the clock that the requests arrived by. With time alone there may be a place again.
        """
        for names in self._ranked:
            turns = [(turn, name) for name in names if (turn := self._next_of(self._rows[name], now))]
            if not turns:
                continue
            (_, user), name = min(turns, key=lambda one: one[0][0])
            # Of equals of one kind, the row that had its turn is last.
            names.remove(name)
            names.append(name)
            return self._begin(self._rows[name], user, now)
        return None

    def ended(self, ticket: Ticket[K], now: float) -> None:
        """Take note that a request that was taken has been answered."""
        row = self._rows[ticket.row]
        row.in_flight -= 1
        self._in_flight -= 1
        row.held_bytes -= ticket.size
        self._ingesting -= row.limits.kind is RequestKind.INGESTION
        if row.limits.kind is not RequestKind.CONTROL:
            self._usage.end(ticket.user, now)

    def overdue(self, now: float) -> list[Refused[K]]:
        """Take out the requests that have waited too long, or whose deadline has passed."""
        self._usage.forget(now)
        late: list[Refused[K]] = []
        for row in self._rows.values():
            longest = row.limits.wait_s
            for user in list(row.users):
                queue = row.queues[user]
                out = [entry for entry in queue if now - entry[2].arrived > longest or now >= entry[0]]
                if not out:
                    continue
                queue[:] = [entry for entry in queue if entry not in out]
                for _, _, ticket in out:
                    self._forget(row, ticket)
                    late.append(Refused(ticket, "wait_s", longest, now - ticket.arrived))
                self._tidy(row, user)
        return late

    def _put(self, row: _Row[K], ticket: Ticket[K]) -> None:
        if ticket.user not in row.queues:
            row.queues[ticket.user] = []
            row.users.append(ticket.user)
        insort(row.queues[ticket.user], (ticket.deadline, next(self._order), ticket))
        row.waiting += 1
        self._waiting += 1
        row.held_bytes += ticket.size

    def _forget(self, row: _Row[K], ticket: Ticket[K]) -> None:
        row.waiting -= 1
        self._waiting -= 1
        row.held_bytes -= ticket.size

    def _begin(self, row: _Row[K], user: str, now: float) -> Ticket[K]:
        _, _, ticket = row.queues[user].pop(0)
        self._end_turn(row, user)
        row.waiting -= 1
        self._waiting -= 1
        row.in_flight += 1
        self._in_flight += 1
        if row.limits.kind is not RequestKind.CONTROL:
            self._usage.begin(user, now)
        self._ingesting += row.limits.kind is RequestKind.INGESTION
        return ticket

    def _is_open(self, row: _Row[K]) -> bool:
        """Say whether one more request of a row may be worked on, as far as the row and its kind go."""
        if row.limits.kind is RequestKind.INGESTION and self._ingesting >= self._most_ingesting:
            return False
        return row.in_flight < row.limits.in_flight

    def _may_start(self, row: _Row[K], ticket: Ticket[K]) -> bool:
        """Say whether a request would be worked on at once, as far as its row and its user go."""
        if row.waiting or not self._is_open(row):
            return False
        return row.limits.kind is RequestKind.CONTROL or self._usage.may_begin(ticket.user, ticket.arrived)

    def _next_of(self, row: _Row[K], now: float) -> tuple[float, str] | None:
        """Return when the next turn of a row is and whose, None where nothing may be begun."""
        if not row.users or not self._is_open(row):
            return None
        if row.limits.kind is RequestKind.CONTROL:
            return row.queues[row.users[0]][0][2].arrived, row.users[0]
        if not self._usage.free:
            return None
        turns = [
            (self._usage.turn(user, row.queues[user][0][2].arrived, now), user)
            for user in row.users
            if self._usage.may_begin(user, now)
        ]
        return min(turns, key=lambda one: one[0], default=None)

    def _end_turn(self, row: _Row[K], user: str) -> None:
        """Let the other users have their turns before this one."""
        row.users.remove(user)
        row.users.append(user)
        self._tidy(row, user)

    def _tidy(self, row: _Row[K], user: str) -> None:
        """Forget a user without requests."""
        if not row.queues[user]:
            del row.queues[user]
            row.users.remove(user)

    def _last_of(self, row: _Row[K], user: str) -> Ticket[K]:
        """Take the last of a user's requests out."""
        _, _, last = row.queues[user].pop()
        self._forget(row, last)
        self._tidy(row, user)
        return last
