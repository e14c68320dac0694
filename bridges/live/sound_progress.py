"""How far a session's messages were taken and heard, so that another replica can go on where this one was."""

from collections import deque
from zlib import crc32

_MOST_KEPT = 4096
"""Messages after which the first ones are settled anyhow: nobody keeps so many."""
_SECOND = 32_000
_SILENCE_STEP = 5 * _SECOND // 2
"""Silence is passed over in steps, for each step is told to the other replicas."""
_BEFORE_SPEECH = 4 * _SECOND // 5
"""What belongs to an utterance although it came before it: its first sound may not be known as speech."""


class SoundProgress:
    """Counts the messages of one session, and how many of the last ones it takes to go on.

    Positions are in bytes of sound as it is heard, from the beginning of the session.
    """

    __slots__ = ("_last", "_marks", "_put", "_settled_at", "heard", "taken")

    def __init__(self) -> None:
        self.taken = 0
        """How many messages were taken."""
        self.heard = 0
        """Up to where the sound was heard."""
        self._put = 0
        self._settled_at = 0
        self._last = b""
        self._marks: deque[tuple[int, int]] = deque(maxlen=_MOST_KEPT)

    @property
    def settled(self) -> int:
        """How many of the first messages hold nothing any more that it takes to go on."""
        return self._marks[0][0] - 1 if self._marks else self.taken

    @property
    def last_taken(self) -> int:
        """CRC-32 of the last message; 0 for none."""
        return crc32(self._last)

    def take(self, payload: bytes) -> None:
        """Take note of a message; its sound is put next."""
        self.taken += 1
        self._last = payload
        self._marks.append((self.taken, self._put))

    def put(self, size: int) -> None:
        """Take note of sound of the last message."""
        self._put += size

    def settle(self, position: int) -> None:
        """Learn that the sound up to a position was transcribed, and told, or is silence."""
        self._settled_at = position
        marks = self._marks
        while len(marks) > 1 and marks[1][1] <= position:
            marks.popleft()
        if len(marks) == 1 and self._put <= position:
            marks.clear()

    def settle_silence(self) -> None:
        """Learn that the last of what was heard is silence; that has an effect every few seconds only."""
        position = self.heard - _BEFORE_SPEECH
        if position - self._settled_at >= _SILENCE_STEP:
            self.settle(position)
