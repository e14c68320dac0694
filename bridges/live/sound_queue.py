"""What has arrived for one session and was not heard yet: its sound, and what its client said in between."""

from collections import deque
from collections.abc import Callable
from typing import Literal

from bridges.live.client_messages import SessionState, StreamStep
from bridges.live.sound_room import SoundRoom
from deployments.listening.listener import WINDOW_BYTES

Step = SessionState | Literal[StreamStep.END]
"""What is followed when the sound before it was heard: a new state, or the end."""

_PIECE_BYTES = 65_536
"""Small chunks are kept together up to this size, for each by itself takes more than its sound."""
_STATE_BYTES = 256
"""What a state that waits takes, amply. It is counted as sound, so that states are bounded, too."""


class SoundQueue:
    """Sound and the steps between it, in the order in which they came.

    Args:
        session_id: Whose it is.
        room: What it and all others have room in.
    """

    __slots__ = ("_beginning", "_held_bytes", "_inbox", "_owner", "_rest", "_room")

    def __init__(self, session_id: str, room: SoundRoom) -> None:
        self._room = room
        self._owner = f"session {session_id}"
        self._inbox: deque[bytearray | Step] = deque()
        self._rest = bytearray()
        self._held_bytes = 0
        self._beginning = 0

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits that makes up a window, or a step."""
        return bool(self._inbox) or len(self._rest) >= WINDOW_BYTES

    def belongs_to(self, user_id: str) -> None:
        """Count what waits, and what comes, as a user's; as the session's own where nobody is named."""
        if user_id:
            owner, self._owner = self._owner, f"user {user_id}"
            self._room.pass_on(owner, self._owner, self._held_bytes)

    def put_sound(self, pcm: bytes) -> None:
        """Add sound: 16-bit mono PCM at 16 kHz.

        Raises:
            OverloadedError: Too much waits already; the sound is not taken.
        """
        self._take(len(pcm))
        last = self._inbox[-1] if self._inbox else None
        if isinstance(last, bytearray) and len(last) + len(pcm) <= _PIECE_BYTES:
            last += pcm
        elif pcm:
            self._inbox.append(bytearray(pcm))

    def count_beginning(self, size: int) -> None:
        """Count what is kept of a beginning that is no sound yet, instead of what was counted before.

        Args:
            size: Its bytes.

        Raises:
            OverloadedError: Too much waits already; nothing of it is counted.
        """
        before, self._beginning = self._beginning, 0
        self._leave(before)
        self._take(size)
        self._beginning = size

    def put_state(self, state: SessionState) -> None:
        """Add a state that the session is to be in when the sound before it was heard.

        Raises:
            OverloadedError: Too much waits already; the state is not taken.
        """
        if self._inbox and isinstance(self._inbox[-1], SessionState):
            # Nothing is heard in the one before it.
            self._inbox[-1] = state
            return
        self._take(_STATE_BYTES)
        self._inbox.append(state)

    def put_end(self) -> None:
        """Add the end of the session, once; there is always room for it."""
        self._inbox.append(StreamStep.END)

    def next_window(self, follow: Callable[[Step], None]) -> bytes:
        """Return the next window of sound; empty where not enough waits.

        Args:
            follow: Called with each step in front of it.
        """
        while len(self._rest) < WINDOW_BYTES and self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, bytearray):
                self._rest += item
                continue
            if isinstance(item, SessionState):
                self._leave(_STATE_BYTES)
            follow(item)
        if len(self._rest) < WINDOW_BYTES:
            return b""
        window = bytes(self._rest[:WINDOW_BYTES])
        del self._rest[:WINDOW_BYTES]
        self._leave(WINDOW_BYTES)
        return window

    def last_window(self) -> bytes:
        """Return what does not make up a window, with silence behind it; empty where there is none."""
        if not self._rest:
            return b""
        self._leave(len(self._rest))
        window = bytes(self._rest[:WINDOW_BYTES]).ljust(WINDOW_BYTES, b"\0")
        self._rest.clear()
        return window

    def clear(self) -> None:
        """Forget all that waits."""
        self._inbox.clear()
        self._rest.clear()
        self._beginning = 0
        self._leave(self._held_bytes)

    def _take(self, size: int) -> None:
        if size:
            self._room.take(self._owner, self._held_bytes, size)
            self._held_bytes += size

    def _leave(self, size: int) -> None:
        self._held_bytes -= size
        self._room.leave(self._owner, size)
