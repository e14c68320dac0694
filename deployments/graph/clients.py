"""The services of the graph through a door: what `deployments.services` describes, called by handle."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from deployments.call import Call
from deployments.graph.door import Door
from deployments.values.chat import AnswerItem, ChatQuestion, Preparation
from deployments.values.documents import Document, DocumentListing, IngestReport
from deployments.values.language import ModelProfile, Prompt
from deployments.values.pipelines import PipelineDescription, PipelineTrigger, TriggerReceipt
from deployments.values.retrieval import Passage, Ranking, RetrievalQuery
from deployments.values.speech import (
    Agreement,
    PartialTranscript,
    Recording,
    SpeechText,
    SpokenChunk,
    Transcript,
    TranscriptQuality,
    TurnEnding,
    Utterance,
    Voices,
)
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors
from deployments.values.voice import SpokenAnswerItem, SpokenQuestion


@dataclass(frozen=True, slots=True)
class LanguageModelClient:
    """`LanguageModel` through a door."""

    door: Door

    def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[str]:
        return self.door.stream(call, "generate", prompt)

    def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        return self.door.stream(call, "read", prompt)

    async def profile(self, call: Call) -> ModelProfile:
        return await self.door.call(call, "profile")

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class EmbeddingsClient:
    """`Embeddings` through a door."""

    door: Door

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        return await self.door.call(call, "embed", list(texts))

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class RerankerClient:
    """`Reranker` through a door."""

    door: Door

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        return await self.door.call(call, "rerank", query, list(passages))

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class RetrievalClient:
    """`Retrieval` through a door."""

    door: Door

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        return await self.door.call(call, "retrieve", query)

    async def nearest_sentences(
        self, call: Call, question: str, passages: Sequence[Passage], limit: int
    ) -> tuple[Passage, ...]:
        return await self.door.call(call, "nearest_sentences", question, tuple(passages), limit)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class ChatClient:
    """`Chat` through a door."""

    door: Door

    def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        return self.door.stream(call, "answer", question)

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        return await self.door.call(call, "prepare", question)

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        return self.door.stream(call, "read", question)

    async def greet(self, call: Call, name: str) -> str:
        return await self.door.call(call, "greet", name)

    async def warm(self, call: Call) -> None:
        await self.door.call(call, "warm")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class IngestionClient:
    """`Ingestion` through a door."""

    door: Door

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        return await self.door.call(call, "ingest", document)

    async def delete(self, call: Call, collection: str, source: str) -> int:
        return await self.door.call(call, "delete", collection, source)

    async def documents(self, call: Call, collection: str, prefix: str) -> DocumentListing:
        return await self.door.call(call, "documents", collection, prefix)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class SpeechToTextClient:
    """`SpeechToText` through a door."""

    door: Door

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        return await self.door.call(call, "transcribe", utterance, effort)

    async def transcribe_recording(self, call: Call, recording: Recording) -> Transcript:
        return await self.door.call(call, "transcribe_recording", recording)

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        return await self.door.call(call, "completion", utterance)

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class TextToSpeechClient:
    """`TextToSpeech` through a door."""

    door: Door

    def speak(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        return self.door.stream(call, "speak", text)

    async def voices(self, call: Call, rescan: bool) -> Voices:
        return await self.door.call(call, "voices", rescan)

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class TranscriptionClient:
    """`Transcription` through a door."""

    door: Door

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        return await self.door.call(call, "hear", utterance, agreement)

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        return await self.door.call(call, "conclude", utterance, judge_turn)

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        return await self.door.call(call, "transcribe", recording)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class SpeechClient:
    """`Speech` through a door."""

    door: Door

    def say(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        return self.door.stream(call, "say", text)

    async def voices(self, call: Call, rescan: bool) -> Voices:
        return await self.door.call(call, "voices", rescan)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class VoiceClient:
    """`Voice` through a door."""

    door: Door

    def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[SpokenAnswerItem]:
        return self.door.stream(call, "answer", question)

    def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> AsyncGenerator[SpokenAnswerItem]:
        return self.door.stream(call, "answer_recording", recording, question)

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        return await self.door.call(call, "prepare", question)

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        return self.door.stream(call, "read", question)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class PipelinesClient:
    """`Pipelines` through a door."""

    door: Door

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        return await self.door.call(call, "trigger", trigger)

    async def describe(self, call: Call) -> tuple[PipelineDescription, ...]:
        return await self.door.call(call, "describe")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")
