"""Pocket TTS (kyutai): a voice of 100 million parameters that runs on a processor and imitates any other voice."""

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr

from deployments.call import Call
from deployments.engines.audio_file import decode_native
from deployments.engines.speaking.word_times import estimated_words
from deployments.errors import InvalidRequestError
from deployments.values.sound import Samples, pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo

_REFERENCE_S = 30.0
"""More of a voice makes it no better."""
_SHORTEST_REFERENCE_S = 0.5
_REMEMBERED = 4


class VoiceModel(Protocol):
    """What makes the sound."""

    @property
    def rate(self) -> int:
        """Samples a second."""
        ...

    @property
    def clones(self) -> bool:
        """Whether it can imitate a voice."""
        ...

    def voice(self, name: str) -> object:
        """Return one of its voices, by its name or from a file; raises `UnavailableError`. Blocks."""
        ...

    def imitated(self, samples: Samples) -> object:
        """Return the voice that is heard in samples at `rate`. Blocks."""
        ...

    def sound(self, voice: object, text: str, stop: threading.Event) -> Samples:
        """Return a sentence as sound, as far as it is made when `stop` is set. Blocks."""
        ...


class PocketSpeech:
    """The model with some voices of its own.

    Args:
        model: Makes the sound.
        name: Of the model, for status and logs.
        voices: Names of its voices, or paths of files with one, the default one first.
        language: ISO 639-1 code of what the model speaks.
    """

    is_remote = False
    opening_clause_pays = True

    def __init__(self, model: VoiceModel, *, name: str, voices: Sequence[str], language: str) -> None:
        self._model = model
        self._voices = {Path(voice).stem: model.voice(voice) for voice in voices}
        self._imitated: OrderedDict[bytes, object] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pocket-tts")
        self.clones = model.clones
        self.voices = tuple(VoiceInfo(voice, language, "pocket-tts") for voice in self._voices)
        self.description = f"Pocket TTS, {name}"

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound, in the voice of `sentence.reference` where there is one.

        Raises:
            InvalidRequestError: The reference is no sound, or too short.
        """
        call.check("speaking")
        stop = threading.Event()
        try:
            yield await asyncio.get_running_loop().run_in_executor(self._thread, self._speak, sentence, stop)
        finally:
            # Nobody waits for what is still being made.
            stop.set()

    async def check(self) -> None:
        """Nothing can be lost while the process lives."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _speak(self, sentence: SpeechText, stop: threading.Event) -> SpokenChunk:
        rate = self._model.rate
        if not any(character.isalnum() for character in sentence.text):
            return SpokenChunk(b"", rate, sentence.text)
        voice = self._imitate(sentence.reference) if sentence.reference else self._voices[sentence.voice]
        samples = self._model.sound(voice, sentence.text, stop)
        return SpokenChunk(pcm_of(samples), rate, sentence.text, estimated_words(sentence.text, samples, rate))

    def _imitate(self, reference: bytes) -> object:
        """Return the voice of an audio file; the sentences of one answer have the same."""
        key = hashlib.sha256(reference).digest()
        if key not in self._imitated:
            self._imitated[key] = self._model.imitated(_samples_of(reference, self._model.rate))
        self._imitated.move_to_end(key)
        while len(self._imitated) > _REMEMBERED:
            self._imitated.popitem(last=False)
        return self._imitated[key]


def _samples_of(reference: bytes, rate: int) -> Samples:
    try:
        samples, given_rate = decode_native(reference, _REFERENCE_S)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"speaker_wav_b64: {error.reason}", field="speaker_wav_b64") from error
    if len(samples) < _SHORTEST_REFERENCE_S * given_rate:
        raise InvalidRequestError(
            f"speaker_wav_b64: a voice is imitated from at least {_SHORTEST_REFERENCE_S:g} s of it",
            field="speaker_wav_b64",
        )
    heard = samples[: int(_REFERENCE_S * given_rate)]
    return heard if given_rate == rate else soxr.resample(heard, given_rate, rate).astype(np.float32)
