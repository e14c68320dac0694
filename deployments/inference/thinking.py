"""What a language model thinks before it answers: taken out of its answers, and counted."""

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager

from deployments.call import Call
from deployments.errors import Limit, UpstreamFailedError
from deployments.text.thoughts import Beginning, Separated, ThoughtFilter
from deployments.values.language import FinishReason, Generation, Piece, Reasoning, ReasoningEffort

logger = logging.getLogger(__name__)

_NOTHING = Separated()
_BYTES_PER_TOKEN = 4
_LOGGED_CHARACTERS = 20_000
_CERTAIN = 2
_ALWAYS_THINKS = re.compile(r"think|reason|qwq|\br1\b", re.IGNORECASE)
"""What stands in the names of models that think before every answer."""
_MAY_THINK = re.compile(
    r"deepseek|qwen-?3|glm-?(?:4\.[5-9]|[5-9]|z)|nemotron|olmo-?3|exaone|minimax|kimi|step-?3|longcat|seed|hunyuan|mimo"
    r"|ernie|gpt-?oss|magistral|smollm-?3|hermes-?4",
    re.IGNORECASE,
)
"""What stands in the names of families of which some template opens the thought."""
_OPENINGS = (
    *("okay,", "ok,", "alright,", "hmm", "hm,", "let me ", "let's ", "the user ", "user ", "we need ", "we have to "),
    *("i need ", "i should ", "i have to ", "i'm asked ", "first, i ", "so the user", "so, the user", "so i need "),
    *("the question ", "thinking", "wait,", "got it,", "嗯", "好的，", "首先，", "用户", "我需要"),
)
"""How thoughts begin, and answers seldom do."""


class Thinking:
    """How one model thinks, as far as its settings, its template or its answers have told.

    Args:
        model: The model's name alone: its family is looked for in it.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._seen: dict[ReasoningEffort | None, bool] = {}
        self._times_inside: dict[ReasoningEffort | None, int] = {}
        self.tokens = 0

    def answer(
        self, call: Call, reasoning: Reasoning, generation: Generation, template_opens: bool | None
    ) -> "AnswerWithoutThoughts":
        """Return what takes one answer.

        Args:
            call: It answers.
            reasoning: How the model is used.
            generation: How it was asked.
            template_opens: Whether its template opens a thought before the answer; None where nobody knows.
        """
        return AnswerWithoutThoughts(self, call, reasoning, generation, template_opens)

    def begins_inside(self, effort: ReasoningEffort | None) -> bool | None:
        """Return whether answers begin inside a thought, as was seen at an effort; None where none was seen yet."""
        return self._seen.get(effort)

    def is_certain(self, effort: ReasoningEffort | None) -> bool:
        """Whether at least two answers in a row began inside a thought: one may have talked about its marks."""
        return self._times_inside.get(effort, 0) >= _CERTAIN

    def saw(self, effort: ReasoningEffort | None, *, begins_inside: bool, is_sure: bool) -> None:
        """Take note of where an answer began.

        Args:
            effort: At which it was asked for.
            begins_inside: Whether it began inside a thought.
            is_sure: Whether this answer alone says so. Where it does not, the next one must, too.
        """
        self._times_inside[effort] = self._times_inside.get(effort, 0) + 1 if begins_inside else 0
        if begins_inside and not is_sure and not self.is_certain(effort):
            return
        if begins_inside and not self._seen.get(effort):
            logger.warning(
                "%s begins its answers inside a thought; set answering.reasoning.starts_inside to true, so that no"
                " first answer of a replica is held back to find that out",
                self._model,
            )
        self._seen[effort] = begins_inside

    @property
    def always_thinks(self) -> bool:
        """Whether the model's name says that it thinks before every answer."""
        return _ALWAYS_THINKS.search(self._model) is not None

    @property
    def may_think(self) -> bool:
        """Whether the model's name says that its template may open a thought."""
        return self.always_thinks or _MAY_THINK.search(self._model) is not None


def begins_like_a_thought(text: str) -> bool | None:
    """Say whether a text that goes on begins as thoughts do; None while that cannot be told."""
    begun = text.lstrip().lower()
    if begun.startswith(_OPENINGS):
        return True
    return None if any(opening.startswith(begun) for opening in _OPENINGS) else False


class AnswerWithoutThoughts:
    """One answer while it is made.

    Made by `Thinking.answer`.
    """

    def __init__(
        self,
        thinking: Thinking,
        call: Call,
        reasoning: Reasoning,
        generation: Generation,
        template_opens: bool | None,
    ) -> None:
        self._thinking = thinking
        self._call = call
        self._reasoning = reasoning
        self._generation = generation
        seen = thinking.begins_inside(generation.effort)
        self._template_opens = template_opens
        self._opens_thought = template_opens if seen is None else seen
        self._filter = ThoughtFilter(self._beginning())
        self._goes_by_opening = self._opens_thought is None and not thinking.may_think
        self._said_something = False
        self._kept: list[str] = []
        self._kept_characters = 0
        self._told_tokens = 0
        self.tokens = 0

    def take(self, piece: Piece) -> Piece:
        """Return what is left of a piece without its thoughts; empty where there is nothing to tell yet.

        Raises:
            UpstreamFailedError: The answer ends, and was nothing but a thought.
        """
        released = self._filter.begins_outside() if piece.thought else _NOTHING
        said = self._filter.feed(piece.text)
        if self._goes_by_opening:
            said = self._judged(said)
        is_known = self._filter.beginning is not Beginning.UNKNOWN
        last = self._finished(piece.end) if piece.end else _NOTHING
        self._count(piece.thought, said.thought + last.thought)
        if not self.tokens:
            # They were thought without being told.
            self._count_tokens(piece.thought_tokens)
        text = released.text + said.text + last.text
        self._said_something = self._said_something or bool(text.strip())
        if piece.end:
            self._learn(is_known=is_known, is_whole=piece.end is FinishReason.STOP)
            if self.tokens and not self._said_something:
                raise self._no_answer(piece.end)
        if not text and not piece.end:
            return Piece()
        untold, self._told_tokens = self.tokens - self._told_tokens, self.tokens
        return Piece(text, end=piece.end, thought_tokens=untold)

    def _judged(self, said: Separated) -> Separated:
        """Return what was said, with what was held back where it does not begin like a thought."""
        like_a_thought = begins_like_a_thought(self._filter.held_back)
        self._goes_by_opening = like_a_thought is None
        released = self._filter.begins_outside() if like_a_thought is False else _NOTHING
        return Separated(said.text + released.text, said.thought + released.thought)

    def broke_off(self) -> Piece:
        """Return what was held back of an answer that breaks off."""
        last = self._finished(FinishReason.TOKEN_LIMIT)
        self._count(last.thought)
        return Piece(last.text)

    @contextmanager
    def logged(self) -> Generator[None]:
        """Log what was thought once the answer has ended, or was left, where that is wanted."""
        try:
            yield
        finally:
            if self._kept:
                thoughts = "".join(self._kept).strip()
                logger.info("request %s: thoughts, about %d tokens: %s", self._call.request_id, self.tokens, thoughts)

    def _beginning(self) -> Beginning:
        match self._reasoning.starts_inside:
            case True:
                return Beginning.INSIDE
            case False:
                return Beginning.OUTSIDE
            case None:
                return Beginning.OUTSIDE if self._opens_thought is False else Beginning.UNKNOWN

    def _finished(self, end: FinishReason) -> Separated:
        is_cut = end is not FinishReason.STOP
        return self._filter.finish(cut=is_cut, doubtful_is_thought=is_cut and self._is_likely_a_thought())

    def _is_likely_a_thought(self) -> bool:
        """Say whether an answer that was cut before any mark was a thought."""
        if self._template_opens or self._thinking.always_thinks or self._thinking.is_certain(self._generation.effort):
            return True
        return bool(self._opens_thought and begins_like_a_thought(self._filter.held_back))

    def _learn(self, *, is_known: bool, is_whole: bool) -> None:
        """Take note of where the answer began, where that is known or where it ended without closing a thought."""
        if self._reasoning.starts_inside is None and (is_known or is_whole):
            inside = self._filter.began_inside or self._filter.beginning is Beginning.INSIDE
            self._thinking.saw(self._generation.effort, begins_inside=inside, is_sure=self._filter.is_sure)

    def _count(self, *thoughts: str) -> None:
        for thought in thoughts:
            if not thought:
                continue
            self._count_tokens(max(1, len(thought.encode()) // _BYTES_PER_TOKEN))
            if self._reasoning.keeps_thoughts and self._kept_characters < _LOGGED_CHARACTERS:
                self._kept.append(thought[: _LOGGED_CHARACTERS - self._kept_characters])
                self._kept_characters += len(thought)

    def _count_tokens(self, tokens: int) -> None:
        self.tokens += tokens
        self._thinking.tokens += tokens

    def _no_answer(self, end: FinishReason) -> UpstreamFailedError:
        if end is FinishReason.TOKEN_LIMIT:
            limit = Limit("answering.max_tokens", self._generation.max_tokens)
            mended = "raise `answering.max_tokens`, or lower `answering.reasoning.effort`"
        else:
            limit = None
            mended = "lower `answering.reasoning.effort`"
            if self._reasoning.starts_inside:
                mended += ", or unset `answering.reasoning.starts_inside` if this was the answer"
        return UpstreamFailedError(
            f"the language model only thought, for about {self.tokens} tokens, and gave no answer: {mended}",
            retryable=False,
            limit=limit,
        )
