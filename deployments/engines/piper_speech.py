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
from deployments.engines.split_vits import Frames, open_vits
from deployments.engines.voice_folder import VoiceFiles
from deployments.sound import level_of, pcm_of
from deployments.speech_values import SpeechText, SpokenChunk, WordTime

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
class _Word:
    """A word and where in its sentence it is heard, in frames."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Sentence:
    """What is to be heard.

    Attributes:
        frames: Of the model.
        words: In order, each beginning where the one before ends.
        exact: Whether the words' times are those of the model.
    """

    frames: Frames
    words: tuple[_Word, ...]
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
        for start, end in _stretches(begun, round(_FIRST_S * self._frames_per_s)):
            call.check("speaking")
            yield await self._on_thread(lambda at=start, to=end: self._chunk(begun, at, to))

    async def check(self) -> None:
        """Nothing can be lost while the process lives."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _begun(self, text: str) -> _Sentence | None:
        phonemes = self._phonemes(text)
        if not phonemes:
            return None
        ids = self._voice.phonemes_to_ids(phonemes)
        frames = self._model.frames(self._feeds(ids))
        words = text.split()
        borders = self._borders(ids, frames)
        exact = len(borders) == len(words) + 1
        if not exact:
            borders = self._estimated_borders(words, frames)
        placed = (_Word(word, start, end) for word, (start, end) in zip(words, pairwise(borders), strict=True))
        return _Sentence(frames, tuple(placed), exact)

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

    def _chunk(self, sentence: _Sentence, start: int, end: int) -> SpokenChunk:
        samples = self._model.sound(sentence.frames, start, end) * self._gain
        words = [word for word in sentence.words if start <= word.start < end]
        times = tuple(
            WordTime(
                word.text,
                round((word.start - start) / self._frames_per_s, 3),
                round((word.end - start) / self._frames_per_s, 3),
            )
            for word in words
        )
        text = " ".join(word.text for word in words)
        return SpokenChunk(pcm_of(samples), self._rate, text, times, exact=sentence.exact)

    def _measured_gain(self) -> float:
        if self._config.phoneme_type not in {PhonemeType.ESPEAK, PhonemeType.TEXT}:
            # The sample cannot be said in them.
            return 1.0
        sample = self._begun(_SAMPLE)
        level = level_of(self._model.sound(sample.frames, 0, sample.frames.count)) if sample else 0.0
        return _LEVEL / level if level else 1.0


def _stretches(sentence: _Sentence, first: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of frames in which a sentence is made, each from the beginning of a word to that of another.

    Args:
        sentence: What is to be heard.
        first: Frames of the first, at least; each of the next has twice as many as the one before, and none less than
            the first.
    """
    at, wanted = 0, first
    for word in sentence.words:
        if word.start - at >= wanted and sentence.frames.count - word.start >= first:
            yield at, word.start
            at, wanted = word.start, wanted * 2
    yield at, sentence.frames.count
