"""Log-mel spectrograms, as Whisper and the models made from it hear.

The figures are those of the Whisper paper (https://arxiv.org/abs/2212.04356): windows of 25 ms every 10 ms at 16 kHz,
80 mel bands, 8 decades of dynamic range. The mel scale is Slaney's, linear below 1 kHz and logarithmic above, its
bands of equal area.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from deployments.values.sound import SPEECH_RATE, Samples

HOP = 160
_WINDOW = 400
_LINEAR_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27
_FLOOR = 1e-10
_DECADES = 8.0


def log_mel(samples: Samples, bands: int = 80) -> NDArray[np.float32]:
    """Return the spectrogram of samples at 16 kHz: `bands` rows, a column for every 160 samples."""
    padded = np.pad(samples, _WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:-1]
    spectrum = np.fft.rfft(frames * _hann(), axis=-1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    decades = np.log10(np.maximum(_filters(bands) @ power.T, _FLOOR))
    return ((np.maximum(decades, decades.max() - _DECADES) + 4.0) / 4.0).astype(np.float32)


@cache
def _hann() -> NDArray[np.float32]:
    return np.hanning(_WINDOW + 1)[:-1].astype(np.float32)


@cache
def _filters(bands: int) -> NDArray[np.float32]:
    frequencies = np.linspace(0.0, SPEECH_RATE / 2, _WINDOW // 2 + 1)
    edges = _hertz(np.linspace(0.0, _mel(SPEECH_RATE / 2), bands + 2))
    widths = np.diff(edges)
    distances = edges[:, None] - frequencies[None, :]
    rising = -distances[:-2] / widths[:-1, None]
    falling = distances[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HZ) / _LOG_STEP)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, _BREAK_HZ * np.exp((mel - _BREAK_MEL) * _LOG_STEP))
