"""hibari: small English voices in process, 24 kHz, a sentence in some 15 ms."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hibari import Hibari

from deployments.call import Call
from deployments.engines.speaking.word_times import estimated_words
from deployments.values.sound import Samples, pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo

_SEED = 0
_VOICE = "heart"
"""The one voice that comes with the package; the others would be downloaded from a model hub."""


class HibariSpeech:
    """The engine, warm: its first sentence takes half a second, so one is spoken at the start.

    Args:
        threads: Threads of the model.
    """

    is_remote = False
    clones = False
    opening_clause_pays = False
    description = f"hibari, {_VOICE}"
    voices = (VoiceInfo(_VOICE, "en", "hibari"),)

    def __init__(self, *, threads: int = 1) -> None:
        self._hibari = Hibari(_VOICE, threads=threads)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hibari")
        self._speak("Ready.")

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound; the same text always sounds the same."""
        call.check("speaking")
        yield await asyncio.get_running_loop().run_in_executor(self._thread, self._speak, sentence.text)

    async def check(self) -> None:
        """Nothing can be lost while the process lives."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _speak(self, text: str) -> SpokenChunk:
        samples: Samples = self._hibari(text, seed=_SEED)
        rate = self._hibari.sample_rate
        spoken = np.asarray(samples, np.float32)
        return SpokenChunk(pcm_of(spoken), rate, text, estimated_words(text, spoken, rate))
