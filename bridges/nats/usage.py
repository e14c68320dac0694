"""How many places each user holds, and has held of late."""

from math import exp

_LATE_S = 30.0
"""What lies further back than this counts for less than 1/e of what is now."""
_MUCH = 2.0
"""Times what the others have held on average."""
_LATER_S = 10.0
"""Whoever holds every place, and has done so, has the turn of somebody who came twice as much later."""
_NOTHING = 0.001
"""Places. Whoever has held less than this of late is forgotten."""


class Average:
    """The average over time of a number that changes in steps, in which what lies back fades exponentially.

    Args:
        now: Seconds of a clock. All times given later are of the same one, and none lies before an earlier one.

    Attributes:
        number: As it is now; 0 at first.
    """

    __slots__ = ("_at", "_value", "number")

    def __init__(self, now: float) -> None:
        self.number = 0
        self._value = 0.0
        self._at = now

    def at(self, now: float) -> float:
        """Return the average at a time."""
        kept = exp((self._at - now) / _LATE_S)
        return self._value * kept + self.number * (1 - kept)

    def add(self, change: int, now: float) -> None:
        """Change the number from now on."""
        self._value, self._at = self.at(now), now
        self.number += change


class Usage:
    """The places that users hold. What is kept grows with those who held one in the last minutes, and with nobody else.

    Args:
        places: That there are.
        share: The part of them that one user may hold; one place in any case.
    """

    def __init__(self, places: int, share: float) -> None:
        self._places = places
        self._most = max(1, int(places * share))
        # As many as keep a newcomer from waiting, which grows with the root of the places and not with their number
        # (Halfin and Whitt, Operations Research 1981).
        self._reserve = min(round(places**0.5), places - 1)
        self._users: dict[str, Average] = {}
        self._all = Average(0.0)

    @property
    def free(self) -> int:
        """Places that nobody holds."""
        return self._places - self._all.number

    def begin(self, user: str, now: float) -> None:
        """Let a user hold one more place."""
        self._users.setdefault(user, Average(now)).add(1, now)
        self._all.add(1, now)

    def end(self, user: str, now: float) -> None:
        """Take note that a user holds one place less."""
        self._users[user].add(-1, now)
        self._all.add(-1, now)

    def may_begin(self, user: str, now: float) -> bool:
        """Say whether a user may hold one more place."""
        found = self._users.get(user)
        if self.free <= 0 or (found and found.number >= self._most):
            return False
        return self.free > self._reserve or found is None or not self._holds_much(found.at(now), now)

    def turn(self, user: str, arrived: float, now: float) -> float:
        """Return when a user's turn is, in seconds of the clock: the earliest turn is the next one.

        It is the arrival of the request, later by what the user holds and has held of late. So who asks for more waits
        longer, and who has asked before is not overtaken for ever by those who never have.
        """
        found = self._users.get(user)
        held = found.number + found.at(now) if found else 0.0
        return arrived + _LATER_S * held / self._places

    def forget(self, now: float) -> None:
        """Forget those who have held no place for long."""
        gone = [user for user, held in self._users.items() if not held.number and held.at(now) < _NOTHING]
        for user in gone:
            del self._users[user]

    def _holds_much(self, held: float, now: float) -> bool:
        """Say whether somebody has held much more of late than the others have on average."""
        others = len(self._users) - 1
        return others > 0 and held > _MUCH * (self._all.at(now) - held) / others
