"""Language models: prompts, messages, how to generate, how to answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from deployments.values.pickled import pickled_by_fields


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


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer: an example in a prompt, or an earlier turn.

    `passages` are what the answer rests on, if it rests on any.
    """

    question: str
    answer: str
    passages: tuple[str, ...] = ()


class PromptUse(StrEnum):
    """What an answer to a prompt is for, which says how much the model may think before it."""

    ANSWER = "answer"
    """It is read."""
    SPOKEN_ANSWER = "spoken_answer"
    """It is heard, and somebody waits in silence until it begins."""
    GREETING = "greeting"
    """It greets somebody, which needs no thought."""


@pickled_by_fields
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
        use: What the answer is for.
    """

    system: str
    question: str
    passages: tuple[str, ...] = ()
    examples: tuple[Exchange, ...] = ()
    history: tuple[Exchange, ...] = ()
    use: PromptUse = PromptUse.ANSWER


class ReasoningEffort(StrEnum):
    """How much a model that can think is to think before it answers."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Generation:
    """How a language model is to generate.

    Attributes:
        max_tokens: Tokens after which the answer ends.
        temperature: 0 takes the likeliest token each time.
        stop: Texts at which the answer ends; they are not part of it.
        effort: How much it is to think; None leaves that to the model.
        thought_tokens: Tokens of thought after which it is to answer, where its server can do that; None sets no bound.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    effort: ReasoningEffort | None = None
    thought_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How a model that thinks before it answers is used. Its thoughts are never shown, spoken or remembered.

    Attributes:
        effort: How much it is to think before an answer that is read; None leaves that to the model.
        spoken_effort: The same before an answer that is heard.
        budget_tokens: Tokens of thought after which it is to answer; None sets no bound.
        keeps_thoughts: Whether thoughts are logged. They are counted in any case.
        starts_inside: Whether the model's template opens the thought, so that an answer begins inside it and only its
            end is marked; None where that is not known.
    """

    effort: ReasoningEffort | None = None
    spoken_effort: ReasoningEffort | None = ReasoningEffort.NONE
    budget_tokens: int | None = None
    keeps_thoughts: bool = False
    starts_inside: bool | None = None

    def effort_for(self, use: PromptUse) -> ReasoningEffort | None:
        """Return how much the model is to think before an answer."""
        match use:
            case PromptUse.ANSWER:
                return self.effort
            case PromptUse.SPOKEN_ANSWER:
                return self.spoken_effort
            case PromptUse.GREETING:
                return ReasoningEffort.NONE


class FinishReason(StrEnum):
    """Why nothing follows in an answer."""

    STOP = "stop"
    """The model ended it, or one of `Generation.stop` did: it is whole."""
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - no secret
    """It took as many tokens as it may, and ends wherever that was."""
    CONTENT_FILTER = "content_filter"
    """The model's server holds back the rest."""


class Piece(NamedTuple):
    """What a language model makes at a time: a token or some more, or the end of its answer, or both.

    A tuple, because each token of each answer is one: pickling it takes a quarter of what a frozen dataclass takes.

    Attributes:
        text: What the answer goes on with.
        thought: What the model goes on to think before its answer. It is no part of the answer.
        end: Why nothing follows; None for every piece but the last.
        thought_tokens: Tokens of thought, by an estimate, that were left out of the answer since the piece before.
    """

    text: str = ""
    thought: str = ""
    end: FinishReason | None = None
    thought_tokens: int = 0


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
        reasoning: How much it thinks before it answers.
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
    reasoning: Reasoning = Reasoning()


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What a language model says of itself.

    Attributes:
        description: Engine and model.
        answering: How it wants to be used.
        tokens_generated: Tokens made by the replica that answered, since its start.
        thought_tokens: How many of them, by an estimate, were thoughts.
    """

    description: str
    answering: Answering
    tokens_generated: int
    thought_tokens: int = 0


def introduction(name: str) -> str:
    """Return the message of somebody who wants to be greeted by name."""
    return f"My name is {name}."
