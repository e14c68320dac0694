"""What the graph does for each session, so that an interruption can stop all of it.

An interruption raises the session's epoch. Work knows the epoch that it began in and asks, right before it publishes,
whether that is still the current one. Asking and publishing happen without a pause between them, on the connection
that the interruption is told on: so nothing of an interrupted answer is ever sent after the interruption.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PLAYBACK_PIECES = 256
_ECHO_DELAY_S = 0.5


@dataclass(slots=True)
class Work:
    """Something that is done for a session.

    Attributes:
        epoch: Of the session when it began.
        stop: Told of the interruption, once, before it is published; nothing of the work may be published after it
            returns.
        task: Cancelled then.
        interrupted: Whether the session was interrupted since.
    """

    epoch: int
    stop: Callable[[], Awaitable[None]]
    task: asyncio.Task[object]
    interrupted: bool = False


@dataclass(slots=True)
class _Session:
    epoch: int = 0
    work: list[Work] = field(default_factory=list[Work])
    playback: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=_PLAYBACK_PIECES))
    is_kept: bool = False


class SessionWork:
    """All work for all sessions of this process."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}

    def keep(self, session_id: str) -> None:
        """Remember a session's epoch until `forget`, also while nothing is done for it."""
        self._sessions.setdefault(session_id, _Session()).is_kept = True

    def forget(self, session_id: str) -> None:
        """Remember it no longer than its work lasts."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.is_kept = False
            self._drop_idle(session_id, session)

    def adopt(self, session_id: str, epoch: int) -> None:
        """Take over what another replica knows: a session's epoch. It is remembered until `forget`."""
        session = self._sessions.setdefault(session_id, _Session())
        session.epoch = max(session.epoch, epoch)
        session.is_kept = True

    def epoch(self, session_id: str) -> int:
        """Return how often a session was interrupted."""
        session = self._sessions.get(session_id)
        return session.epoch if session else 0

    @contextmanager
    def under(
        self, session_id: str, stop: Callable[[], Awaitable[None]], task: asyncio.Task[object]
    ) -> Generator[Work]:
        """Count `task` as work for a session while the block lasts."""
        session = self._sessions.setdefault(session_id, _Session())
        work = Work(session.epoch, stop, task)
        session.work.append(work)
        try:
            yield work
        finally:
            session.work.remove(work)
            self._drop_idle(session_id, session)

    async def interrupt(self, session_id: str, epoch: int = 0) -> int:
        """Stop what is done for a session and return its new epoch; to be published only after this.

        Args:
            session_id: Whose.
            epoch: The new one, where another replica has raised it already.
        """
        session = self._sessions.setdefault(session_id, _Session())
        session.epoch = epoch or session.epoch + 1
        session.playback.clear()
        for work in list(session.work):
            if not work.interrupted:
                work.interrupted = True
                await work.stop()
                work.task.cancel()
        self._drop_idle(session_id, session)
        return session.epoch

    def played(self, session_id: str, start: float, seconds: float, level: float) -> None:
        """Take note of sound that was sent to be played.

        Args:
            session_id: Whose.
            start: When it was sent, on the loop's clock; it is played behind what was sent before it.
            seconds: How long it lasts.
            level: How loud it is, as root mean square from 0 to 1.
        """
        session = self._sessions.get(session_id)
        if session is None:
            return
        begins = max(start, session.playback[-1][1] if session.playback else start)
        session.playback.append((begins, begins + seconds, level))

    def playback_level(self, session_id: str, now: float) -> float:
        """Return how loud the sound is that a session hears, or heard half a second ago; 0 where none is known."""
        session = self._sessions.get(session_id)
        if session is None:
            return 0.0
        heard = (level for begins, ends, level in session.playback if begins <= now <= ends + _ECHO_DELAY_S)
        return max(heard, default=0.0)

    def _drop_idle(self, session_id: str, session: _Session) -> None:
        # One that somebody still hears the end of is kept for its playback.
        if not session.work and not session.is_kept and self._sessions.get(session_id) is session:
            del self._sessions[session_id]
