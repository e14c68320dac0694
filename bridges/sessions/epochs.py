"""What the graph does for each session, so that an interruption can stop all of it.

An interruption raises the session's epoch, which never goes down. Work knows the epoch that it began in and asks, right
before it publishes, whether it was interrupted. Asking and publishing happen without a pause between them, on the
connection that the interruption is told on. So nothing of an interrupted answer is ever sent after the interruption.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

_PLAYBACK_PIECES = 256
_ECHO_DELAY_S = 0.5
_STOP_S = 1.0
"""What work has to say that it stops. The listener has been heard by then, and waits to be told."""


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

    async def interrupt(self) -> None:
        """Stop it, unless it was stopped before; nothing of it is published after this returns."""
        if not self.interrupted:
            self.interrupted = True
            await self.end()

    async def end(self) -> None:
        """Have interrupted work say that it stops, and cancel its task, even where it cannot say so.

        Whatever `stop` raises is logged and not raised: what else is done for the session has to be stopped, too.
        """
        try:
            async with asyncio.timeout(_STOP_S):
                await self.stop()
        except Exception:
            logger.exception("work for a session was ended without its last words")
        finally:
            self.task.cancel()


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
        """Stop what is done for a session and return its epoch; to be published only after this.

        Args:
            session_id: Whose.
            epoch: The new epoch, where another replica has raised it. Only work of earlier epochs is stopped then: what
                began in this one, or later, began after the interruption.
        """
        session = self._sessions.setdefault(session_id, _Session())
        raised = epoch or session.epoch + 1
        session.epoch = current = max(session.epoch, raised)
        session.playback.clear()
        ending = deque(work for work in session.work if work.epoch < raised and not work.interrupted)
        for work in ending:
            # All at once: none may publish while another one is being stopped.
            work.interrupted = True
        try:
            while ending:
                await ending.popleft().end()
        finally:
            for work in ending:
                work.task.cancel()
            self._drop_idle(session_id, session)
        return current

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
