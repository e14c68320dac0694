"""What has arrived for one session and was not heard yet: its sound, and what its client said in between."""

from collections import deque
from collections.abc import Callable

from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import OverloadedError
from deployments.listening.listener import WINDOW_BYTES
from deployments.values.sound import BYTES_PER_SAMPLE, SPEECH_RATE

Step = messages_pb2.STTStreamMessage


class SoundQueue:
    """Sound and the messages between it, in the order in which they came.

    Args:
        max_seconds: Of sound that may wait.
    """

    __slots__ = ("_inbox", "_max_bytes", "_max_seconds", "_rest", "_waiting_bytes")

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._max_bytes = int(max_seconds * SPEECH_RATE) * BYTES_PER_SAMPLE
        self._inbox: deque[bytes | Step] = deque()
        self._waiting_bytes = 0
        self._rest = bytearray()

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits that makes up a window, or a message."""
        return bool(self._inbox) or len(self._rest) >= WINDOW_BYTES

    def put_sound(self, pcm: bytes) -> None:
        """Add sound: 16-bit mono PCM at 16 kHz.

        Raises:
            OverloadedError: Too much waits already; the sound is not taken.
        """
        if self._waiting_bytes + len(pcm) > self._max_bytes:
            raise OverloadedError(f"more than {self._max_seconds:g} s of sound wait in this session")
        if pcm:
            self._waiting_bytes += len(pcm)
            self._inbox.append(pcm)

    def put_step(self, step: Step) -> None:
        """Add a message that is to be followed when the sound before it was heard."""
        self._inbox.append(step)

    def next_window(self, follow: Callable[[Step], None]) -> bytes:
        """Return the next window of sound; empty where not enough waits.

        Args:
            follow: Called with each message in front of it.
        """
        while len(self._rest) < WINDOW_BYTES and self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, bytes):
                self._waiting_bytes -= len(item)
                self._rest += item
            else:
                follow(item)
        if len(self._rest) < WINDOW_BYTES:
            return b""
        window = bytes(self._rest[:WINDOW_BYTES])
        del self._rest[:WINDOW_BYTES]
        return window

    def last_window(self) -> bytes:
        """Return what does not make up a window, with silence behind it; empty where there is none."""
        if not self._rest:
            return b""
        window = bytes(self._rest).ljust(WINDOW_BYTES, b"\0")
        self._rest.clear()
        return window

    def clear(self) -> None:
        """Forget all that waits."""
        self._inbox.clear()
        self._rest.clear()
        self._waiting_bytes = 0
