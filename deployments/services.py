"""The services of the graph, as their callers see them: one protocol for each.

These protocols are the only place where a service's methods are written down, besides the class that does the work.
The clients that call a service through a door, and the deployments that run it, are made from them: see
`deployments.graph.definitions`. A service takes those that it calls as arguments. In the graph they are clients, in a
unit test objects with the same methods.

What holds for every method:

* It takes `call: Call` first, whose deadline holds for all the work that the call causes.
* It is `async`, or returns an `AsyncGenerator`. Closing the generator stops the work below it; so does cancelling the
  task that awaits a call.
* Arguments and results are values that can be pickled.
* What goes wrong is a `HearthError`. Besides those that a method names, a door raises `DeadlineExceededError`,
  `OverloadedError`, `PayloadTooLargeError`, `RequestEndedError`, `UnavailableError` and `InternalError`.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from deployments.call import Call
from deployments.values.chat import AnswerItem, ChatQuestion, Preparation
from deployments.values.documents import Document, DocumentListing, IngestReport
from deployments.values.language import ModelProfile, Piece, Prompt
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
class ItemsAhead:
    """How many items of a stream a replica makes before the ones before them were taken.

    It is written beside the type of a stream whose items cost much: what was made ahead is made in vain when the
    caller stops listening. Other streams are made ahead as far as `deployments.graph.batching` allows.
    """

    limit: int


class Inference(Protocol):
    """A service that runs one model."""

    async def status(self, call: Call) -> ComponentStatus:
        """Return how the replica and its model are. A model that fails is told in the status and not raised."""
        ...


class Reporting(Protocol):
    """A service that says how it is, and how what it needs is."""

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Return how the service is, and after it how each thing is that it needs and that nobody else reports."""
        ...


class LanguageModelService(Inference, Protocol):
    """Makes text from prompts, with one model."""

    def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Piece]:
        """Yield the answer to a prompt, one token at a time.

        The prompt is cut to the model's context window at whole turns and passages. The last piece, and no other, has
        an `end`. What the model thinks is left out, and only counted.

        Raises:
            InvalidRequestError: The question alone does not fit into the context window.
            UpstreamFailedError: The model only thought, and gave no answer; the message names the setting to change.
            HearthError: The model failed. Tokens that were yielded before stand.
        """
        ...

    def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        """Read a prompt into the model's cache, so that an answer to one that begins like it comes sooner.

        Yields:
            How many tokens were read so far, not counting those that were in the cache already.

        Raises:
            HearthError: As `generate`.
        """
        ...

    async def profile(self, call: Call) -> ModelProfile:
        """Return which model this is, and how it wants to be used."""
        ...


class EmbeddingsService(Inference, Protocol):
    """Turns texts into vectors."""

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts, of shape (texts, dimensions): a row of length 1 for each text, in order.

        Raises:
            InvalidRequestError: There is no text.
            HearthError: The model failed.
        """
        ...


class RerankerService(Inference, Protocol):
    """Orders passages by how well they fit a question."""

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first.

        Raises:
            HearthError: The model failed.
        """
        ...


class RetrievalService(Reporting, Protocol):
    """Finds passages of documents."""

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        """Return the passages that fit a question, best first.

        If the reranker fails, the passages come in the order in which they were found.

        Raises:
            InvalidRequestError: `top_k` is out of bounds.
            NotFoundError: The query names a collection that does not exist. If the default collection does not exist,
                nothing was ingested yet, and nothing is found.
            HearthError: Embedding or searching failed.
        """
        ...

    async def nearest_sentences(
        self, call: Call, question: str, passages: Sequence[Passage], limit: int
    ) -> tuple[Passage, ...]:
        """Return passages cut down to the sentences that are nearest to the question, about `limit` sentences in all.

        Passages and sentences keep their order. Sentences that are much farther from the question than the nearest
        one are left out, and so are passages without a near sentence. A sentence that begins with a pronoun comes with
        the sentence before it.

        Raises:
            HearthError: The reranker failed.
        """
        ...


class ChatService(Reporting, Protocol):
    """Answers questions."""

    def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        """Yield the tokens of an answer and, last, its `AnswerEnd`.

        What goes wrong in the service is told by the end and not raised. Tokens that were yielded before stand.
        """
        ...

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        """Find passages for a question that is not whole yet.

        The preparation is given back with the question, as its `preparation`. If the whole question is the same, its
        answer needs no search. If it is another one, passages that are found again come in the order in which the
        model has read them, so that it need not read them again.

        Args:
            call: Whose deadline holds.
            question: As far as it is known; its `preparation` is the one before.

        Raises:
            InvalidRequestError: The question is empty.
            HearthError: The passages could not be found.
        """
        ...

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        """Have the model read the prompt of a question as far as it is known, with the passages of its preparation.

        Without a preparation, the model reads what stands before the passages.

        Yields:
            How many tokens were read so far, not counting those that the model had read before.

        Raises:
            HearthError: The model failed.
        """
        ...

    async def greet(self, call: Call, name: str) -> str:
        """Return a greeting of one or two sentences that calls somebody by name.

        Raises:
            HearthError: The model failed, or gave no greeting.
        """
        ...

    async def warm(self, call: Call) -> None:
        """Do now what somebody's first question would wait for, unless that was done a moment ago.

        What fails is logged and not raised.
        """
        ...


class IngestionService(Reporting, Protocol):
    """Puts documents into collections and takes them out.

    An empty name of a collection stands for the configured default.
    """

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        """Put a document, or one part of it, into its collection.

        No chunk of the document is found before its last part is in. From then on all chunks are found, and none of
        the version before. Of ingestions of one source at the same time, the one that began last is found. The others
        end with an error, unless their content is the same.

        Raises:
            RequestEndedError: Another ingestion of the source began later and is in; nothing of this one is.
            InvalidRequestError: The document has no source or no text, or Hearth did not make the collection.
            NotFoundError: The parts before this one are no longer in the collection.
            HearthError: Embedding or writing failed.
        """
        ...

    async def delete(self, call: Call, collection: str, source: str) -> int:
        """Take a document out of a collection; return how many chunks it had.

        Raises:
            InvalidRequestError: `source` is empty.
            NotFoundError: There is no such collection, or no such document in it.
            HearthError: Deleting failed.
        """
        ...

    async def documents(self, call: Call, collection: str, prefix: str) -> DocumentListing:
        """Return the documents whose key begins with `prefix`.

        Args:
            call: Whose deadline holds.
            collection: Where to look.
            prefix: Up to 32 hexadecimal digits; empty for all documents. Where the documents are too many for one
                answer, each further digit gives a sixteenth of them.

        Raises:
            InvalidRequestError: Hearth did not make the collection, or `prefix` is not of that form.
            HearthError: Listing failed.
        """
        ...


class SpeechToTextService(Inference, Protocol):
    """Turns speech into text, with one model."""

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        """Return what is said in an utterance. Its text is empty where the utterance is shorter than 50 ms.

        Raises:
            InvalidRequestError: The sound is not 16-bit PCM.
            PayloadTooLargeError: It lasts longer than 30 s.
            HearthError: The model failed.
        """
        ...

    async def transcribe_recording(self, call: Call, recording: Recording) -> Transcript:
        """Return what is said in an audio file. Its text is empty where nobody speaks.

        Raises:
            InvalidRequestError: The file cannot be read.
            PayloadTooLargeError: It lasts longer than is transcribed in one request.
            HearthError: The model failed.
        """
        ...

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        """Return the probability, from 0 to 1, that the speaker has finished; None where no model judges it.

        Raises:
            HearthError: As `transcribe`.
        """
        ...


class TextToSpeechService(Inference, Protocol):
    """Turns text into speech, with one model and the custom voices beside it."""

    def speak(self, call: Call, text: SpeechText) -> Annotated[AsyncGenerator[SpokenChunk], ItemsAhead(2)]:
        """Yield the speech of a text that was made speakable, a sentence or some words of one at a time.

        Raises:
            NotFoundError: There is no such voice. The message names those that there are.
            InvalidRequestError: The voice cannot speak the language or imitate the reference, or can say nothing of
                the text.
            HearthError: The model failed.
        """
        ...

    async def voices(self, call: Call, rescan: bool) -> Voices:
        """Return the voices that there are.

        Args:
            call: Whose deadline holds.
            rescan: Whether to look through the folder of custom voices now. Otherwise that is done every 300 s.
        """
        ...


class TranscriptionService(Reporting, Protocol):
    """Transcribes what is said while it is being said, and recordings.

    It keeps nothing between calls. What is known of an utterance comes with it and goes back.
    """

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        """Return what is known of the words of an utterance that goes on.

        Args:
            call: Whose deadline holds.
            utterance: All of it so far.
            agreement: What was known of it before.

        Raises:
            HearthError: As `SpeechToTextService.transcribe`.
        """
        ...

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        """Return what an utterance was, should it end here.

        Args:
            call: Whose deadline holds.
            utterance: All of it.
            judge_turn: Whether to judge how likely it is that the speaker has finished. If judging fails, the ending
                has no `completion`.

        Raises:
            HearthError: As `SpeechToTextService.transcribe`.
        """
        ...

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        """Return what is said in an audio file.

        Raises:
            HearthError: As `SpeechToTextService.transcribe_recording`.
        """
        ...


class SpeechService(Reporting, Protocol):
    """Says texts as they are written, for people to hear."""

    def say(self, call: Call, text: SpeechText) -> Annotated[AsyncGenerator[SpokenChunk], ItemsAhead(1)]:
        """Yield the speech of a text, a sentence or some words of one at a time, each as soon as it is made.

        Raises:
            InvalidRequestError: There is nothing to say.
            PayloadTooLargeError: The text is too long.
            HearthError: As `TextToSpeechService.speak`.
        """
        ...

    async def voices(self, call: Call, rescan: bool) -> Voices:
        """Return the voices that there are: see `TextToSpeechService.voices`."""
        ...


class VoiceService(Reporting, Protocol):
    """Answers questions aloud: sentences are spoken while the next ones are being written."""

    def answer(
        self, call: Call, question: SpokenQuestion
    ) -> Annotated[AsyncGenerator[SpokenAnswerItem], ItemsAhead(8)]:
        """Yield the tokens of an answer and its sound, each as soon as it is made, and, last, its `SpokenAnswerEnd`.

        A token is yielded when it is written, not when it is heard. The `AnswerEnd` of the text comes as soon as the
        text is whole. What goes wrong in the services below is told by the end and not raised.
        """
        ...

    def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> Annotated[AsyncGenerator[SpokenAnswerItem], ItemsAhead(8)]:
        """Yield the `Transcript` of a recording, then the answer to what it asks, as `answer` does.

        A recording that cannot be understood is told by the end and not raised.
        """
        ...

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        """Find passages for a question that is not whole yet: see `ChatService.prepare`."""
        ...

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        """Have the model read the prompt of a question as far as it is known: see `ChatService.read`."""
        ...


class PipelinesService(Reporting, Protocol):
    """Starts runs on workflow engines and reports them to their end."""

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        """Refuse a trigger, or keep its run and start it.

        It returns as soon as the run is kept. What happens to the run is reported to its client on its own subject. A
        trigger that does not fit the pipeline table is refused by the receipt and not raised.

        Raises:
            UnavailableError: The runs cannot be kept now, or this replica is leaving. Nothing was started, or what was
                kept is looked after.
        """
        ...

    async def describe(self, call: Call) -> tuple[PipelineDescription, ...]:
        """Return the pipelines that may be started."""
        ...
