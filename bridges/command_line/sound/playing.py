"""Playing an answer's sound and knowing how much of it was heard, with a loudspeaker or by the clock alone."""

import time
from dataclasses import dataclass, field

from bridges.command_line.sound.sound_device import Speaker

_BYTES_PER_SAMPLE = 2


@dataclass(slots=True)
class Player:
    """Plays one answer after the other; what was heard is known by the pace of time.

    Attributes:
        speaker: Where the sound goes; None plays nothing, and keeps time as if it did.
    """

    speaker: Speaker | None = None
    _pcm: bytearray = field(default_factory=bytearray)
    _rate: int = 0
    _ends_at: float = 0.0

    def play(self, pcm: bytes, rate: int) -> None:
        """Play 16-bit mono PCM behind what was given before."""
        if not self._pcm and self.speaker is not None:
            self._ends_at = time.monotonic() + self.speaker.latency_s
        self._rate = rate
        self._pcm += pcm
        self._ends_at = max(time.monotonic(), self._ends_at) + len(pcm) / _BYTES_PER_SAMPLE / rate
        if self.speaker is not None:
            self.speaker.write(pcm)

    def stop(self) -> bytes:
        """Play nothing more of the answer, and return what of it was heard, as PCM."""
        heard = bytes(self._pcm[: int(self.played_s * self._rate) * _BYTES_PER_SAMPLE])
        self._pcm.clear()
        self._ends_at = 0.0
        if self.speaker is not None:
            self.speaker.clear()
        return heard

    @property
    def rate(self) -> int:
        """Samples a second of what was played last; 0 where nothing was."""
        return self._rate

    @property
    def played_s(self) -> float:
        """Seconds of the answer that were heard."""
        if not self._rate:
            return 0.0
        given_s = len(self._pcm) / _BYTES_PER_SAMPLE / self._rate
        return min(max(0.0, given_s - max(0.0, self._ends_at - time.monotonic())), given_s)

    @property
    def is_playing(self) -> bool:
        """Whether something of the answer is still to be heard."""
        return self._ends_at > time.monotonic()
