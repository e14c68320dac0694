"""VITS models in ONNX form that read letters and need no phonemiser: Coqui's exports and the like.

The graph takes `input` (ids of letters), `input_lengths` and `scales` (noise, speed, noise of the durations), and, of
several speakers, `sid`; it gives the waveform. What the ids mean stands in the configuration, under `characters`.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from deployments.call import Call
from deployments.engines.onnx_session import open_session
from deployments.engines.speaking.voice_folder import VoiceFiles
from deployments.engines.speaking.word_times import estimated_words
from deployments.errors import UnavailableError
from deployments.values.sound import pcm_of
from deployments.values.speech import SpeechText, SpokenChunk

_NOISE, _SPEED, _DURATION_NOISE = 0.667, 1.0, 0.8
"""The scales that the VITS paper (https://arxiv.org/abs/2106.06103) samples with."""


class VitsSpeech:
    """One VITS voice.

    Args:
        files: Of the voice.

    Raises:
        UnavailableError: The model reads phonemes, or its configuration lists no characters.
    """

    is_remote = False
    clones = False
    opening_clause_pays = True

    def __init__(self, files: VoiceFiles) -> None:
        if files.config.get("use_phonemes"):
            raise UnavailableError(
                f"the voice {files.voice.name!r} reads phonemes: only VITS models of letters load", field="speaker"
            )
        self._ids = _letter_ids(files)
        self._blank = bool(files.config.get("add_blank", True))
        self._rate = int(files.config.get("audio", {}).get("sample_rate", 22_050))
        self._session = open_session(files.model, threads=1)
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vits")
        self.voices = (files.voice,)
        self.description = f"VITS, {files.voice.name}"

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound; letters that the model does not know are left out."""
        call.check("speaking")
        yield await asyncio.get_running_loop().run_in_executor(self._thread, self._speak, sentence.text)

    async def check(self) -> None:
        """Nothing can be lost while the process lives."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _speak(self, text: str) -> SpokenChunk:
        ids = [self._ids[letter] for letter in self._spelled(text) if letter in self._ids]
        if not ids:
            return SpokenChunk(b"", self._rate, text)
        if self._blank:
            blank = self._ids.get("", 0)
            ids = [blank, *(one for letter in ids for one in (letter, blank))]
        feeds: dict[str, Any] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([_NOISE, _SPEED, _DURATION_NOISE], np.float32),
            "sid": np.zeros(1, np.int64),
        }
        sound = self._session.run(None, {name: value for name, value in feeds.items() if name in self._inputs})[0]
        samples = np.asarray(sound, np.float32).reshape(-1)
        return SpokenChunk(pcm_of(samples), self._rate, text, estimated_words(text, samples, self._rate))

    def _spelled(self, text: str) -> str:
        return text if any(letter.isupper() for letter in self._ids) else text.lower()


def _letter_ids(files: VoiceFiles) -> Mapping[str, int]:
    """Return each character's id: padding, marks, letters and blank, in the order in which Coqui numbers them."""
    characters: Any = files.config.get("characters")
    if not isinstance(characters, dict) or not characters.get("characters"):
        raise UnavailableError(
            f"the voice {files.voice.name!r}: its configuration lists no `characters`", field="speaker"
        )
    listed = cast("dict[str, Any]", characters)
    order = [str(listed.get("pad") or "_"), *str(listed.get("punctuations") or ""), *str(listed["characters"])]
    ids = {character: index for index, character in enumerate(order)}
    # The empty text stands for the blank between two letters.
    ids[""] = len(order) if listed.get("blank") else 0
    return ids
