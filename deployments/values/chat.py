"""Chat: questions, what is prepared for them, and the items of an answer."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from deployments.values.language import Exchange
from deployments.values.pickled import pickled_by_fields
from deployments.values.retrieval import Passage


@dataclass(frozen=True, slots=True)
class Preparation:
    """What was found and read for a question before it was whole.

    Attributes:
        question: The question as far as it was known.
        passages: What was found for it, best first.
        read: The passages of the prompt that the model has read, in its order.
        tokens_read: Prompt tokens that the model read for it, and for preparations of the same question before it.
        tokens_wasted: Of those, tokens read in vain, because other passages were found later.
    """

    question: str
    passages: tuple[Passage, ...] = ()
    read: tuple[str, ...] = ()
    tokens_read: int = 0
    tokens_wasted: int = 0

    def wasted_unless_kept(self, share: float) -> int:
        """Return the tokens read in vain when `share`, from 0 to 1, of what is not wasted yet is still of use."""
        return self.tokens_wasted + round((self.tokens_read - self.tokens_wasted) * (1.0 - share))


class PreparationUse(StrEnum):
    """What became of a preparation when the question was whole."""

    NONE = "none"
    """There was none."""
    KEPT = "kept"
    """It was the same question: the passages were taken, and the model has read them."""
    PREFIX = "prefix"
    """The question went on, and the first passages were found again: the model has read them."""
    THROWN_AWAY = "thrown_away"
    """Other passages were found, or others were first."""


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question to the assistant.

    `system_prompt` and `collection` empty and `top_k` 0 stand for the configured defaults. `history` are the turns
    before it, oldest first. `preparation` is what was found and read for the same question before it was whole. With
    `spoken` the answer is to be heard, before which a model thinks less.
    """

    text: str
    user_id: str = ""
    retrieve: bool = False
    rerank: bool = False
    top_k: int = 0
    collection: str = ""
    system_prompt: str = ""
    history: tuple[Exchange, ...] = ()
    preparation: Preparation | None = None
    spoken: bool = False


class AnswerToken(NamedTuple):
    """A piece of an answer, as the model made it. A tuple for the same reason as `Piece`."""

    text: str


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The end of an answer: the last item of its stream, and the only one of its kind.

    Attributes:
        passages: What the answer was made from, best first; empty where nothing was retrieved.
        used_retrieval: Whether passages were found and used.
        error: Why the answer is not whole, in a text for the client; empty where it is.
        error_kind: The error's kind where nothing could be answered or the answer broke off; empty where the
            answer stands, whatever `error` says beside it.
        replica_lost: Whether a replica was lost under it: the same question may be asked again at once.
        unfinished: The end of the text that is no whole sentence, where the model was stopped before its answer's end.
            It is shown, and neither spoken nor remembered.
        thought_tokens: Tokens that the model thought for it, by an estimate.
        stages: Seconds that each stage took, by name.
        preparation: What became of the question's preparation.
        preparation_kept: The share of what the model had read for it, from 0 to 1, that was of use.
    """

    passages: tuple[Passage, ...] = ()
    used_retrieval: bool = False
    error: str = ""
    error_kind: str = ""
    replica_lost: bool = False
    unfinished: str = ""
    thought_tokens: int = 0
    stages: dict[str, float] = field(default_factory=dict[str, float])
    preparation: PreparationUse = PreparationUse.NONE
    preparation_kept: float = 0.0


AnswerItem = AnswerToken | AnswerEnd
