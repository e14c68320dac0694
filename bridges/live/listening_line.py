"""The sessions that are to be listened to, in line."""

import asyncio
from collections import deque

from bridges.live.session import LiveSession


class ListeningLine:
    """Sessions of which something waits, each in it once; those that are paused or closed stay out."""

    def __init__(self) -> None:
        self._sessions: deque[LiveSession] = deque()
        self._some = asyncio.Event()

    def put(self, session: LiveSession) -> None:
        """Put a session at the end, where something of it waits and it does not stand in line."""
        if session.is_in_line or session.is_paused or session.is_closed or not session.queue.has_waiting:
            return
        session.is_in_line = True
        self._sessions.append(session)
        self._some.set()

    async def take(self, most: int) -> list[LiveSession]:
        """Take sessions from its beginning, `most` at most; wait for the first one."""
        while not self._sessions:
            self._some.clear()
            await self._some.wait()
        taken = [self._sessions.popleft() for _ in range(min(most, len(self._sessions)))]
        for session in taken:
            session.is_in_line = False
        return taken
