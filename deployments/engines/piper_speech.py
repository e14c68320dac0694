"""Piper voices in process. Piper's licence is the GPL: it comes with an extra of its own."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, cast

import numpy as np
from piper import PiperVoice

from deployments.call import Call
from deployments.engines.onnx_session import open_session
from deployments.engines.voice_folder import VoiceFiles
from deployments.engines.word_times import estimated_words
from deployments.sound import pcm_of
from deployments.speech_values import SpeechText, SpokenChunk, WordTime

_THREADS = 2
"""A sentence of 50 characters takes 210 ms on one thread, 115 ms on two."""
_WORD_BREAK = " "


class PiperSpeech:
    """One Piper voice.

    Args:
        files: Of the voice.
    """

    is_remote = False
    clones = False
    # A sentence of 119 characters takes 0.8 s on one core, its opening clause of 48 characters 0.2 s.
    opening_clause_pays = True

    def __init__(self, files: VoiceFiles) -> None:
        self._voice = cast("Any", PiperVoice).load(files.model, config_path=files.config_path)
        # The session that Piper opens has a pool that spins, and takes the cores from the model that is still writing.
        self._voice.session = open_session(files.model, _THREADS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="piper")
        self.voices = (files.voice,)
        self.description = f"Piper, {files.voice.name}"

    async def speak(self, call: Call, sentence: SpeechText) -> SpokenChunk:
        """Return one sentence as sound."""
        call.check("speaking")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._speak, sentence.text)

    async def check(self) -> None:
        """Nothing can be lost while the process lives."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _speak(self, text: str) -> SpokenChunk:
        parts = list(self._voice.synthesize(text, include_alignments=True))
        rate = self._voice.config.sample_rate
        samples = np.concatenate([part.audio_float_array for part in parts]) if parts else np.zeros(0, np.float32)
        exact = _aligned_words(text, parts, rate)
        words = exact or estimated_words(text, samples, rate)
        return SpokenChunk(pcm_of(samples), rate, text, words, exact=bool(exact))


def _aligned_words(text: str, parts: Sequence[Any], rate: int) -> tuple[WordTime, ...]:
    """Return the words with the times that the model gave their phonemes.

    Empty where it gave none, or where what is spoken are not the words that are written, such as a number.
    """
    alignments = [one for part in parts for one in part.phoneme_alignments or ()]
    ends = list(accumulate(one.num_samples for one in alignments))
    breaks = [end for one, end in zip(alignments, ends, strict=True) if one.phoneme == _WORD_BREAK]
    words = text.split()
    if not ends or len(breaks) + 1 != len(words):
        return ()
    starts = [0, *breaks]
    return tuple(
        WordTime(word, round(start / rate, 3), round(end / rate, 3))
        for word, start, end in zip(words, starts, [*breaks, ends[-1]], strict=True)
    )
