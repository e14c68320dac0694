"""How much of a spoken answer was heard, by what was sent, when it was sent, and the times of its words."""

from dataclasses import dataclass, field

from deployments.values.speech import SpokenChunk

_TOLERANCE_S = 0.02


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk on its way to a listener.

    Attributes:
        chunk: Without its sound.
        seconds: How long it lasts.
        offset_s: Where in the answer's sound it begins.
        begins_at: When its first sound is heard, if it is played as soon as possible and behind all sound before it.
    """

    chunk: SpokenChunk
    seconds: float
    offset_s: float
    begins_at: float


@dataclass(slots=True)
class Playback:
    """The sound of one answer, as it is sent to be played."""

    _pieces: list[_Piece] = field(default_factory=list[_Piece])

    @property
    def seconds(self) -> float:
        """How long all of it lasts that was sent."""
        return self._pieces[-1].offset_s + self._pieces[-1].seconds if self._pieces else 0.0

    @property
    def begins_at(self) -> float:
        """When the first sound is played, 0 where nothing was sent."""
        return self._pieces[0].begins_at if self._pieces else 0.0

    @property
    def ends_at(self) -> float:
        """When the last sound will have been played, 0 where nothing was sent."""
        return self._pieces[-1].begins_at + self._pieces[-1].seconds if self._pieces else 0.0

    def add(self, chunk: SpokenChunk, sent_at: float) -> None:
        """Take note of a chunk that is sent now, on any clock that goes forward."""
        without_sound = SpokenChunk(b"", chunk.rate, chunk.text, chunk.words, chunk.exact)
        begins_at = max(sent_at, self.ends_at)
        self._pieces.append(_Piece(without_sound, chunk.seconds, self.seconds, begins_at))

    def position_s(self, now: float) -> float:
        """Return how much of the sound was played by `now`, by the pace of time."""
        return sum(min(max(now - piece.begins_at, 0.0), piece.seconds) for piece in self._pieces)

    def heard(self, position_s: float) -> str:
        """Return the words that were heard when so much of the sound was played; half a word counts as one."""
        texts: list[str] = []
        for piece in self._pieces:
            played_s = position_s - piece.offset_s
            if played_s >= piece.seconds - _TOLERANCE_S:
                texts.append(piece.chunk.text)
                continue
            heard = [word.word for word in piece.chunk.words if (word.start_s + word.end_s) / 2 <= played_s]
            texts.append(" ".join(heard))
            break
        return " ".join(filter(None, texts))
