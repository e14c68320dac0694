"""When each word of a sentence is heard, for engines that do not say."""

import numpy as np
import numpy.typing as npt

from deployments.values.sound import Samples
from deployments.values.speech import WordTime

_AUDIBLE = 0.01
_PAUSE_MARKS = ",;:—"
_PAUSE_LETTERS = 4
_LETTER_S = 0.075
"""Of a voice that was not heard yet: 160 words a minute."""
_NEW_SHARE = 0.3
"""Of the last sentence in what is known of a voice's pace."""


def estimated_words(text: str, samples: Samples, rate: int) -> tuple[WordTime, ...]:
    """Return the words of `text`, each given its share of the audible part of `samples` by its letters.

    A mark at which a speaker pauses counts as some letters more. The error is of the order of a word.
    """
    words = text.split()
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    if not words or not len(audible):
        return ()
    weights = _weights(words)
    borders = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    times = (audible[0] + borders * (audible[-1] - audible[0])) / rate
    return tuple(
        WordTime(word, round(float(start), 3), round(float(end), 3))
        for word, start, end in zip(words, times[:-1], times[1:], strict=True)
    )


class SpeakingPace:
    """How fast a voice speaks, learned from what it has said.

    Attributes:
        letter_s: Seconds of a letter; `estimated_words` says what counts as letters.
    """

    def __init__(self) -> None:
        self.letter_s = _LETTER_S

    def learn(self, letters: float, seconds: float) -> None:
        """Take note of a sentence of so many letters that lasted so long."""
        if letters and seconds:
            self.letter_s += _NEW_SHARE * (seconds / letters - self.letter_s)


class WordsInPieces:
    """Which words of a sentence are heard in each piece of its sound, before its length is known.

    Args:
        text: The sentence.
        pace: Of the voice; it learns from the sentence.
    """

    def __init__(self, text: str, pace: SpeakingPace) -> None:
        self._words = text.split()
        self._ends = np.cumsum(_weights(self._words))
        self._pace = pace
        self._taken = 0
        self._heard_s = 0.0

    def are_heard_in(self, seconds: float) -> bool:
        """Say whether a word ends in the next `seconds` of sound. The last word belongs to the last piece."""
        return self._following(seconds) > self._taken

    def taken(self, samples: Samples, rate: int, *, is_last: bool) -> tuple[str, tuple[WordTime, ...]]:
        """Take the next piece of the sound; return the words in it as a text, and when each is heard."""
        seconds = len(samples) / rate
        end = len(self._words) if is_last else self._following(seconds)
        text = " ".join(self._words[self._taken : end])
        self._taken = end
        self._heard_s += seconds
        if is_last and self._words:
            self._pace.learn(float(self._ends[-1]), self._heard_s)
        return text, estimated_words(text, samples, rate)

    def _following(self, seconds: float) -> int:
        """Return how many words will have ended after so many seconds more, the last one not counted."""
        heard = int(np.searchsorted(self._ends * self._pace.letter_s, self._heard_s + seconds, side="right"))
        return max(self._taken, min(heard, len(self._words) - 1))


def _weights(words: list[str]) -> npt.NDArray[np.float64]:
    """Return how many letters each word counts."""
    return np.array([len(word) + _PAUSE_LETTERS * (word[-1] in _PAUSE_MARKS) for word in words], np.float64)
