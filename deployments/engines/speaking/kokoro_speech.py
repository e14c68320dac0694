"""Kokoro: a model of 82 million parameters with many voices, 24 kHz, in ONNX form.

Its phonemes come from phonemizer and espeak-ng, whose licence is the GPL: it comes with an extra of its own.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from kokoro_onnx import Kokoro

from deployments.call import Call
from deployments.engines.onnx_session import open_session
from deployments.engines.speaking.word_times import estimated_words
from deployments.errors import UnavailableError
from deployments.values.devices import OnnxDevice
from deployments.values.sound import Samples, level_of, pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo

_RATE = 24_000
_PAUSE = np.zeros(_RATE // 5, np.float32)
"""Between two sentences: what the model leaves there is cut off."""
_LEVEL = 0.05
"""Root mean square of speech, as that of the other voices."""
_SAMPLE = "Ready when you are, she said, and closed the door."
_LANGUAGES: Mapping[str, str] = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}
"""What espeak-ng calls the language of a voice, by the first letter of its name. Japanese (j) and Chinese (z) are not
there: the model was trained on phonemes that espeak-ng does not make of them."""


class KokoroSpeech:
    """The model and its voices, warm.

    Args:
        folder: Holds the model, one `.onnx` file, and one file of voices, such as `voices-v1.0.bin`.
        voices: Names of the voices to offer, the default one first; none for all that speak a known language.
        language: What all voices are to speak, as espeak-ng calls it, such as "en-us"; empty for that of each voice.
        device: What runs the model.
        threads: Threads of the model, on a processor.

    Raises:
        UnavailableError: The folder does not hold these files or voices, or the device cannot be used.
    """

    is_remote = False
    clones = False

    def __init__(
        self,
        folder: Path,
        *,
        voices: Sequence[str] = (),
        language: str = "",
        device: OnnxDevice = "cpu",
        threads: int = 1,
    ) -> None:
        session = open_session(_only(folder, "*.onnx"), threads, device)
        self._kokoro = _opened(session, _only(folder, "voices*"))
        self._languages = _spoken(self._kokoro.get_voices(), voices, language)
        self.voices = tuple(VoiceInfo(name, tongue[:2], "kokoro") for name, tongue in self._languages.items())
        self.description = f"Kokoro, {folder.name}" if device == "cpu" else f"Kokoro, {folder.name} on {device}"
        # A sentence of ten words takes one to two seconds on two cores.
        self.opening_clause_pays = device == "cpu"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kokoro")
        self._has_failed = False
        self._gain = 1.0
        self._gain = _LEVEL / level_of(self._samples(_SAMPLE, self.voices[0].name))

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound; the same text always sounds the same."""
        call.check("speaking")
        voice = sentence.voice or self.voices[0].name
        yield await asyncio.get_running_loop().run_in_executor(self._thread, self._speak, sentence.text, voice)

    async def check(self) -> None:
        """Raise `UnavailableError` where the model has failed and still does: an accelerator may be lost."""
        if not self._has_failed:
            return
        probe = self._speak, _SAMPLE, self.voices[0].name
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, *probe)
        except Exception as error:
            raise UnavailableError(f"{self.description} fails, whatever it is to say") from error

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _speak(self, text: str, voice: str) -> SpokenChunk:
        try:
            samples = self._samples(text, voice)
        except Exception:
            self._has_failed = True
            raise
        self._has_failed = False
        return SpokenChunk(pcm_of(samples), _RATE, text, estimated_words(text, samples, _RATE))

    def _samples(self, text: str, voice: str) -> Samples:
        """Return what is said, and the pause after it; nothing where there is nothing to say."""
        phonemes: str = self._kokoro.tokenizer.phonemize(text, self._languages[voice])
        if not any(phoneme.isalpha() for phoneme in phonemes):
            return np.zeros(0, np.float32)
        spoken, _ = self._kokoro.create(phonemes, voice, is_phonemes=True)
        return np.concatenate([np.asarray(spoken, np.float32) * self._gain, _PAUSE])


def _opened(session: Any, voices: Path) -> Any:
    kokoro = cast("Any", Kokoro).from_session(session, str(voices))
    # It leaves the file open, and would read from it whenever somebody speaks.
    with kokoro.voices as archive:
        kokoro.voices = dict(archive)
    return kokoro


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UnavailableError(
            f"text-to-speech: {folder.name} holds {len(found)} files {pattern}, expected one", field="engine.model"
        )
    return found[0]


def _spoken(known: Sequence[str], wanted: Sequence[str], language: str) -> dict[str, str]:
    """Return the voices to offer, each with what it speaks."""
    if missing := [name for name in wanted if name not in known]:
        raise UnavailableError(
            f"engine.voices: {', '.join(missing)} not among the model's voices, which are {', '.join(known)}",
            field="engine.voices",
        )
    spoken = {name: language or _LANGUAGES.get(name[:1], "") for name in wanted or known}
    if not wanted:
        spoken = {name: tongue for name, tongue in spoken.items() if tongue}
    if not spoken or not all(spoken.values()):
        mute = ", ".join(name for name in wanted or known if not spoken.get(name))
        raise UnavailableError(
            f"engine.language: espeak-ng makes no phonemes of their language for {mute}; "
            "say which other one they are to speak, such as en-us",
            field="engine.language",
        )
    return spoken
