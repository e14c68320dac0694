"""Sound whose words are told as they were written, where others were spoken for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deployments.text.spoken_forms import SpokenWords
from deployments.values.speech import SpokenChunk, WordTime


@dataclass(slots=True)
class WrittenWords:
    """The words of one sentence, while its sound is made.

    Attributes:
        words: In order, those with a spoken form.
    """

    words: Sequence[SpokenWords]
    _index: int = 0
    _spoken: int = 0
    _start_s: float | None = None

    def __post_init__(self) -> None:
        """Put words for which nothing is spoken, such as a lone sign, to those before them."""
        kept: list[SpokenWords] = []
        for word in self.words:
            if word.spoken or not kept:
                kept.append(word)
            else:
                kept[-1] = replace(kept[-1], written=f"{kept[-1].written} {word.written}")
        if len(kept) > 1 and not kept[0].spoken:
            kept[:2] = [replace(kept[1], written=f"{kept[0].written} {kept[1].written}")]
        self.words = kept

    @property
    def spoken(self) -> str:
        """What an engine is to say."""
        return " ".join(word.spoken for word in self.words if word.spoken)

    def of(self, chunk: SpokenChunk) -> SpokenChunk:
        """Return the next chunk of the sound with the words that were written.

        Written words of which only a part is spoken in it are those of the next one.
        """
        times = chunk.words
        texts: list[str] = []
        words: list[WordTime] = []
        for at in range(len(chunk.text.split())):
            if self._index == len(self.words):
                break
            time = times[at] if at < len(times) else None
            if self._start_s is None and time is not None:
                self._start_s = time.start_s
            self._spoken += 1
            if self._spoken < len(self.words[self._index].spoken.split()):
                continue
            written = self.words[self._index].written
            texts.append(written)
            if time is not None:
                words.extend(_shared(written, self._start_s if self._start_s is not None else time.start_s, time.end_s))
            self._next()
        # Its first part was in this chunk; in the next one, it goes on from the beginning.
        self._start_s = None if not self._spoken else 0.0
        return replace(chunk, text=" ".join(texts), words=tuple(words))

    def _next(self) -> None:
        self._index, self._spoken, self._start_s = self._index + 1, 0, None


def _shared(written: str, start_s: float, end_s: float) -> list[WordTime]:
    """Return the times of words that are spoken as one, each with its share by its letters."""
    words = written.split()
    letters = sum(map(len, words))
    times: list[WordTime] = []
    passed = 0
    for word in words:
        begin, passed = passed, passed + len(word)
        share = (end_s - start_s) / letters
        times.append(WordTime(word, round(start_s + share * begin, 3), round(start_s + share * passed, 3)))
    return times
