"""The inference applications that `serve_config.yaml` names, each a model of its own.

Models live apart from the orchestration, so that new orchestration code never restarts a loaded model. A
deployment here is a shim: it loads an engine, wraps the plain service around it and opens the service's methods to
handles. What differs between machines (replicas, CPUs, limits) stands in `serve_config.yaml`.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve import Application

from deployments.call import Call
from deployments.engines.speech_engines import (
    audio_decoder,
    end_of_turn_engine,
    speech_to_text_engine,
    text_to_speech_engine,
    voice_activity_engine,
    voice_folder,
)
from deployments.engines.text_engines import embeddings_engine, language_model_engine, reranker_engine
from deployments.graph.batching import Batch, ready_together
from deployments.graph.replica import prepare_replica
from deployments.inference.embeddings import Embeddings
from deployments.inference.language_model import LanguageModel
from deployments.inference.reranker import Reranker
from deployments.inference.speech_to_text import SpeechToText
from deployments.inference.text_to_speech import TextToSpeech
from deployments.settings.speech_models import SpeechToTextSettings, TextToSpeechSettings
from deployments.settings.text_models import (
    EmbeddingsSettings,
    LanguageModelSettings,
    LanguageModelUserConfig,
    LlamaCppSettings,
    RerankerSettings,
)
from deployments.values.language import ModelProfile, Prompt
from deployments.values.retrieval import Ranking
from deployments.values.speech import (
    Recording,
    SpeechText,
    SpokenChunk,
    Transcript,
    TranscriptQuality,
    Utterance,
    Voices,
)
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors

logger = logging.getLogger(__name__)

_WARM_UP_LIMIT_S = 120.0
_CHUNKS_AHEAD = 2
"""Sentences spoken before the ones before them were taken: more would be made in vain when the listener interrupts."""


@serve.deployment(name="LanguageModel")
class LanguageModelDeployment:
    """The language model as a deployment."""

    def __init__(self, settings: LanguageModelSettings) -> None:
        prepare_replica("LanguageModel")
        answering = LanguageModelUserConfig().answering.to_value()
        self._service = LanguageModel(language_model_engine(settings), answering)
        self._slots = settings.engine.parallel if isinstance(settings.engine, LlamaCppSettings) else 0

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take a new `answering` without loading the model again. Serve calls it at the start too."""
        answering = LanguageModelUserConfig.model_validate(user_config).answering
        self._service.configure(answering.to_value())
        if self._slots and answering.examples:
            seconds = await self._service.warm(self._slots, _WARM_UP_LIMIT_S)
            logger.info("prompt prefix read into %d slots in %.1f s", self._slots, seconds)

    async def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Batch[str]]:
        async with aclosing(ready_together(self._service.generate(call, prompt))) as batches:
            async for tokens in batches:
                yield tokens

    async def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[Batch[int]]:
        async with aclosing(ready_together(self._service.read(call, prompt))) as batches:
            async for counts in batches:
                yield counts

    async def profile(self, call: Call) -> ModelProfile:
        return await self._service.profile(call)

    async def status(self, call: Call) -> ComponentStatus:
        return await self._service.status(call)

    async def check_health(self) -> None:
        await self._service.check()


@serve.deployment(name="Embeddings")
class EmbeddingsDeployment:
    """Embeddings as a deployment."""

    def __init__(self, settings: EmbeddingsSettings) -> None:
        prepare_replica("Embeddings")
        self._service = Embeddings(embeddings_engine(settings))

    async def embed(self, call: Call, texts: list[str]) -> Vectors:
        return await self._service.embed(call, texts)

    async def status(self, call: Call) -> ComponentStatus:
        return await self._service.status(call)

    async def check_health(self) -> None:
        await self._service.check()


@serve.deployment(name="Reranker")
class RerankerDeployment:
    """The reranker as a deployment."""

    def __init__(self, settings: RerankerSettings) -> None:
        prepare_replica("Reranker")
        self._service = Reranker(reranker_engine(settings))

    async def rerank(self, call: Call, query: str, passages: list[str]) -> list[Ranking]:
        return await self._service.rerank(call, query, passages)

    async def status(self, call: Call) -> ComponentStatus:
        return await self._service.status(call)

    async def check_health(self) -> None:
        await self._service.check()


def language_model(args: LanguageModelSettings) -> Application:
    """Build the language-model application."""
    return LanguageModelDeployment.bind(args)


def embeddings(args: EmbeddingsSettings) -> Application:
    """Build the embeddings application."""
    return EmbeddingsDeployment.bind(args)


def reranker(args: RerankerSettings) -> Application:
    """Build the reranker application."""
    return RerankerDeployment.bind(args)


@serve.deployment(name="SpeechToText")
class SpeechToTextDeployment:
    """Speech to text as a deployment."""

    def __init__(self, settings: SpeechToTextSettings) -> None:
        prepare_replica("SpeechToText")
        self._service = SpeechToText(
            speech_to_text_engine(settings),
            voice_activity_engine(settings.voice_activity),
            end_of_turn_engine(settings.end_of_turn),
            audio_decoder(),
            settings.max_recording_s,
        )

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        return await self._service.transcribe(call, utterance, effort)

    async def transcribe_recording(self, call: Call, recording: Recording) -> Transcript:
        return await self._service.transcribe_recording(call, recording)

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        return await self._service.completion(call, utterance)

    async def status(self, call: Call) -> ComponentStatus:
        return await self._service.status(call)

    async def check_health(self) -> None:
        await self._service.check()


@serve.deployment(name="TextToSpeech")
class TextToSpeechDeployment:
    """Text to speech as a deployment."""

    def __init__(self, settings: TextToSpeechSettings) -> None:
        prepare_replica("TextToSpeech")
        self._service = TextToSpeech(text_to_speech_engine(settings), voice_folder(settings), settings.voice)

    async def speak(self, call: Call, text: SpeechText) -> AsyncGenerator[Batch[SpokenChunk]]:
        async with aclosing(ready_together(self._service.speak(call, text), _CHUNKS_AHEAD)) as batches:
            async for chunks in batches:
                yield chunks

    async def voices(self, call: Call, rescan: bool) -> Voices:
        return await self._service.voices(call, rescan)

    async def status(self, call: Call) -> ComponentStatus:
        return await self._service.status(call)

    async def check_health(self) -> None:
        await self._service.check()


def speech_to_text(args: SpeechToTextSettings) -> Application:
    """Build the speech-to-text application."""
    return SpeechToTextDeployment.bind(args)


def text_to_speech(args: TextToSpeechSettings) -> Application:
    """Build the text-to-speech application."""
    return TextToSpeechDeployment.bind(args)
