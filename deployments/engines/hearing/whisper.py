"""Whisper models in process, by CTranslate2.

The encoder takes less than the 30 s that Whisper was trained on, which is most of the time that an utterance costs:
with 10 s of input a final transcript of 5 s takes a third of the time, its text unchanged (measured on two cores with
base and tiny.en). Below 10 s, and now and then at 10 s, the decoder begins to repeat itself; what looks like that is
decoded again with all 30 s.
"""

import ctypes
import logging
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, cast

import ctranslate2
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from deployments.call import Call
from deployments.engines.hearing.batch_worker import BatchWorker
from deployments.engines.hearing.log_mel import log_mel
from deployments.errors import UnavailableError
from deployments.values.sound import SPEECH_RATE, Samples
from deployments.values.speech import Transcript, TranscriptQuality

logger = logging.getLogger(__name__)

WINDOW_S = 30
"""What a Whisper model hears at most."""

_SHORTEST_S = 10
_STEP_S = 5
_TOKENS_PER_S = 7
_SPARE_TOKENS = 12
_MAX_TOKENS = 224
"""Half of Whisper's text context, its own limit for one window."""

_REPEATS_COMPRESS = 2.0
_LOOPS_COMPRESS = 2.4
"""The threshold of Whisper's own decoder for a text that repeats itself."""
_WORDS_PER_S = 5.0
_FASTEST_WORDS_PER_S = 7.0
"""Of a partial transcript, which is not decoded again and begins where the voice does."""
_UNSURE = -1.0
_NO_SPEECH_SURE = 0.8
_NO_SPEECH_LIKELY = 0.5
_UNSURE_OF_WORDS = -1.0
"""Noise, keys and music come out as "you" with a probability of no speech of 0.57 to 0.95 and a score of -1.4 and less;
speech at 0.0 to 0.3, digits with breaths in between at up to 0.55 and -0.4."""
_DETECTED_SURELY = 0.5
_TOO_SHORT_TO_TELL_S = 2.0
_DETECTED_SURELY_OF_LITTLE = 0.9
"""Of half a second of English by real speakers, a fifth is taken for another language, with probabilities up to 0.6, of
accented single words up to 0.9; of a second or more, none is."""
_CHOSEN_BY_CTRANSLATE2 = {"auto", "default"}
_CUBLAS_PACKAGE, _CUBLAS = "nvidia-cublas-cu12", "libcublas.so.12"
_NOTE = re.compile(r"\[[^\]]*\]|\([^)]*\)|[♪♫]+")


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    samples: Samples
    language: str
    window_s: int
    is_final: bool


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    language: str
    score: float
    no_speech: float
    seconds: float


class WhisperEngine:
    """One Whisper model for final transcripts and, where there is one, a smaller one for partial ones.

    Each has a thread of its own, on which the utterances that wait are decoded in one batch.

    Args:
        final: Folder of the model for final transcripts: `model.bin`, `config.json`, `tokenizer.json`.
        partial: Folder of the one for partial transcripts; None has the other do both.
        device: "cpu" or "cuda".
        compute_type: Of CTranslate2, such as "int8" or "float16".
        threads: Threads of one batch.
        batch_size: Utterances in one batch.
        language: Assumed where the detected one is not sure, and what a model that knows only English speaks.

    Raises:
        UnavailableError: There is no such device, or it does not compute so. The message names the setting.
    """

    is_remote = False

    def __init__(
        self,
        final: Path,
        partial: Path | None,
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        threads: int = 1,
        batch_size: int = 8,
        language: str = "en",
    ) -> None:
        _require(device, compute_type)
        names = ", ".join(folder.name for folder in (final, partial) if folder)
        self.description = f"CTranslate2, {names}" if device == "cpu" else f"CTranslate2, {names} on {device}"
        self._final = _Model(final, device=device, compute_type=compute_type, threads=threads, language=language)
        self._partial = (
            _Model(partial, device=device, compute_type=compute_type, threads=threads, language=language)
            if partial
            else self._final
        )
        self._final_worker = _worker(self._final, "speech-to-text", batch_size)
        self._partial_worker = (
            _worker(self._partial, "speech-to-text-partial", batch_size) if partial else self._final_worker
        )

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        """Return what is said in at most 30 s of samples at 16 kHz."""
        seconds = len(samples) / SPEECH_RATE
        partial_knows = self._partial.is_multilingual or language == "en"
        worker = self._partial_worker if effort is TranscriptQuality.PARTIAL and partial_knows else self._final_worker
        window_s = min(WINDOW_S, max(_SHORTEST_S, math.ceil(seconds / _STEP_S) * _STEP_S))
        decoded = await worker.submit(
            call, _Job(samples, language, window_s, effort is TranscriptQuality.FINAL), urgent=urgent
        )
        return Transcript(decoded.text, decoded.language, seconds)

    async def check(self) -> None:
        """Raise `UnavailableError` where a model has failed and still does."""
        probe = _Job(np.zeros(SPEECH_RATE, np.float32), "en", _SHORTEST_S, is_final=False)
        for worker in {self._final_worker, self._partial_worker}:
            await worker.check(probe)

    async def close(self) -> None:
        self._final_worker.close()
        self._partial_worker.close()


def _require(device: str, compute_type: str) -> None:
    library = cast("Any", ctranslate2)
    if device == "cuda":
        _load_cublas()
        if not library.get_cuda_device_count():
            raise UnavailableError(
                "engine.device is 'cuda', but CTranslate2 finds no CUDA device: "
                "does this machine have a card, its driver, and does the replica ask for it (num_gpus)?",
                field="engine.device",
            )
    if compute_type in _CHOSEN_BY_CTRANSLATE2:
        return
    supported = sorted(library.get_supported_compute_types(device))
    if compute_type not in supported:
        raise UnavailableError(
            f"engine.compute_type is {compute_type!r}, which this machine's {device} does not compute: "
            f"expected {', '.join(supported)}, auto or default",
            field="engine.compute_type",
        )


def _load_cublas() -> None:
    """Load cuBLAS where a Python package holds it: CTranslate2 asks for it by name, and finds only the system's."""
    try:
        packaged = files(_CUBLAS_PACKAGE) or []
    except PackageNotFoundError:
        return
    for file in packaged:
        if file.name == _CUBLAS:
            ctypes.CDLL(str(file.locate()))


def _worker(model: "_Model", name: str, batch_size: int) -> BatchWorker[_Job, _Decoded]:
    return BatchWorker(model.decode, lambda job: job.window_s, name=name, batch_size=batch_size)


class _Model:
    """One Whisper model: batches of samples in, texts out."""

    def __init__(self, folder: Path, *, device: str, compute_type: str, threads: int, language: str) -> None:
        # CTranslate2's compiled part carries no types.
        self._model = cast("Any", ctranslate2).models.Whisper(
            str(folder), device=device, compute_type=compute_type, intra_threads=threads, inter_threads=1
        )
        self._tokenizer = cast("Any", Tokenizer.from_file(str(folder / "tokenizer.json")))
        self._language = language
        self.is_multilingual: bool = self._model.is_multilingual

    def decode(self, jobs: Sequence[_Job]) -> list[_Decoded]:
        """Return what is said in each; of equal window. Called on the worker's thread."""
        decoded = self._decode_at(jobs, jobs[0].window_s)
        # A partial transcript has no time for that; the next one is on its way.
        again = [index for index, one in enumerate(decoded) if jobs[index].is_final and _is_suspicious(one)]
        if again and jobs[0].window_s < WINDOW_S:
            logger.info("decoding %d of %d utterances again, with the whole window", len(again), len(jobs))
            for index, one in zip(again, self._decode_at([jobs[index] for index in again], WINDOW_S), strict=True):
                decoded[index] = _better(decoded[index], one)
        return [
            _believed(one) if job.is_final or not _runs_on(one, _FASTEST_WORDS_PER_S) else _textless(one)
            for one, job in zip(decoded, jobs, strict=True)
        ]

    def _decode_at(self, jobs: Sequence[_Job], window_s: int) -> list[_Decoded]:
        encoded = self._model.encode(_features([job.samples for job in jobs], window_s, self._model.n_mels))
        seconds = [len(job.samples) / SPEECH_RATE for job in jobs]
        languages = self._languages(encoded, [job.language for job in jobs], seconds)
        prompts = [self._prompt(language or self._language) for language in languages]
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=1,
            max_length=min(_MAX_TOKENS, len(prompts[0]) + int(_TOKENS_PER_S * max(seconds)) + _SPARE_TOKENS),
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [
            _Decoded(self._text(result.sequences_ids[0]), language, result.scores[0], result.no_speech_prob, duration)
            for result, language, duration in zip(results, languages, seconds, strict=True)
        ]

    def _languages(self, encoded: Any, given: Sequence[str], seconds: Sequence[float]) -> list[str]:
        """Return the language of each, as given or detected; empty where it is not sure."""
        if not self.is_multilingual:
            return ["en"] * len(given)
        if all(given):
            return list(given)
        detected = [ranked[0] for ranked in self._model.detect_language(encoded)]
        return [
            language or self._believed_language(found.strip("<|>"), probability, duration)
            for language, (found, probability), duration in zip(given, detected, seconds, strict=True)
        ]

    def _believed_language(self, found: str, probability: float, seconds: float) -> str:
        is_little = seconds < _TOO_SHORT_TO_TELL_S and found != self._language
        return found if probability >= (_DETECTED_SURELY_OF_LITTLE if is_little else _DETECTED_SURELY) else ""

    def _prompt(self, language: str) -> list[int]:
        names = ["<|startoftranscript|>"]
        if self.is_multilingual:
            known = self._tokenizer.token_to_id(f"<|{language}|>") is not None
            names += [f"<|{language if known else self._language}|>", "<|transcribe|>"]
        return [self._tokenizer.token_to_id(name) for name in (*names, "<|notimestamps|>")]

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return " ".join(_NOTE.sub(" ", text).split())


def _features(batch: Sequence[Samples], window_s: int, bands: int) -> Any:
    stacked: NDArray[np.float32] = np.zeros((len(batch), bands, window_s * 100), np.float32)
    for row, samples in enumerate(batch):
        padded = np.zeros(window_s * SPEECH_RATE, np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        stacked[row] = log_mel(padded, bands)
    return cast("Any", ctranslate2).StorageView.from_array(stacked)


def _is_suspicious(decoded: _Decoded) -> bool:
    """Say whether a text may be the decoder's own and not the speaker's."""
    return bool(decoded.text) and (_runs_on(decoded, _WORDS_PER_S) or decoded.score < _UNSURE)


def _runs_on(decoded: _Decoded, words_per_s: float) -> bool:
    """Say whether a text repeats itself, or has more words than anybody says in that time."""
    words = decoded.text.split()
    return (
        _compression(decoded.text) > _REPEATS_COMPRESS
        or _repeats_three_words(words)
        or len(words) > max(4.0, words_per_s * decoded.seconds)
    )


def _textless(decoded: _Decoded) -> _Decoded:
    return _Decoded("", decoded.language, decoded.score, decoded.no_speech, decoded.seconds)


def _better(first: _Decoded, again: _Decoded) -> _Decoded:
    """Return which of two decodings of the same sound is more likely to be what was said.

    The second, with the whole window, is none where it says nothing of what the first was fairly sure of, or is less
    sure of it, unless the first runs on.
    """
    if _runs_on(first, _WORDS_PER_S):
        return again
    if bool(_believed(first).text) != bool(_believed(again).text):
        return first if _believed(first).text else again
    return again if again.score >= first.score else first


def _believed(decoded: _Decoded) -> _Decoded:
    """Return what was decoded, without its text where nobody is likely to have spoken."""
    silent = decoded.no_speech > _NO_SPEECH_SURE or (
        decoded.no_speech > _NO_SPEECH_LIKELY and decoded.score < _UNSURE_OF_WORDS
    )
    wordless = not any(character.isalnum() for character in decoded.text)
    if silent or wordless or _compression(decoded.text) > _LOOPS_COMPRESS:
        return _textless(decoded)
    return decoded


def _compression(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _repeats_three_words(words: Sequence[str]) -> bool:
    """Say whether three words stand at once behind themselves."""
    return any(words[at : at + 3] == words[at + 3 : at + 6] for at in range(len(words) - 5))
