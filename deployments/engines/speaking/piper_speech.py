"""Piper voices in process. Piper's licence is the GPL: it comes with an extra of its own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from piper import PiperVoice
from piper.config import PhonemeType, PiperConfig

from deployments.call import Call
from deployments.engines.speaking.split_vits import Frames, open_vits
from deployments.engines.speaking.voice_folder import VoiceFiles
from deployments.values.sound import level_of, pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, WordTime

T = TypeVar("T")

_THREADS = 2
"""A sentence of 50 characters takes 210 ms on one thread, 115 ms on two."""
_WORD_BREAK = " "
_FIRST_S = 0.4
"""Sound of a sentence's first chunk; each of the next may be twice as long, made while the one before is heard."""
_LEVEL = 0.05
"""Root mean square of speech, so that every voice is as loud as the others: -26 dB of full scale, as by telephone."""
_SAMPLE = "Ready when you are, she said, and closed the door."


@dataclass(frozen=True, slots=True)
class _Sentence:
    """What is to be heard.

    Attributes:
        frames: Of the model.
        words: As they are written, at least one.
        borders: In frames, where each word begins, and where the last one ends.
        exact: Whether the borders are those of the model.
    """

    frames: Frames
    words: tuple[str, ...]
    borders: tuple[int, ...]
    exact: bool


class PiperSpeech:
    """One Piper voice.

    Args:
        files: Of the voice.
    """

    is_remote = False
    clones = False
    # A sentence is heard before all of it is made.
    opening_clause_pays = False

    def __init__(self, files: VoiceFiles) -> None:
        config = PiperConfig.from_dict(dict(files.config))
        # Its own session has a pool that spins, and takes the cores from the model that is still writing.
        self._voice = cast("Any", PiperVoice)(session=None, config=config)
        self._config = cast("Any", config)
        self._model = open_vits(files.model, _THREADS, self._config.hop_length)
        self._rate = int(self._config.sample_rate)
        self._frames_per_s = self._rate / self._model.hop
        self._word_break: list[int] = list(self._config.phoneme_id_map.get(_WORD_BREAK, ()))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="piper")
        self._gain = self._measured_gain()
        self.voices = (files.voice,)
        self.description = f"Piper, {files.voice.name}"

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound, some words at a time."""
        call.check("speaking")
        begun = await self._on_thread(lambda: self._begun(sentence.text))
        if begun is None:
            return
        for first, end in _stretches(begun.borders, round(_FIRST_S * self._frames_per_s)):
            call.check("speaking")
            yield await self._on_thread(lambda at=first, to=end: self._chunk(begun, at, to))

    async def check(self) -> None:
        """Nothing can be lost while the process lives."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _begun(self, text: str) -> _Sentence | None:
        words, phonemes = text.split(), self._phonemes(text)
        if not words or not phonemes:
            return None
        ids = self._voice.phonemes_to_ids(phonemes)
        frames = self._model.frames(self._feeds(ids))
        borders = self._borders(ids, frames)
        exact = len(borders) == len(words) + 1
        return _Sentence(
            frames, tuple(words), tuple(borders if exact else self._estimated_borders(words, frames)), exact
        )

    def _phonemes(self, text: str) -> list[str]:
        """Return how a text is said; what Piper takes for several sentences, as one."""
        parts: list[list[str]] = [part for part in self._voice.phonemize(text) if part]
        return [phoneme for at, part in enumerate(parts) for phoneme in ([_WORD_BREAK] if at else []) + part]

    def _feeds(self, ids: Sequence[int]) -> dict[str, NDArray[Any]]:
        config = self._config
        feeds: dict[str, NDArray[Any]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([config.noise_scale, config.length_scale, config.noise_w_scale], np.float32),
        }
        if config.num_speakers > 1:
            feeds["sid"] = np.array([config.default_speaker_id], np.int64)
        return feeds

    def _borders(self, ids: Sequence[int], frames: Frames) -> list[int]:
        """Return where words begin, and the end; none where the model does not say."""
        if frames.durations is None or len(frames.durations) != len(ids):
            return []
        ends = np.cumsum(frames.durations)
        # What stands behind a break, a pad, belongs to it.
        breaks = [at + 1 for at, one in enumerate(ids[:-1]) if [one] == self._word_break]
        return [0, *(int(ends[at]) for at in breaks), frames.count]

    def _estimated_borders(self, words: Sequence[str], frames: Frames) -> list[int]:
        """Return where words begin, and the end, by the number of their phonemes.

        What is said are not always the words that are written: "14" is none that espeak writes, "of the" it writes as
        one.
        """
        shares = np.cumsum([0, *(len(self._phonemes(word)) or 1 for word in words)], dtype=np.float64)
        shares /= shares[-1]
        if frames.durations is None:
            return [round(share * frames.count) for share in shares.tolist()]
        ends = np.concatenate([[0], np.cumsum(frames.durations)])
        return [int(ends[round(share * (len(ends) - 1))]) for share in shares.tolist()]

    def _chunk(self, sentence: _Sentence, first: int, end: int) -> SpokenChunk:
        """Return the words from `first` to before `end`."""
        words, borders = sentence.words[first:end], sentence.borders[first : end + 1]
        samples = self._model.sound(sentence.frames, borders[0], borders[-1]) * self._gain
        seconds = [round((border - borders[0]) / self._frames_per_s, 3) for border in borders]
        times = tuple(WordTime(word, *between) for word, between in zip(words, pairwise(seconds), strict=True))
        return SpokenChunk(pcm_of(samples), self._rate, " ".join(words), times, exact=sentence.exact)

    def _measured_gain(self) -> float:
        if self._config.phoneme_type not in {PhonemeType.ESPEAK, PhonemeType.TEXT}:
            # The sample cannot be said in them.
            return 1.0
        sample = self._begun(_SAMPLE)
        level = level_of(self._model.sound(sample.frames, 0, sample.frames.count)) if sample else 0.0
        return _LEVEL / level if level else 1.0


def _stretches(borders: Sequence[int], shortest: int) -> Iterator[tuple[int, int]]:
    """Yield the words, from one to before another, that are made at a time.

    Args:
        borders: In frames, where each word begins, and where the last one ends.
        shortest: Frames of each at least; the second has twice as many as that, the third four times, and so on.
    """
    first, wanted = 0, shortest
    for word, start in enumerate(borders[:-1]):
        if start - borders[first] >= wanted and borders[-1] - start >= shortest:
            yield first, word
            first, wanted = word, wanted * 2
    yield first, len(borders) - 1
