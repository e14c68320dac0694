"""The orchestration deployments: services that call models and hold none.

They find the models' applications by name, and each other by handle, or in process where the settings put a service
into the replica of its caller. The NATS ingress in front of them is bound in `bridges.application`.
"""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.call import Call
from deployments.chat.service import Chat
from deployments.engines.speech_engines import voice_activity_engine
from deployments.graph.batching import Batch, ready_together
from deployments.graph.clients import (
    ChatClient,
    EmbeddingsClient,
    LanguageModelClient,
    RerankerClient,
    RetrievalClient,
    SpeechClient,
    SpeechToTextClient,
    TextToSpeechClient,
    TranscriptionClient,
)
from deployments.graph.door import Door, application_door, handle_door, in_process_door
from deployments.graph.replica import log_left_alone, prepare_replica
from deployments.ingestion.service import Ingestion
from deployments.listening.transcription import Transcription
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.retrieval.service import Retrieval
from deployments.settings.orchestration import MilvusSettings, OrchestrationSettings
from deployments.speaking.speech import Speech
from deployments.speaking.voice import Voice
from deployments.values.chat import AnswerItem, ChatQuestion, Preparation
from deployments.values.documents import Document, DocumentListing, IngestReport
from deployments.values.retrieval import Passage, RetrievalQuery
from deployments.values.speech import (
    Agreement,
    PartialTranscript,
    Recording,
    SpeechText,
    SpokenChunk,
    Transcript,
    TurnEnding,
    Utterance,
    Voices,
)
from deployments.values.status import ComponentStatus
from deployments.values.voice import SpokenAnswerItem, SpokenQuestion

if TYPE_CHECKING:
    from deployments.milvus.documents import MilvusDocuments
    from deployments.milvus.passages import MilvusPassages

_ITEMS_AHEAD = 8
"""Tokens and sentences of sound made before the ones before them were taken."""


def chat_door(
    settings: OrchestrationSettings, chat: DeploymentHandle[Any] | None, retrieval: DeploymentHandle[Any] | None
) -> Door:
    """Return the door to chat: by its handle, or in this process where it has none."""
    return handle_door(chat) if chat else in_process_door(_chat(settings, retrieval), Chat.name)


def voice_door(
    settings: OrchestrationSettings,
    voice: DeploymentHandle[Any] | None,
    handles: Mapping[str, DeploymentHandle[Any]],
) -> Door:
    """Return the door to voice: by its handle, or in this process where it has none.

    Args:
        settings: Of the application.
        voice: Its handle.
        handles: Those of the services that it calls, by name, where it runs in this process.
    """
    return handle_door(voice) if voice else in_process_door(_voice(settings, handles), Voice.name)


def ingestion_door(settings: OrchestrationSettings, ingestion: DeploymentHandle[Any] | None) -> Door:
    """Return the door to ingestion: by its handle, or in this process where it has none."""
    return handle_door(ingestion) if ingestion else in_process_door(_ingestion(settings), Ingestion.name)


def transcription_door(settings: OrchestrationSettings, transcription: DeploymentHandle[Any] | None) -> Door:
    """Return the door to transcription: by its handle, or in this process where it has none."""
    return (
        handle_door(transcription) if transcription else in_process_door(_transcription(settings), Transcription.name)
    )


def speech_door(settings: OrchestrationSettings, speech: DeploymentHandle[Any] | None) -> Door:
    """Return the door to speech: by its handle, or in this process where it has none."""
    return handle_door(speech) if speech else in_process_door(_speech(settings), Speech.name)


def voice_activity(settings: OrchestrationSettings) -> VoiceActivityEngine:
    """Return the model that finds speech in live audio, where its messages land."""
    return voice_activity_engine(settings.audio.voice_activity.model)


def _transcription(settings: OrchestrationSettings) -> Transcription:
    return Transcription(SpeechToTextClient(application_door(settings.speech_to_text, "SpeechToText")))


def _speech(settings: OrchestrationSettings) -> Speech:
    model = TextToSpeechClient(application_door(settings.text_to_speech, "TextToSpeech"))
    return Speech(model, settings.speech.max_characters)


def _voice(settings: OrchestrationSettings, handles: Mapping[str, DeploymentHandle[Any]]) -> Voice:
    return Voice(
        TranscriptionClient(transcription_door(settings, handles.get(Transcription.name))),
        ChatClient(chat_door(settings, handles.get(Chat.name), handles.get(Retrieval.name))),
        SpeechClient(speech_door(settings, handles.get(Speech.name))),
    )


def _chat(settings: OrchestrationSettings, retrieval: DeploymentHandle[Any] | None) -> Chat:
    model = LanguageModelClient(application_door(settings.language_model, "LanguageModel"))
    door = handle_door(retrieval) if retrieval else in_process_door(_retrieval(settings), Retrieval.name)
    return Chat(model, RetrievalClient(door))


def _retrieval(settings: OrchestrationSettings) -> Retrieval:
    reranker = RerankerClient(application_door(settings.reranker, "Reranker"))
    return Retrieval(_embeddings(settings), reranker, _passages(settings.milvus), settings.milvus)


def _ingestion(settings: OrchestrationSettings) -> Ingestion:
    return Ingestion(_embeddings(settings), _documents(settings.milvus), settings.milvus)


def _embeddings(settings: OrchestrationSettings) -> EmbeddingsClient:
    return EmbeddingsClient(application_door(settings.embeddings, "Embeddings"))


# Imported where it is used: pymilvus takes a second and a half and 60 MB, and most replicas have nothing to do with
# Milvus.
def _passages(settings: MilvusSettings) -> "MilvusPassages":
    with log_left_alone():
        from deployments.milvus.connection import MilvusConnection  # noqa: PLC0415
        from deployments.milvus.passages import MilvusPassages  # noqa: PLC0415

    return MilvusPassages(
        MilvusConnection(settings.uri, token=os.environ.get(settings.token_variable, "")),
        passage_characters=settings.passage_characters,
        keyword_weight=settings.keyword_weight,
    )


def _documents(settings: MilvusSettings) -> "MilvusDocuments":
    with log_left_alone():
        from deployments.milvus.connection import MilvusConnection  # noqa: PLC0415
        from deployments.milvus.documents import MilvusDocuments  # noqa: PLC0415

    return MilvusDocuments(MilvusConnection(settings.uri, token=os.environ.get(settings.token_variable, "")))


@serve.deployment(name=Retrieval.name)
class RetrievalDeployment:
    """Retrieval as a deployment."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        prepare_replica(Retrieval.name)
        self._service = _retrieval(settings)

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        return await self._service.retrieve(call, query)

    async def nearest_sentences(
        self, call: Call, question: str, passages: tuple[Passage, ...], limit: int
    ) -> tuple[Passage, ...]:
        return await self._service.nearest_sentences(call, question, passages, limit)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)


@serve.deployment(name=Chat.name)
class ChatDeployment:
    """Chat as a deployment."""

    def __init__(self, settings: OrchestrationSettings, retrieval: DeploymentHandle[Any] | None) -> None:
        prepare_replica(Chat.name)
        self._service = _chat(settings, retrieval)

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[Batch[AnswerItem]]:
        async with aclosing(ready_together(self._service.answer(call, question))) as batches:
            async for items in batches:
                yield items

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        return await self._service.prepare(call, question)

    async def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[Batch[int]]:
        async with aclosing(ready_together(self._service.read(call, question))) as batches:
            async for counts in batches:
                yield counts

    async def greet(self, call: Call, name: str) -> str:
        return await self._service.greet(call, name)

    async def warm(self, call: Call) -> None:
        await self._service.warm(call)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)


@serve.deployment(name=Ingestion.name)
class IngestionDeployment:
    """Ingestion as a deployment."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        prepare_replica(Ingestion.name)
        self._service = _ingestion(settings)

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        return await self._service.ingest(call, document)

    async def delete(self, call: Call, collection: str, source: str) -> int:
        return await self._service.delete(call, collection, source)

    async def documents(self, call: Call, collection: str, prefix: str) -> DocumentListing:
        return await self._service.documents(call, collection, prefix)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)


@serve.deployment(name=Transcription.name)
class TranscriptionDeployment:
    """Transcription as a deployment."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        prepare_replica(Transcription.name)
        self._service = _transcription(settings)

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        return await self._service.hear(call, utterance, agreement)

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        return await self._service.conclude(call, utterance, judge_turn)

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        return await self._service.transcribe(call, recording)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)


@serve.deployment(name=Speech.name)
class SpeechDeployment:
    """Speech as a deployment."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        prepare_replica(Speech.name)
        self._service = _speech(settings)

    async def say(self, call: Call, text: SpeechText) -> AsyncGenerator[Batch[SpokenChunk]]:
        async with aclosing(ready_together(self._service.say(call, text), 1)) as batches:
            async for chunks in batches:
                yield chunks

    async def voices(self, call: Call, rescan: bool) -> Voices:
        return await self._service.voices(call, rescan)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)


@serve.deployment(name=Voice.name)
class VoiceDeployment:
    """Voice as a deployment."""

    def __init__(self, settings: OrchestrationSettings, handles: Mapping[str, DeploymentHandle[Any]]) -> None:
        prepare_replica(Voice.name)
        self._service = _voice(settings, handles)

    async def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[Batch[SpokenAnswerItem]]:
        async with aclosing(ready_together(self._service.answer(call, question), _ITEMS_AHEAD)) as batches:
            async for items in batches:
                yield items

    async def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> AsyncGenerator[Batch[SpokenAnswerItem]]:
        answer = self._service.answer_recording(call, recording, question)
        async with aclosing(ready_together(answer, _ITEMS_AHEAD)) as batches:
            async for items in batches:
                yield items

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        return await self._service.prepare(call, question)

    async def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[Batch[int]]:
        async with aclosing(ready_together(self._service.read(call, question))) as batches:
            async for counts in batches:
                yield counts

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)
