"""Audio files as samples, whatever their container, rate and channels."""

import io

import numpy as np
import soundfile
import soxr

from deployments.errors import InvalidRequestError, Limit, PayloadTooLargeError
from deployments.values.sound import SPEECH_RATE, Samples

_BLOCK_S = 10
_HIGHEST_RATE = 384_000


def decode(data: bytes, max_seconds: float) -> Samples:
    """Return an audio file as mono samples at 16 kHz.

    Args:
        data: WAV, FLAC, Ogg (Vorbis or Opus) or MP3. What is missing at its end is missing from the samples.
        max_seconds: More than that is refused; the file is not decoded further than to there.

    Raises:
        InvalidRequestError: The file is empty, of none of these kinds, or holds no sound.
        PayloadTooLargeError: It lasts longer than `max_seconds`.
    """
    mono, rate = decode_native(data, max_seconds)
    if len(mono) > max_seconds * rate:
        raise PayloadTooLargeError(
            f"the audio lasts longer than the {max_seconds:g} s that are transcribed in one request: "
            "send it as a stream, or in parts",
            field="audio",
            limit=Limit("max_recording_s", max_seconds),
        )
    if not len(mono):
        raise InvalidRequestError("the audio file holds no sound", field="audio")
    return mono if rate == SPEECH_RATE else soxr.resample(mono, rate, SPEECH_RATE)


def decode_native(data: bytes, max_seconds: float = 600.0) -> tuple[Samples, int]:
    """Return an audio file as mono samples at its own rate, and that rate; at most a little over `max_seconds`.

    Raises:
        InvalidRequestError: The file is empty or of no known kind.
    """
    if not data:
        raise InvalidRequestError("the audio is empty", field="audio")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            if not 0 < rate <= _HIGHEST_RATE:
                raise InvalidRequestError(
                    f"the audio has {rate} samples a second, expected at most {_HIGHEST_RATE}",
                    field="audio",
                    limit=Limit("sample_rate", _HIGHEST_RATE, rate),
                )
            return _read(file, int(max_seconds * rate)), rate
    except soundfile.LibsndfileError as error:
        raise InvalidRequestError(
            f"the audio cannot be read, expected a WAV, FLAC, Ogg or MP3 file: {error.error_string}",
            field="audio",
        ) from error


def _read(file: soundfile.SoundFile, limit: int) -> Samples:
    """Return the mean of a file's channels, up to a block more than `limit` samples."""
    blocks: list[Samples] = []
    taken = 0
    while taken <= limit:
        block = file.read(_BLOCK_S * file.samplerate, dtype="float32", always_2d=True)
        if not len(block):
            break
        # Files of floating point may hold anything.
        blocks.append(np.clip(np.nan_to_num(block.mean(axis=1)), -1.0, 1.0))
        taken += len(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
