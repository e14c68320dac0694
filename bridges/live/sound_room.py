"""How much sound may wait to be heard: in one session, in all sessions of one user, and in all of a replica.

A client may send faster than anybody speaks, and listening has its pace. Nobody may take the room of the others by it:
besides its own limit, whoever has sound waiting may have no more of it than there is room left for others. So a
newcomer always finds some (dynamic thresholds: Choudhury and Hahne, 1998).
"""

from collections import Counter

from deployments.errors import Limit, OverloadedError
from deployments.settings.audio import AudioSettings
from deployments.values.sound import BYTES_PER_SAMPLE, SPEECH_RATE

_BYTES_PER_S = SPEECH_RATE * BYTES_PER_SAMPLE


class SoundRoom:
    """The room for the sound of all sessions of a replica.

    Args:
        settings: The limits.
    """

    def __init__(self, settings: AudioSettings) -> None:
        self._session_s = settings.max_backlog_s
        self._user_s = settings.max_user_backlog_s
        self._total_s = settings.max_total_backlog_s
        self._held: Counter[str] = Counter()
        self._total = 0

    @property
    def held_bytes(self) -> int:
        """The sound that waits in all sessions."""
        return self._total

    def take(self, owner: str, in_session: int, size: int) -> None:
        """Make room for sound.

        Args:
            owner: Whose sound it is.
            in_session: Bytes that wait in its session.
            size: Bytes that are to wait behind them.

        Raises:
            OverloadedError: There is none.
        """
        after = self._held[owner] + size
        if in_session + size > self._session_s * _BYTES_PER_S:
            raise self._full("audio.max_backlog_s", self._session_s, in_session + size, "in this session")
        if after > self._user_s * _BYTES_PER_S:
            raise self._full("audio.max_user_backlog_s", self._user_s, after, "in the sessions of this user")
        if after > self._total_s * _BYTES_PER_S - self._total - size:
            raise OverloadedError(
                "too much sound waits in all sessions: none is taken where so much waits already",
                limit=Limit("audio.max_total_backlog_s", self._total_s, (self._total + size) / _BYTES_PER_S),
            )
        self._add(owner, size)

    def leave(self, owner: str, size: int) -> None:
        """Take sound out."""
        self._add(owner, -size)

    def pass_on(self, owner: str, to: str, size: int) -> None:
        """Take sound as another one's, which makes it no more."""
        self._add(owner, -size)
        self._add(to, size)

    def _add(self, owner: str, size: int) -> None:
        self._total += size
        self._held[owner] += size
        if not self._held[owner]:
            del self._held[owner]

    def _full(self, name: str, most_s: float, size: int, where: str) -> OverloadedError:
        limit = Limit(name, most_s, size / _BYTES_PER_S)
        return OverloadedError(f"more than {most_s:g} s of sound wait {where}", limit=limit)
