"""The inference applications that `serve_config.yaml` names, each with models of its own.

Models live apart from the orchestration, so that new orchestration code never restarts a loaded model. An application
here loads an engine and wraps the plain service around it. What differs between machines (replicas, CPUs, limits)
stands in `serve_config.yaml`.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from ray.serve import Application

from deployments.engines.protocols import Engine
from deployments.engines.speech_engines import (
    audio_decoder,
    end_of_turn_engine,
    speech_to_text_engine,
    text_to_speech_engine,
    voice_activity_engine,
    voice_folder,
)
from deployments.engines.text_engines import embeddings_with_reranker, language_model_engine, reranker_engine
from deployments.graph.definitions import EMBEDDINGS, LANGUAGE_MODEL, RERANKER, SPEECH_TO_TEXT, TEXT_TO_SPEECH
from deployments.graph.deployment import Replica
from deployments.graph.foreign import ForeignDeployment
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

S = TypeVar("S")

logger = logging.getLogger(__name__)

_WARM_UP_LIMIT_S = 120.0


def language_model(args: LanguageModelSettings) -> Application:
    """Build the language-model application."""
    return LANGUAGE_MODEL.bind(_language_model, args)


def embeddings(args: EmbeddingsSettings) -> Application:
    """Build the embeddings application, with the reranker in the same replicas where the settings say so."""
    definition = EMBEDDINGS.hosting(RERANKER) if args.reranker else EMBEDDINGS
    return definition.bind(_embeddings, args)


def reranker(args: RerankerSettings) -> Application:
    """Build the reranker application."""
    return RERANKER.bind(_reranker, args)


def speech_to_text(args: SpeechToTextSettings) -> Application:
    """Build the speech-to-text application."""
    return SPEECH_TO_TEXT.bind(_speech_to_text, args)


def text_to_speech(args: TextToSpeechSettings) -> Application:
    """Build the text-to-speech application."""
    return TEXT_TO_SPEECH.bind(_text_to_speech, args)


def replica_with(
    service: S, engine: Engine, reconfigure: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
) -> Replica[S]:
    """Return a replica that Serve replaces when its engine fails.

    A model that runs elsewhere is no reason for that: a new replica would not mend it. The service's status tells it.
    """
    return Replica(service, check_of([engine]), reconfigure)


def check_of(engines: Sequence[Engine]) -> Callable[[], Awaitable[None]] | None:
    """Return what raises when an engine of a replica fails; None where all run elsewhere: see `replica_with`."""
    checks = [engine.check for engine in engines if not engine.is_remote]

    async def check_health() -> None:
        for check in checks:
            await check()

    return check_health if checks else None


def _language_model(settings: LanguageModelSettings) -> Replica[LanguageModel]:
    engine = language_model_engine(settings, ForeignDeployment)
    service = LanguageModel(engine, LanguageModelUserConfig().answering.to_value())
    reads_examples = isinstance(settings.engine, LlamaCppSettings)

    async def reconfigure(user_config: Mapping[str, Any]) -> None:
        """Take a new `answering` without loading the model again."""
        answering = LanguageModelUserConfig.model_validate(user_config).answering
        service.configure(answering.to_value())
        if reads_examples and answering.examples:
            seconds = await service.warm(_WARM_UP_LIMIT_S)
            logger.info("prompt prefix ready in %.2f s", seconds)

    return replica_with(service, engine, reconfigure)


def _embeddings(settings: EmbeddingsSettings) -> Replica[Embeddings]:
    engine, reranker = embeddings_with_reranker(settings, ForeignDeployment)
    if reranker is None:
        return replica_with(Embeddings(engine), engine)
    return Replica(Embeddings(engine), check_of([engine, reranker]), hosted=RERANKER.hosted(Reranker(reranker)))


def _reranker(settings: RerankerSettings) -> Replica[Reranker]:
    engine = reranker_engine(settings, ForeignDeployment)
    return replica_with(Reranker(engine), engine)


def _speech_to_text(settings: SpeechToTextSettings) -> Replica[SpeechToText]:
    engine = speech_to_text_engine(settings, ForeignDeployment)
    service = SpeechToText(
        engine,
        voice_activity_engine(settings.voice_activity),
        end_of_turn_engine(settings.end_of_turn),
        audio_decoder(),
        settings.max_recording_s,
    )
    return replica_with(service, engine)


def _text_to_speech(settings: TextToSpeechSettings) -> Replica[TextToSpeech]:
    engine = text_to_speech_engine(settings, ForeignDeployment)
    return replica_with(TextToSpeech(engine, voice_folder(settings), settings.voice), engine)
