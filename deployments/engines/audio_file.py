"""Audio files as samples, whatever their container, rate and channels."""

from collections.abc import Iterator

import numpy as np
import soxr

from deployments.errors import InvalidRequestError, Limit, PayloadTooLargeError
from deployments.sound.recording import open_recording
from deployments.values.sound import SPEECH_RATE, Samples


def decode(data: bytes, max_seconds: float) -> Samples:
    """Return an audio file as mono samples at 16 kHz.

    Args:
        data: Any kind that `deployments.sound.recording` reads. What is missing at its end is missing from the samples.
        max_seconds: More than that is refused; the file is not decoded further than to there.

    Raises:
        InvalidRequestError: The file is empty, of a kind that is not read, or holds no sound.
        PayloadTooLargeError: It lasts longer than `max_seconds`.
    """
    with open_recording(data, may_be_empty=True) as recording:
        blocks = [*_at_speech_rate(_not_longer(recording.blocks, recording.rate, max_seconds), recording.rate)]
    samples = np.concatenate([*blocks, np.zeros(0, np.float32)])
    if not len(samples):
        raise InvalidRequestError("the audio file holds no sound", field="audio")
    return samples


def _not_longer(blocks: Iterator[Samples], rate: int, max_seconds: float) -> Iterator[Samples]:
    taken = 0
    for block in blocks:
        taken += len(block)
        if taken > max_seconds * rate:
            raise PayloadTooLargeError(
                f"the audio lasts longer than the {max_seconds:g} s that are transcribed in one request: "
                "send it as a stream, or in parts",
                field="audio",
                limit=Limit("max_recording_s", max_seconds),
            )
        yield block


def _at_speech_rate(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Yield sound at 16 kHz, block by block: all of it at its own rate may take 24 times as much memory."""
    if rate == SPEECH_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, SPEECH_RATE, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def decode_native(data: bytes, max_seconds: float = 600.0) -> tuple[Samples, int]:
    """Return an audio file as mono samples at its own rate, and that rate; at most a little over `max_seconds`.

    Raises:
        InvalidRequestError: The file is empty or of a kind that is not read.
    """
    with open_recording(data, may_be_empty=True) as recording:
        blocks: list[Samples] = []
        taken = 0
        for block in recording.blocks:
            blocks.append(block)
            taken += len(block)
            if taken > max_seconds * recording.rate:
                break
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), recording.rate
