"""The one task that listens to all sessions of a replica: a window of each in turn, and some sessions together."""

import asyncio
import logging
from collections.abc import Sequence

from bridges.live.client_messages import StreamStep
from bridges.live.hearing import Hearing, centred
from bridges.live.listening_line import ListeningLine
from bridges.live.registry import SessionRegistry
from bridges.live.session import LiveSession
from bridges.live.sound_queue import Step
from deployments.values.sound import Samples

logger = logging.getLogger(__name__)

_TOGETHER = 8
"""Sessions whose next windows the model looks at in one call, for less than half of the time of so many calls."""

Window = tuple[LiveSession, bytes]


class ListeningLoop:
    """Listens to the sessions in line.

    Args:
        line: Those of which something waits.
        hearing: Hears their windows.
        registry: Ends them.
    """

    def __init__(self, line: ListeningLine, hearing: Hearing, registry: SessionRegistry) -> None:
        self._line = line
        self._hearing = hearing
        self._registry = registry

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            sessions = await self._line.take(_TOGETHER)
            self._listen_to(self._next_windows(sessions))
            # Behind all that wait already, so that one that sends an hour of sound at once holds up nobody.
            for session in sessions:
                self._line.put(session)
            # Under load gRPC's poller hands over one event for each turn of the loop, so turns have to be short: with
            # 2 ms of listening in each, a hundred sessions waited twice as long for their answers.
            await asyncio.sleep(0)

    def _next_windows(self, sessions: Sequence[LiveSession]) -> list[Window]:
        found: list[Window] = []
        for session in sessions:
            with self._registry.isolated(session):
                if window := self._next_window(session):
                    found.append((session, window))
        return found

    def _next_window(self, session: LiveSession) -> bytes:
        """Return a session's next window, and do what its messages in front of it ask for; empty where none waits."""
        if session.is_paused or session.is_closed:
            return b""

        def follow(step: Step) -> None:
            if step is StreamStep.END:
                self._registry.end(session)
            else:
                session.state = step

        return session.queue.next_window(follow)

    def _listen_to(self, windows: Sequence[Window]) -> None:
        sounds = [centred(session, window) for session, window in windows]
        if len(windows) > 1 and self._listen_to_all(windows, sounds):
            return
        for (session, window), samples in zip(windows, sounds, strict=True):
            with self._registry.isolated(session):
                [probability] = self._hearing.probabilities([session], [samples])
                self._hearing.hear(session, window, samples, probability)

    def _listen_to_all(self, windows: Sequence[Window], sounds: Sequence[Samples]) -> bool:
        """Listen to sessions together; return False where that fails, which is the fault of one of them perhaps."""
        try:
            probabilities = self._hearing.probabilities([session for session, _ in windows], sounds)
        except Exception:
            logger.exception("%d sessions are listened to one by one", len(windows))
            return False
        for (session, window), samples, probability in zip(windows, sounds, probabilities, strict=True):
            with self._registry.isolated(session):
                self._hearing.hear(session, window, samples, probability)
        return True
