"""Language models: prompts, messages, how to generate, how to answer."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who speaks in a message to a language model."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a language model."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer: an example in a prompt, or an earlier turn.

    `passages` are what the answer rests on, if it rests on any.
    """

    question: str
    answer: str
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that a language model is to answer from, still in parts.

    The parts are put into messages, and cut to the model's context window, beside the model: see
    `deployments.inference.prompt`.

    Attributes:
        system: The system prompt.
        question: The user's question.
        passages: Retrieved passages, best first.
        examples: How answers are to look. The same in every prompt, so that the model's prefix cache holds them.
        history: Earlier turns of the conversation, oldest first.
    """

    system: str
    question: str
    passages: tuple[str, ...] = ()
    examples: tuple[Exchange, ...] = ()
    history: tuple[Exchange, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """How a language model is to generate.

    Attributes:
        max_tokens: Tokens after which the answer ends.
        temperature: 0 takes the likeliest token each time.
        stop: Texts at which the answer ends; they are not part of it.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    stop: tuple[str, ...] = ()


class FinishReason(StrEnum):
    """Why nothing follows in an answer."""

    STOP = "stop"
    """The model ended it, or one of `Generation.stop` did: it is whole."""
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - no secret
    """It took as many tokens as it may, and ends wherever that was."""
    CONTENT_FILTER = "content_filter"
    """The model's server holds back the rest."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a language model makes at a time: a token or some more, or the end of its answer, or both.

    Attributes:
        text: What the answer goes on with.
        thought: What the model goes on to think before its answer. It is no part of the answer.
        end: Why nothing follows; None for every piece but the last.
    """

    text: str = ""
    thought: str = ""
    end: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """How chat uses one language model. Small models need more help than large ones.

    Attributes:
        system_prompt: The default system prompt.
        passages: How many of the kept passages the model is shown.
        examples: Worked examples put before the question when passages are shown.
        check_sentences: Whether each sentence of an answer from passages is held against them before its tokens
            are released, and the passage quoted where the sentence does not stand in it.
        generation: Limits and sampling.
        greeting_prompt: The system prompt for a greeting.
        greetings: Worked greetings: who said their name, and how they were greeted.
        history: Earlier turns that the model is shown where it answers alone.
        history_with_passages: The same where it is shown passages.
    """

    system_prompt: str
    passages: int
    examples: tuple[Exchange, ...]
    check_sentences: bool
    generation: Generation
    greeting_prompt: str = ""
    greetings: tuple[Exchange, ...] = ()
    history: int = 0
    history_with_passages: int = 0


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What a language model says of itself.

    Attributes:
        description: Engine and model.
        answering: How it wants to be used.
        tokens_generated: Tokens made by the replica that answered, since its start.
    """

    description: str
    answering: Answering
    tokens_generated: int


def introduction(name: str) -> str:
    """Return the message of somebody who wants to be greeted by name."""
    return f"My name is {name}."
