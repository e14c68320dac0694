"""The level of speech: what is quiet is made as loud as a voice close to a microphone, before models hear it.

Models of speech were trained on sound of an ordinary level. Of recordings whose peak is at -50 dBFS the shipped ones
miss a quarter of the words, at -60 dBFS two thirds. What is loud enough is left as it is.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

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
_BLOCK = 160
"""Samples of 10 ms."""
_CLICK_BLOCKS = 3
"""What is no longer is a click: 20 ms may touch three blocks."""
_STRETCH_BLOCKS = 100
"""The shortest stretch with a gain of its own: a second. Breath and a pause for thought are shorter."""
_BESIDE = 0.1
"""A sound of 20 dB less than the loudest is another voice, or farther away."""
_NOISE_QUANTILE = 0.1
"""The share of the quietest blocks of speech, which are between words."""
_FADE_BLOCKS = 3
_FALLS_DB_PER_WINDOW = 0.064
"""How fast a voice that was loud is forgotten: 2 dB in a second of windows of 32 ms."""
_RELEASE = 10 ** (-_FALLS_DB_PER_WINDOW / 20)
_NOISE_RISES = 0.01
_OFFSET_FOLLOWS = 0.05


def levelled(samples: Samples) -> Samples:
    """Return speech around zero, and as loud as speech usually is; none of it is made quieter.

    Each stretch has a gain of its own: a loud sound, or a loud voice, does not keep the quiet one beside it quiet.
    """
    if not len(samples):
        return samples
    around = samples - samples.mean(dtype=np.float64).astype(np.float32)
    gains = _gains(_blocks_of(around))
    if gains.max() <= 1:
        return around
    places = (np.arange(len(gains)) + 0.5) * _BLOCK
    gain = np.exp(np.interp(np.arange(len(around)), places, np.log(_smoothed(gains))))
    return np.clip(around * gain.astype(np.float32), -1.0, 1.0)


def _blocks_of(samples: Samples) -> Samples:
    """Return sound as rows of 10 ms, the last one filled up."""
    missing = -len(samples) % _BLOCK
    return np.pad(samples, (0, missing)).reshape(-1, _BLOCK)


def _gains(blocks: Samples) -> NDArray[np.float64]:
    """Return by what each block is to be multiplied."""
    peak = float(np.quantile(np.abs(blocks), _PEAK_QUANTILE))
    gains = np.full(len(blocks), max(1.0, min(_MAX_GAIN, _PEAK / peak)) if peak else 1.0)
    loud = np.abs(blocks).max(axis=1) >= peak * _BESIDE
    sounds = _sounds(loud)
    if not sounds and not loud.all():
        gains[~loud] = _beside(blocks[~loud], gains[~loud])
    for begin, end in _quiet_stretches(sounds, len(blocks)):
        gains[begin:end] = _beside(blocks[begin:end], gains[begin:end])
    return gains


def _beside(quiet: Samples, gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gains of what is quiet beside a loud sound; of noise between the words of that sound, those it has."""
    noise = float(np.quantile(np.sqrt((quiet**2).mean(axis=1)), _NOISE_QUANTILE))
    most = _NOISE / noise if noise else _MAX_GAIN
    return np.maximum(gains, np.minimum(_gains(quiet), most))


def _sounds(loud: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where loud sounds begin and end. A click is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]))).tolist()
    runs = zip(edges[::2], edges[1::2], strict=True)
    return [(begin, end) for begin, end in runs if end - begin > _CLICK_BLOCKS]


def _quiet_stretches(sounds: list[tuple[int, int]], blocks: int) -> list[tuple[int, int]]:
    """Return where long stretches between loud sounds begin and end."""
    bounds = [0, *(at for sound in sounds for at in sound), blocks]
    stretches = zip(bounds[::2], bounds[1::2], strict=True)
    return [(begin, end) for begin, end in stretches if _STRETCH_BLOCKS <= end - begin < blocks]


def _smoothed(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return gains that change slowly, and are never above those of any sound nearby."""
    lowest = _around(gains, _FADE_BLOCKS + 1).min(axis=1)
    return np.exp(_around(np.log(lowest), _FADE_BLOCKS).mean(axis=1))


def _around(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Return each value with as many before it and behind it."""
    return sliding_window_view(np.pad(values, reach, mode="edge"), 2 * reach + 1)


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
