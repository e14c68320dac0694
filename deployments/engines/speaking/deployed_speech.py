"""Text to speech by any other deployment of the cluster, called by its handle."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from deployments.call import Call
from deployments.engines.adapter_protocols import TextToSpeechAdapter
from deployments.engines.audio_file import decode_native
from deployments.engines.binding import Binding
from deployments.engines.speaking.word_times import estimated_words
from deployments.errors import HearthError
from deployments.values.sound import Samples, pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo


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
        async with aclosing(self._binding.items(call, self._adapter.request(sentence), self._adapter.sound)) as sounds:
            async for sound in sounds:
                if isinstance(sound, bytes) and not sound:
                    continue
                samples, rate = await asyncio.to_thread(self._decoded, sound)
                pieces.append(samples)
        if pieces:
            samples = np.concatenate(pieces)
            yield SpokenChunk(pcm_of(samples), rate, sentence.text, estimated_words(sentence.text, samples, rate))

    async def check(self) -> None:
        await self._binding.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""

    def _decoded(self, sound: bytes | tuple[Samples, int]) -> tuple[Samples, int]:
        if not isinstance(sound, bytes):
            return self._binding.read(_samples, sound)
        try:
            return decode_native(sound)
        except HearthError as error:
            raise self._binding.errors.nonsense(f"no audio: {error.reason}") from error


def _samples(sound: tuple[Samples, int]) -> tuple[Samples, int]:
    samples, rate = sound
    return np.asarray(samples, np.float32).reshape(-1), int(rate)
