"""Text to speech by any other deployment of the cluster, called by its handle."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np

from deployments.call import Call
from deployments.engines.adapter_protocols import TextToSpeechAdapter
from deployments.engines.audio_file import decode_native
from deployments.engines.binding import Binding
from deployments.engines.shapes import ShapeError
from deployments.engines.speaking.word_times import estimated_words
from deployments.errors import HearthError
from deployments.values.sound import Samples, pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo

_LOWEST_RATE, _HIGHEST_RATE = 4_000, 384_000
_LOUDEST = 2.0
"""Models go a little over 1, which is clipped. What goes further is in other units, or not a number."""


class DeployedSpeech:
    """A voice.

    Args:
        binding: To the deployment.
        adapter: Reads its answers.
        voices: Names of its voices, the default one first.
        language: ISO 639-1 code of what they speak; empty where any.
        clones: Whether it imitates the voice of a sample, `SpeechText.reference`.
    """

    is_remote = True
    opening_clause_pays = True

    def __init__(
        self,
        binding: Binding,
        adapter: TextToSpeechAdapter,
        *,
        voices: tuple[str, ...],
        language: str = "",
        clones: bool = False,
    ) -> None:
        self._binding = binding
        self._adapter = adapter
        self.voices = tuple(VoiceInfo(name, language, "deployed") for name in voices)
        self.clones = clones

    @property
    def description(self) -> str:
        return self._binding.description

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound.

        Sound that comes in pieces is put together: a chunk holds whole words, and nobody says where those are in it.
        """
        pieces: list[Samples] = []
        rate = 0
        arguments = self._binding.arguments(self._adapter.request, sentence)
        async with aclosing(self._binding.items(call, arguments, self._adapter.sound)) as sounds:
            async for sound in sounds:
                if isinstance(sound, bytes) and not sound:
                    continue
                samples, of_piece = await asyncio.to_thread(self._decoded, sound)
                if rate not in {0, of_piece}:
                    raise self._binding.errors.nonsense(f"sound at {rate} Hz and then at {of_piece} Hz")
                rate = of_piece
                pieces.append(samples)
        if pieces:
            samples = np.concatenate(pieces)
            yield SpokenChunk(pcm_of(samples), rate, sentence.text, estimated_words(sentence.text, samples, rate))

    async def check(self) -> None:
        await self._binding.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""

    def _decoded(self, sound: bytes | tuple[Any, int]) -> tuple[Samples, int]:
        if not isinstance(sound, bytes):
            return self._binding.read(_samples, sound)
        try:
            return decode_native(sound)
        except HearthError as error:
            raise self._binding.errors.nonsense(f"no audio: {error.reason}") from error


def _samples(sound: tuple[Any, int]) -> tuple[Samples, int]:
    """Return an adapter's samples as one channel of floats from -1 to 1, and their rate.

    Raises:
        ShapeError: They are no sound. What a number means is known for floats and for 16-bit integers alone.
    """
    given, rate = sound
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE or int(rate) != rate:
        raise ShapeError(f"sound at {rate} Hz")
    samples = np.asarray(given)
    if samples.ndim not in {1, 2}:
        raise ShapeError(f"sound of shape {samples.shape}")
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / -np.iinfo(np.int16).min
    elif not np.issubdtype(samples.dtype, np.floating):
        raise ShapeError(f"samples of the type {samples.dtype}; floats or 16-bit integers were expected")
    if samples.ndim == 2:  # noqa: PLR2004 - channels
        samples = samples.mean(axis=int(np.argmin(samples.shape)))
    samples = samples.astype(np.float32)
    if samples.size and not np.abs(samples).max() <= _LOUDEST:
        raise ShapeError("samples that are not between -1 and 1")
    return samples, int(rate)
