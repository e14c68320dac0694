"""Models that onnx-asr runs: Parakeet and Canary of NVIDIA, Whisper and others in ONNX form."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_asr
import onnxruntime
from onnx_asr.utils import ModelLoadingError

from deployments.call import Call
from deployments.engines.hearing.batch_worker import BatchWorker
from deployments.engines.onnx_session import SessionSetup, opening_on, require_device, session_setup
from deployments.errors import UnavailableError
from deployments.values.devices import OnnxDevice
from deployments.values.sound import SPEECH_RATE, Samples
from deployments.values.speech import Transcript, TranscriptQuality

logger = logging.getLogger(__name__)

_TOLD = {"nemo-conformer-aed"}
"""Architectures that take English for granted where they are not told what is spoken; the others find out."""
_SHARED_S = 5
"""Utterances whose lengths differ by less share a batch, of which little is padding then."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    samples: Samples
    language: str


class OnnxAsrEngine:
    """One model for final and partial transcripts, on a thread of its own that decodes together what waits together.

    Args:
        folder: Of the model: its ONNX files and vocabulary, as onnx-asr names them.
        architecture: As onnx-asr calls it, such as "nemo-conformer-tdt"; empty for what `config.json` of the folder
            says.
        quantization: Which of several versions of the files, such as "int8"; empty for the plain one.
        languages: ISO 639-1 codes that the model knows; the first is assumed where one has to be told.
        device: What runs the model.
        threads: Threads of one batch, on a processor.
        batch_size: Utterances in one batch.

    Raises:
        UnavailableError: The folder holds no such model, or the device cannot be used.
    """

    is_remote = False

    def __init__(
        self,
        folder: Path,
        *,
        architecture: str = "",
        quantization: str = "",
        languages: Sequence[str] = ("en",),
        device: OnnxDevice = "cpu",
        threads: int = 1,
        batch_size: int = 8,
    ) -> None:
        kind = architecture or _architecture_of(folder)
        self._model = _opened(folder, kind, quantization, threads, device)
        for session in _sessions_of(self._model):
            require_device(session, device)
        self._languages = tuple(languages)
        self._has_to_be_told = kind in _TOLD
        self._worker: BatchWorker[_Job, str] = BatchWorker(
            self._decode, _kind_of, name="speech-to-text", batch_size=batch_size
        )
        self.description = f"onnx-asr, {folder.name}" if device == "cpu" else f"onnx-asr, {folder.name} on {device}"

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        """Return what is said in at most 30 s of samples at 16 kHz."""
        del effort
        text = await self._worker.submit(call, _Job(samples, self._told(language)), urgent=urgent)
        return Transcript(text, self._spoken(language), len(samples) / SPEECH_RATE)

    async def check(self) -> None:
        """Raise `UnavailableError` where the model has failed and still does."""
        await self._worker.check(_Job(np.zeros(SPEECH_RATE, np.float32), self._told("")))

    async def close(self) -> None:
        self._worker.close()

    def _told(self, language: str) -> str:
        """Return the language that the model is told; empty where it finds out."""
        if language in self._languages:
            return language
        return self._languages[0] if self._has_to_be_told else ""

    def _spoken(self, language: str) -> str:
        """Return the language of a transcript; empty where only the model knows it, which does not say."""
        if len(self._languages) == 1:
            return self._languages[0]
        return self._told(language)

    def _decode(self, jobs: Sequence[_Job]) -> list[str]:
        """Return what is said in each; of equal language. Called on the worker's thread."""
        told = {"language": jobs[0].language, "target_language": jobs[0].language} if jobs[0].language else {}
        texts: list[str] = self._model.recognize([job.samples for job in jobs], sample_rate=SPEECH_RATE, **told)
        return [" ".join(text.split()) for text in texts]


def _kind_of(job: _Job) -> tuple[str, int]:
    return job.language, math.ceil(len(job.samples) / (_SHARED_S * SPEECH_RATE))


def _architecture_of(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnavailableError(
            f"speech-to-text: {folder.name} does not say in config.json what model it is: "
            "set engine.architecture, such as nemo-conformer-tdt",
            field="engine.architecture",
        ) from error


def _opened(folder: Path, kind: str, quantization: str, threads: int, device: OnnxDevice) -> Any:
    """Return onnx-asr's model. Spectrograms are made on the processor: they cost little, and not every device can."""
    on_device, on_processor = session_setup(threads, device), session_setup(threads)
    with opening_on(device):
        try:
            return cast("Any", onnx_asr).load_model(
                kind,
                folder,
                quantization=quantization or None,
                asr_config=_options(on_device),
                preprocessor_config=_options(on_processor),
                resampler_config=_options(on_processor),
            )
        except ModelLoadingError as error:
            # It names the folder.
            logger.exception("onnx-asr cannot load %s", folder)
            raise UnavailableError(
                f"speech-to-text: {folder.name} does not hold the files of a {kind} model; the log says which",
                field="engine.architecture",
            ) from error


def _options(setup: SessionSetup) -> dict[str, Any]:
    return {"sess_options": setup.options, "providers": setup.providers, "provider_options": None}


def _sessions_of(model: Any) -> list[Any]:
    """Return the sessions that a model has opened; onnx-asr does not give them."""
    held = cast("dict[str, object]", vars(model.asr))
    return [value for value in held.values() if isinstance(value, onnxruntime.InferenceSession)]
