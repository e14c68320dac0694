"""The level of speech: what is quiet is made as loud as a voice close to a microphone, before models hear it.

Models of speech were trained on sound of an ordinary level. Of recordings whose peak is at -50 dBFS the shipped ones
miss a quarter of the words, at -60 dBFS two thirds. What is loud enough is left as it is.
"""

import numpy as np

from deployments.values.sound import Samples, level_of

_PEAK = 0.3
_PEAK_QUANTILE = 0.999
_VOICE = 0.05
"""The root mean square of a voice whose peaks are near -10 dBFS."""
_NOISE = 10 ** (-50 / 20)
"""The most that the noise between words is raised to."""
_MAX_GAIN = 10 ** (50 / 20)
_MAX_GAIN_LIVE = 10 ** (30 / 20)
"""Of a stream, whose next window may be a loud one: more changes the first sound of a word behind silence. 30 dB are
enough to tell a voice whose peaks are at -50 dBFS from silence."""
_FALLS_DB_PER_WINDOW = 0.064
"""How fast a voice that was loud is forgotten: 2 dB in a second of windows of 32 ms."""
_RELEASE = 10 ** (-_FALLS_DB_PER_WINDOW / 20)
_NOISE_RISES = 0.01
_OFFSET_FOLLOWS = 0.05


def levelled(samples: Samples) -> Samples:
    """Return speech around zero, and as loud as speech usually is; none of it is made quieter."""
    if not len(samples):
        return samples
    around = samples - samples.mean(dtype=np.float64).astype(np.float32)
    peak = float(np.quantile(np.abs(around), _PEAK_QUANTILE))
    gain = min(_MAX_GAIN, _PEAK / peak) if peak else 1.0
    return np.clip(around * np.float32(gain), -1.0, 1.0) if gain > 1 else around


class LevelControl:
    """The level of one stream that is listened to as it comes, a window of 32 ms at a time.

    A loud voice lowers the gain at once; silence raises it slowly, and never by so much that the noise between words
    gets loud itself.
    """

    __slots__ = ("_noise", "_offset", "_voice")

    def __init__(self) -> None:
        self._offset: float | None = None
        self._voice = 0.0
        self._noise: float | None = None

    def centred(self, window: Samples) -> Samples:
        """Return the next window around zero: without the offset that cheap sound cards add."""
        mean = float(window.mean())
        before = mean if self._offset is None else self._offset
        self._offset = before + _OFFSET_FOLLOWS * (mean - before)
        return window - np.float32(self._offset)

    def raised(self, window: Samples) -> Samples:
        """Return a centred window as loud as a model of voice activity knows voices."""
        level = level_of(window)
        self._voice = max(level, self._voice * _RELEASE)
        self._noise = level if self._noise is None else min(level, self._noise + _NOISE_RISES * (level - self._noise))
        gain = min(_MAX_GAIN_LIVE, _share(_VOICE, self._voice), _share(_NOISE, self._noise))
        return np.clip(window * np.float32(gain), -1.0, 1.0) if gain > 1 else window


def _share(wanted: float, level: float) -> float:
    return wanted / level if level else _MAX_GAIN_LIVE
