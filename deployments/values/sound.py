"""Sound as numbers: the one form in which speech models hear, and WAV files."""

import struct

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Mono sound, one number between -1 and 1 for each sample."""

SPEECH_RATE = 16_000
"""Samples a second that every model of speech here hears."""

BYTES_PER_SAMPLE = 2
_FULL_SCALE = 32_768.0
_STREAMING_LENGTH = 0xFFFFFFFF
_HEADER_BYTES = 44


def samples_of(pcm: bytes) -> Samples:
    """Return the samples of 16-bit little-endian mono PCM."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)


def pcm_of(samples: Samples) -> bytes:
    """Return samples as 16-bit little-endian PCM; what is louder than full scale is clipped."""
    return (np.clip(samples, -1.0, 1.0 - 1.0 / _FULL_SCALE) * _FULL_SCALE).round().astype("<i2").tobytes()


def seconds_of(pcm: bytes, rate: int = SPEECH_RATE) -> float:
    """Return how long 16-bit mono PCM lasts."""
    return len(pcm) / (BYTES_PER_SAMPLE * rate)


def level_of(samples: Samples) -> float:
    """Return the root mean square of samples, 0 for none of them."""
    return float(np.sqrt(np.dot(samples, samples) / len(samples))) if len(samples) else 0.0


def wav_header(rate: int, pcm_bytes: int | None = None) -> bytes:
    """Return the header of a mono 16-bit WAV file.

    Args:
        rate: Samples a second.
        pcm_bytes: Bytes that follow; None where they are not known yet, for a stream.
    """
    data = _STREAMING_LENGTH if pcm_bytes is None else pcm_bytes
    riff = _STREAMING_LENGTH if pcm_bytes is None else pcm_bytes + _HEADER_BYTES - 8
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    return head + struct.pack("<4sI", b"data", data)


def wav_file(pcm: bytes, rate: int) -> bytes:
    """Return a whole mono 16-bit WAV file."""
    return wav_header(rate, len(pcm)) + pcm
