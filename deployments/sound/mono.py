"""Several channels as one, as somebody at a mixing desk would do it.

The mean of all channels is wrong where they disagree: two of opposite polarity cancel each other out, and a dead one
halves the level. So:

* A channel that is much quieter than the loudest is left out. Somebody on a line of their own, who says nothing now, is
  so quiet too; they are heard again with their first word.
* A channel that mirrors the loudest is turned over.
* Of the others, the mean is taken: two people on a channel each are both heard.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.values.sound import Samples

Frames = NDArray[np.float32]
"""Sound of several channels: a row for each moment, a column for each channel."""

_DEAD = 10 ** (-26 / 10)
"""A channel with less power than that share of the loudest one's is dead: 26 dB below."""
_MIRRORS = -0.5
_TURNED_BACK = 0.5
"""Correlation with the loudest channel from which a channel that was turned over is turned back: hardly ever."""
_REMEMBERED_S = 10.0


class MonoMixer:
    """Mixes one stream, piece by piece.

    Args:
        channels: How many it has.
        rate: Samples a second.
    """

    __slots__ = ("_covariance", "_rate", "_signs", "_weights")

    def __init__(self, channels: int, rate: int) -> None:
        self._rate = rate
        self._covariance = np.zeros((channels, channels))
        self._signs = np.ones(channels)
        self._weights: NDArray[np.float64] | None = None

    def mix(self, frames: Frames) -> Samples:
        """Return a piece as one channel. What was heard before decides with it."""
        if frames.shape[1] == 1 or not len(frames):
            return frames[:, 0]
        around = frames - frames.mean(axis=0)
        now = (around.T @ around).astype(np.float64)
        self._covariance = self._covariance * np.exp(-len(frames) / (self._rate * _REMEMBERED_S)) + now
        weights = self._weighed(np.diag(now))
        before = weights if self._weights is None else self._weights
        self._weights = weights
        if np.array_equal(before, weights):
            return (frames @ weights).astype(np.float32)
        # Faded, because a step in the sound is a click.
        share = np.linspace(0.0, 1.0, len(frames))[:, None]
        return (frames * (before + share * (weights - before))).sum(axis=1).astype(np.float32)

    def _weighed(self, power_now: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by what each channel is multiplied."""
        power = np.diag(self._covariance)
        reference = int(power.argmax())
        alive = (power > _DEAD * power.max()) | (power_now > _DEAD * power_now.max())
        if not alive.any():
            return np.full(len(power), 1.0 / len(power))
        scale = np.sqrt(power * power[reference])
        correlation = np.divide(self._covariance[reference], scale, out=np.zeros(len(power)), where=scale > 0)
        turned = correlation * self._signs[reference]
        self._signs = np.where(turned <= _MIRRORS, -1.0, np.where(turned >= _TURNED_BACK, 1.0, self._signs))
        return np.where(alive, self._signs, 0.0) / alive.sum()


def within_scale(frames: NDArray[Any]) -> Frames:
    """Return frames of floating point between -1 and 1: they may hold anything, numbers that are none included."""
    return np.clip(np.nan_to_num(frames), -1.0, 1.0).astype(np.float32, copy=False)
