"""The services of the graph, as their callers see them.

A service takes those that it calls as arguments: clients over a door in the graph (`deployments.graph.clients`), an
object with the same methods in a unit test.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from deployments.call import Call
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


class LanguageModelService(Protocol):
    """Makes text from prompts."""

    def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[str]:
        """Yield the answer, a token at a time."""
        ...

    def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        """Read a prompt into the model's cache; yield how many tokens were read so far."""
        ...

    async def profile(self, call: Call) -> ModelProfile:
        """Return how the model wants to be used."""
        ...

    async def status(self, call: Call) -> ComponentStatus:
        """Say how the deployment is."""
        ...


class EmbeddingsService(Protocol):
    """Turns texts into vectors."""

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        ...

    async def status(self, call: Call) -> ComponentStatus:
        """Say how the deployment is."""
        ...


class RerankerService(Protocol):
    """Orders passages."""

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first."""
        ...

    async def status(self, call: Call) -> ComponentStatus:
        """Say how the deployment is."""
        ...


class RetrievalService(Protocol):
    """Finds passages."""

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        """Return the passages that fit a question, best first."""
        ...

    async def nearest_sentences(
        self, call: Call, question: str, passages: Sequence[Passage], limit: int
    ) -> tuple[Passage, ...]:
        """Return passages cut down to the sentences that are nearest to the question, at most `limit` sentences."""
        ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how retrieval and everything below it is."""
        ...


class ChatService(Protocol):
    """Answers questions."""

    def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        """Yield an answer's tokens and, last, its end."""
        ...

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        """Find passages for a question that is not whole yet."""
        ...

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        """Have the model read a prompt as far as its question is known; yield how many tokens were read so far."""
        ...

    async def greet(self, call: Call, name: str) -> str:
        """Return a short greeting that calls somebody by name."""
        ...

    async def warm(self, call: Call) -> None:
        """Do once what somebody's first question would wait for."""
        ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how chat and everything below it is."""
        ...


class IngestionService(Protocol):
    """Puts documents into collections."""

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        """Put a document, or a part of one, into its collection."""
        ...

    async def delete(self, call: Call, collection: str, source: str) -> int:
        """Take a document out of a collection; return how many chunks it had."""
        ...

    async def documents(self, call: Call, collection: str, prefix: str) -> DocumentListing:
        """Return the documents whose key begins with `prefix`."""
        ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how ingestion is."""
        ...


class SpeechToTextService(Protocol):
    """Turns speech into text."""

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        """Return what is said in an utterance."""
        ...

    async def transcribe_recording(self, call: Call, recording: Recording) -> Transcript:
        """Return what is said in an audio file."""
        ...

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        """Return the probability that the speaker has finished; None where nobody judges it."""
        ...

    async def status(self, call: Call) -> ComponentStatus:
        """Say how the deployment is."""
        ...


class TextToSpeechService(Protocol):
    """Turns text into speech."""

    def speak(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield the speech, a sentence, or some words of one, at a time."""
        ...

    async def voices(self, call: Call, rescan: bool) -> Voices:
        """Return the voices; those of the voice folder looked for again where `rescan` says so."""
        ...

    async def status(self, call: Call) -> ComponentStatus:
        """Say how the deployment is."""
        ...


class TranscriptionService(Protocol):
    """Transcribes what is said while it is being said, and recordings."""

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        """Return what is known of the words of an utterance that goes on."""
        ...

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        """Return what an utterance was, should it end here."""
        ...

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        """Return what is said in an audio file."""
        ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how transcription and everything below it is."""
        ...


class SpeechService(Protocol):
    """Says things."""

    def say(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield the speech, a sentence, or some words of one, at a time."""
        ...

    async def voices(self, call: Call, rescan: bool) -> Voices:
        """Return the voices; those of the voice folder looked for again where `rescan` says so."""
        ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how speech and everything below it is."""
        ...


class VoiceService(Protocol):
    """Answers questions aloud."""

    def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[SpokenAnswerItem]:
        """Yield an answer's tokens and its sound as both are made and, last, its end."""
        ...

    def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> AsyncGenerator[SpokenAnswerItem]:
        """Yield what a recording asks, then as `answer`."""
        ...

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        """Find passages for a question that is not whole yet."""
        ...

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        """Have the model read a prompt as far as its question is known; yield how many tokens were read so far."""
        ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how this service is."""
        ...


class PipelinesService(Protocol):
    """Starts runs on workflow engines and reports them to their end."""

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        """Refuse a trigger, or keep it and start its run."""
        ...

    async def describe(self, call: Call) -> tuple[PipelineDescription, ...]:
        """Return what may be started."""
        ...

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how this service and the engines are."""
        ...
