"""One ranking out of two: by meaning, and by shared words."""

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

_SMALLEST_DEVIATION = 1e-9


def fuse(
    meaning: Sequence[tuple[str, float]], words: Sequence[tuple[str, float]], word_weight: float
) -> list[tuple[str, float]]:
    """Return the keys of both rankings with a score for each, best first.

    The score is the weighted mean of both scores. Each is first standardised over all keys, so that scores of any scale
    can be compared. A key that only `words` names counts as near as the last one of `meaning`. A key that only
    `meaning` names shares no words.

    Args:
        meaning: Keys with their scores, higher is better.
        words: Likewise; from 0.
        word_weight: Share of `words` in the mean, from 0 to 1.
    """
    keys = list(dict(meaning) | dict(words))
    farthest = min((score for _, score in meaning), default=0.0)
    near, shared = _standardised(keys, dict(meaning), farthest), _standardised(keys, dict(words), 0.0)
    scores = [
        (key, (1 - word_weight) * by_meaning + word_weight * by_words)
        for key, by_meaning, by_words in zip(keys, near, shared, strict=True)
    ]
    return sorted(scores, key=lambda entry: -entry[1])


def _standardised(keys: Sequence[str], ranking: Mapping[str, float], missing: float) -> list[float]:
    scores = [ranking.get(key, missing) for key in keys]
    mean, deviation = fmean(scores or [0.0]), pstdev(scores or [0.0])
    return [(score - mean) / deviation if deviation > _SMALLEST_DEVIATION else 0.0 for score in scores]
