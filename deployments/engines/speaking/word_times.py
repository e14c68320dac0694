"""When each word of a sentence is heard, for engines that do not say."""

import numpy as np

from deployments.values.sound import Samples
from deployments.values.speech import WordTime

_AUDIBLE = 0.01
_PAUSE_MARKS = ",;:—"
_PAUSE_LETTERS = 4


def estimated_words(text: str, samples: Samples, rate: int) -> tuple[WordTime, ...]:
    """Return the words of `text`, each given its share of the audible part of `samples` by its letters.

    A mark at which a speaker pauses counts as some letters more. The error is of the order of a word.
    """
    words = text.split()
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    if not words or not len(audible):
        return ()
    weights = np.array([len(word) + _PAUSE_LETTERS * (word[-1] in _PAUSE_MARKS) for word in words], np.float64)
    borders = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    times = (audible[0] + borders * (audible[-1] - audible[0])) / rate
    return tuple(
        WordTime(word, round(float(start), 3), round(float(end), 3))
        for word, start, end in zip(words, times[:-1], times[1:], strict=True)
    )
