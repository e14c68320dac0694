"""What the inference deployments ask of an engine. An engine knows one library, and nothing of Ray."""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any, Protocol, runtime_checkable

from deployments.call import Call
from deployments.values.language import Generation, Message, Piece
from deployments.values.retrieval import Ranking
from deployments.values.sound import Samples
from deployments.values.speech import (
    SpeechText,
    SpokenChunk,
    Transcript,
    TranscriptQuality,
    VoiceInfo,
)
from deployments.values.vectors import Vectors


class Engine(Protocol):
    """Runs one model."""

    @property
    def description(self) -> str:
        """Engine and model, for status and logs."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether the model runs elsewhere, so that a new replica would not mend it."""
        ...

    async def check(self) -> None:
        """Raise `UnavailableError` when the engine cannot answer now."""
        ...

    async def close(self) -> None:
        """Give back what the engine holds."""
        ...


class DeployedModel(Protocol):
    """A deployment of the cluster that is not Hearth's, called by its handle."""

    @property
    def description(self) -> str:
        """The deployment and its application, for status and logs."""
        ...

    async def call(self, call: Call, method: str, /, *arguments: object, **named: object) -> Any:
        """Return what a method of the deployment returns.

        Raises:
            HearthError: The deployment cannot be reached, failed or took too long; no text of its own is quoted.
        """
        ...

    def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        """Yield what a method of the deployment yields; closing the generator stops it there.

        Raises:
            HearthError: As `call`.
        """
        ...

    async def check(self) -> None:
        """Raise `UnavailableError` where no replica of the deployment runs."""
        ...


class LanguageModelEngine(Engine, Protocol):
    """Makes text."""

    @property
    def model_name(self) -> str:
        """The model's name, which says what family it is of; without where it runs."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens that a prompt and its answer may take together."""
        ...

    @property
    def tokens_generated(self) -> int:
        """Tokens made since the start."""
        ...

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a prompt takes."""
        ...

    async def special_tokens(self, texts: Collection[str]) -> Collection[str]:
        """Return which of some texts the model reads as one token with a sense of its own, such as "</s>".

        Where the engine cannot tell, those are returned that many models read so.
        """
        ...

    async def opens_thought(self, generation: Generation) -> bool | None:
        """Say whether answers begin inside a thought that the model's template has opened; None where it cannot tell.

        False, too, where the engine tells thoughts from text itself.
        """
        ...

    def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """Yield the answer, a token at a time; closing the generator stops the model.

        The last piece, and no other, has an `end`.

        Raises:
            HearthError: In a kind of the closed family, before or after some text.
        """
        ...

    def read(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[int]:
        """Read a prompt into the cache, for an answer that is asked for later; closing the generator ends it.

        How much the model is to think may be part of what it reads, so `generation` is the answer's.

        Yields:
            Tokens that were read so far; those that were in the cache already are not counted.

        Raises:
            HearthError: In a kind of the closed family.
        """
        ...


@runtime_checkable
class KeepsPrefixes(Protocol):
    """A language model engine that keeps what it has read of a prompt from one start to the next.

    Only for the first prompt after the start: later, a slot may hold what somebody has asked.
    """

    async def restore_prefix(self, messages: Sequence[Message], generation: Generation) -> bool:
        """Say whether what an earlier start has read of a prompt was restored; a failure is logged, not raised."""
        ...

    async def keep_prefix(self, messages: Sequence[Message], generation: Generation) -> None:
        """Keep what was read of the prompt, for later starts; a failure is logged, not raised."""
        ...


class EmbeddingsEngine(Engine, Protocol):
    """Turns texts into vectors."""

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        ...


class RerankerEngine(Engine, Protocol):
    """Orders passages by how well they answer a question."""

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first."""
        ...


class SpeechToTextEngine(Engine, Protocol):
    """Turns speech into text."""

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        """Return what is said in at most 30 s of samples at 16 kHz.

        Args:
            call: Whose deadline holds.
            samples: The sound.
            language: ISO 639-1 code; empty where it is to be detected.
            effort: How good the transcript is to be.
            urgent: Goes before those that are not.
        """
        ...


class EndOfTurnEngine(Protocol):
    """Judges from the sound of a voice whether its speaker has finished."""

    @property
    def description(self) -> str:
        """Engine and model, for status and logs."""
        ...

    async def completion(self, call: Call, samples: Samples) -> float:
        """Return the probability, from 0 to 1, that nothing more will be said in this turn."""
        ...

    async def close(self) -> None:
        """Give back what the engine holds."""
        ...


class TextToSpeechEngine(Engine, Protocol):
    """Turns text into speech."""

    @property
    def voices(self) -> tuple[VoiceInfo, ...]:
        """The voices that it has, the default one first."""
        ...

    @property
    def clones(self) -> bool:
        """Whether it can imitate a voice from a sample."""
        ...

    @property
    def opening_clause_pays(self) -> bool:
        """Whether it is so slow that an opening clause spoken by itself is heard clearly sooner than its sentence."""
        ...

    def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence, or clause, as sound; no or empty sound where it can speak nothing of it.

        One chunk, or more from an engine whose sentences are heard before all of their sound is made: each holds whole
        words. `sentence.voice` is one of `voices`.
        """
        ...


class AudioDecoder(Protocol):
    """Turns an audio file into mono samples at 16 kHz, of at most `max_seconds`."""

    def __call__(self, data: bytes, max_seconds: float) -> Samples: ...
