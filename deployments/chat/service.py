"""Chat: a question in, the tokens of an answer out, grounded in passages where that was asked for."""

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

from deployments.call import Call
from deployments.chat.follow_up import resolve
from deployments.chat.grounding import Evidence
from deployments.chat.prefix_reuse import in_read_order, kept_share
from deployments.chat.sentence_tokens import lstripped, sentences_of, stripped
from deployments.component_status import replica_status, status_or_error
from deployments.ending import end
from deployments.errors import (
    HearthError,
    InvalidRequestError,
    NotFoundError,
    ReplicaLostError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.services import LanguageModelService, RetrievalService
from deployments.text.sentences import unfinished_sentence
from deployments.text.words import says_the_same
from deployments.values.chat import AnswerEnd, AnswerItem, AnswerToken, ChatQuestion, Preparation, PreparationUse
from deployments.values.language import (
    Answering,
    FinishReason,
    Generation,
    ModelProfile,
    Piece,
    Prompt,
    PromptUse,
    introduction,
)
from deployments.values.retrieval import Passage, RetrievalQuery
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

_PROFILE_LIFETIME_S = 10.0
_WARM_FOR_S = 10.0
_QUOTED_PASSAGES = 5
_QUOTED_SENTENCES = 3
"""Of 60 questions over six documents, the three nearest sentences of the best five passages hold the fact 57 times.
Three sentences of the best passage alone hold it 51 times. `tests/benchmarks/answers.py` asks 49 of these questions,
those whose documents are kept in this repository."""
_NO_PASSAGE = Passage("", "")
"""Stands for passages that are not known yet. The prompt before them is then the same as with passages."""
_GREETING_SENTENCES = 2
_NAME_CHARACTERS = 64
_NAMELESS = "there"
_WARMING_QUESTION = "What is there to know?"
_WORD = re.compile(r"\s*\S+")


@dataclass(slots=True)
class _Progress:
    """What is known of one answer while it is made."""

    started: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict[str, float])
    passages: tuple[Passage, ...] = ()
    said: list[str] = field(default_factory=list[str])
    generation: Generation = field(default_factory=Generation)
    finish: FinishReason | None = None
    thought_tokens: int = 0
    preparation: PreparationUse = PreparationUse.NONE
    preparation_kept: float = 0.0
    is_refused: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether the model was stopped before the end of its answer."""
        return self.finish in {FinishReason.TOKEN_LIMIT, FinishReason.CONTENT_FILTER}

    def stage(self, name: str, since: float) -> None:
        self.stages[name] = time.monotonic() - since

    def token(self, text: str) -> None:
        if not self.said:
            self.stage("first_token", self.started)
        self.said.append(text)

    async def texts(self, pieces: AsyncGenerator[Piece]) -> AsyncGenerator[str]:
        """Yield what the model says, and take note of how it ends."""
        async with aclosing(pieces):
            async for piece in pieces:
                self.finish = piece.end
                self.thought_tokens += piece.thought_tokens
                if piece.text:
                    yield piece.text


class Chat:
    """Answers questions with a language model, from retrieved passages where the question asks for it.

    `deployments.services.ChatService` says what its methods do.

    Args:
        language_model: Makes the text, and says how it wants to be used.
        retrieval: Finds the passages.
    """

    name = "Chat"

    def __init__(self, language_model: LanguageModelService, retrieval: RetrievalService) -> None:
        self._language_model = language_model
        self._retrieval = retrieval
        self._profile: tuple[float, ModelProfile] | None = None
        self._warming = asyncio.Lock()
        self._warmed = -math.inf

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        progress = _Progress()
        error: HearthError | None = None
        try:
            async with aclosing(self._tokens(call, question, progress)) as tokens:
                async for token in tokens:
                    progress.token(token)
                    yield AnswerToken(token)
            if not progress.said:
                error = _no_answer(progress)
        except HearthError as raised:
            error = raised
        progress.stage("total", progress.started)
        yield _end(progress, error)

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        if not question.text.strip():
            raise InvalidRequestError("the question is empty", field="message")
        resolved = _resolved(question)
        before = question.preparation or Preparation("")
        profile, passages = await self._prepare(call, resolved, _Progress())
        prompt = _prompt(question, resolved, passages, profile.answering)
        wasted = before.wasted_unless_kept(kept_share(prompt.passages, before.read))
        return Preparation(resolved.text, passages, prompt.passages, before.tokens_read, wasted)

    async def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        passages = question.preparation.passages if question.preparation else ()
        if question.retrieve and not passages:
            passages = (_NO_PASSAGE,)
        profile = await self._current_profile(call)
        prompt = _prompt(question, _resolved(question), passages, profile.answering)
        async with aclosing(self._language_model.read(call, prompt)) as counts:
            async for tokens in counts:
                yield tokens

    async def greet(self, call: Call, name: str) -> str:
        called = " ".join(name.split())[:_NAME_CHARACTERS] or _NAMELESS
        answering = (await self._current_profile(call)).answering
        prompt = Prompt(
            answering.greeting_prompt, introduction(called), history=answering.greetings, use=PromptUse.GREETING
        )
        progress = _Progress()
        sentences: list[str] = []
        async with aclosing(sentences_of(progress.texts(self._language_model.generate(call, prompt)))) as written:
            async for sentence in written:
                if sentences and progress.is_cut and not sentence.complete:
                    break
                sentences.append("".join(sentence.tokens).strip())
                if len(sentences) == _GREETING_SENTENCES:
                    break
        greeting = " ".join(sentence for sentence in sentences if sentence)
        if not greeting:
            raise UnavailableError("the language model gave no greeting")
        return greeting if called in greeting else f"Hello {called}! {greeting}"

    async def warm(self, call: Call) -> None:
        # Logins come by the thousand, and nothing in this is any user's own.
        async with self._warming:
            if time.monotonic() - self._warmed > _WARM_FOR_S:
                await self._warm(call)
                self._warmed = time.monotonic()

    async def _warm(self, call: Call) -> None:
        query = RetrievalQuery(_WARMING_QUESTION, rerank=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(_attempt(self._current_profile(call)))
            group.create_task(_attempt(self._retrieval.retrieve(call, query)))

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        async with asyncio.TaskGroup() as group:
            model = group.create_task(status_or_error("LanguageModel", self._language_model.status(call)))
            retrieval = group.create_task(self._retrieval_components(call))
        return (replica_status(self.name, "answers questions"), model.result(), *retrieval.result())

    async def _tokens(self, call: Call, question: ChatQuestion, progress: _Progress) -> AsyncGenerator[str]:
        if not question.text.strip():
            raise InvalidRequestError(
                "the question is empty: neither `message` nor `query` holds text", field="message"
            )
        resolved = _resolved(question)
        profile, progress.passages = await self._prepare(call, resolved, progress)
        prompt = _prompt(question, resolved, progress.passages, profile.answering)
        progress.preparation, progress.preparation_kept = _use_of(resolved, prompt)
        progress.generation = profile.answering.generation
        generated = progress.texts(self._language_model.generate(call, prompt))
        if prompt.passages and profile.answering.check_sentences:
            tokens = self._checked(call, generated, resolved.text, progress, profile.answering.passages)
        else:
            tokens = stripped(generated)
        started = time.monotonic()
        async with aclosing(tokens):
            async for token in tokens:
                yield token
        progress.stage("generate", started)

    async def _prepare(
        self, call: Call, question: ChatQuestion, progress: _Progress
    ) -> tuple[ModelProfile, tuple[Passage, ...]]:
        """Ask the model how it wants to be used while passages are looked for."""
        if self._knows_profile:
            # As nearly always: there is one thing to wait for.
            return await self._current_profile(call), await self._passages(call, question, progress)
        try:
            async with asyncio.TaskGroup() as group:
                profile = group.create_task(self._current_profile(call))
                passages = group.create_task(self._passages(call, question, progress))
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            raise first from None
        return profile.result(), passages.result()

    async def _current_profile(self, call: Call) -> ModelProfile:
        if self._profile is None or not self._knows_profile:
            self._profile = (time.monotonic(), await self._language_model.profile(call))
        return self._profile[1]

    @property
    def _knows_profile(self) -> bool:
        return self._profile is not None and time.monotonic() - self._profile[0] <= _PROFILE_LIFETIME_S

    async def _passages(self, call: Call, question: ChatQuestion, progress: _Progress) -> tuple[Passage, ...]:
        """Return what was found for a question; nothing when retrieval is out of order.

        Raises:
            NotFoundError: The question names a collection that does not exist.
            InvalidRequestError: The question asks retrieval for something impossible.
        """
        if not question.retrieve:
            return ()
        preparation = question.preparation
        if preparation and preparation.passages and says_the_same(preparation.question, question.text):
            return preparation.passages
        started = time.monotonic()
        query = RetrievalQuery(question.text, question.collection, question.top_k, question.rerank)
        try:
            return await self._retrieval.retrieve(call, query)
        except (NotFoundError, InvalidRequestError):
            raise
        except HearthError as error:
            logger.warning("request %s is answered without retrieval: %s", call.request_id, error.message)
            return ()
        finally:
            progress.stage("retrieve", started)

    async def _checked(
        self, call: Call, generated: AsyncGenerator[str], question: str, progress: _Progress, shown: int
    ) -> AsyncGenerator[str]:
        """Yield the tokens of each sentence once it was seen to stand in what was found, else a quotation.

        The first sentence that does not stand in the passages ends what the model may say. It is not asked at all where
        what is nearest to the question stands in none of the passages that it is shown, the first `shown` ones.
        """
        texts = [passage.text for passage in progress.passages[:_QUOTED_PASSAGES]]
        evidence = Evidence(texts, question)
        quotation = _Ahead(partial(self._quotation, call, question, progress.passages))
        said_something = False
        async with aclosing(quotation), aclosing(generated):
            if evidence.is_nearest_in(texts[:shown]):
                # The model reads on all cores and writes on one. Small models are refused more often than not, so what
                # is quoted then is looked for on another core while the first sentence is written.
                async with aclosing(_supported(_announced(generated, quotation.begin), evidence, progress)) as tokens:
                    async for token in tokens:
                        yield token
                        said_something = True
                if said_something and not progress.is_refused:
                    return
            # What the model was stopped in is not part of the answer any more.
            progress.finish = None
            quoted = await quotation.text()
            for word in _WORD.findall(f" {quoted}" if said_something else quoted):
                yield word

    async def _quotation(self, call: Call, question: str, found: tuple[Passage, ...]) -> str:
        """Return the sentences nearest to the question, each marked as a quotation from its document and section."""
        try:
            quoted = await self._retrieval.nearest_sentences(
                call, question, found[:_QUOTED_PASSAGES], _QUOTED_SENTENCES
            )
        except HearthError as error:
            logger.warning("the whole passage is quoted: %s", error.message)
            quoted = found[:1]
        by_place = groupby(quoted, key=lambda passage: passage.citation.text or "the document")
        return " ".join(
            f"From {place}: “{' '.join(' '.join(passage.text for passage in passages).split())}”"
            for place, passages in by_place
        )

    async def _retrieval_components(self, call: Call) -> tuple[ComponentStatus, ...]:
        try:
            return await self._retrieval.components(call)
        except HearthError as error:
            return (ComponentStatus("Retrieval", ready=False, detail=error.message, required=False),)


class _Ahead:
    """A text that may be begun before it is known whether it is needed. It is made once, and closing stops it.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, str]]) -> None:
        self._make = make
        self._making: asyncio.Task[str] | None = None

    def begin(self) -> None:
        self._begun()

    async def text(self) -> str:
        return await self._begun()

    async def aclose(self) -> None:
        if self._making is not None:
            await end([self._making])
            if not self._making.cancelled():
                # What was not needed may have failed.
                self._making.exception()

    def _begun(self) -> asyncio.Task[str]:
        if self._making is None:
            self._making = asyncio.create_task(self._make())
        return self._making


async def _announced(tokens: AsyncGenerator[str], begins: Callable[[], None]) -> AsyncGenerator[str]:
    """Pass tokens on, and call `begins` before each."""
    async with aclosing(tokens):
        async for token in tokens:
            begins()
            yield token


async def _supported(tokens: AsyncGenerator[str], evidence: Evidence, progress: _Progress) -> AsyncGenerator[str]:
    """Yield the tokens of the sentences that stand in what was found, up to the first one that does not."""
    said_something = False
    async with aclosing(sentences_of(tokens, evidence.may_support)) as sentences:
        async for sentence in sentences:
            text = "".join(sentence.tokens)
            if not text.strip():
                continue
            # A last sentence that was cut at the limit is left out, unless it is the only one.
            if not sentence.complete and not sentence.given_up and said_something:
                return
            if sentence.given_up or not evidence.supports(text):
                progress.is_refused = True
                return
            for token in sentence.tokens if said_something else lstripped(sentence.tokens):
                yield token
            said_something = True


async def _attempt(warming: Awaitable[object]) -> None:
    try:
        await warming
    except HearthError as error:
        logger.info("not warmed: %s", error.message)


def _resolved(question: ChatQuestion) -> ChatQuestion:
    """Return a question that can be searched for."""
    return replace(question, text=resolve(question.text.strip(), question.history))


def _prompt(
    question: ChatQuestion, resolved: ChatQuestion, passages: tuple[Passage, ...], answering: Answering
) -> Prompt:
    """Put together what the model is asked. If it sees the turns before, the question stays as it was asked."""
    shown = tuple(passage.embedded_text() for passage in passages[: answering.passages])
    if question.preparation:
        shown = in_read_order(shown, question.preparation.read)
    turns = answering.history_with_passages if shown else answering.history
    history = question.history[-turns:] if turns else ()
    return Prompt(
        system=question.system_prompt or answering.system_prompt,
        question=question.text.strip() if history else resolved.text,
        passages=shown,
        examples=answering.examples if shown else (),
        history=history,
        use=PromptUse.SPOKEN_ANSWER if question.spoken else PromptUse.ANSWER,
    )


def _no_answer(progress: _Progress) -> HearthError:
    if progress.finish is FinishReason.CONTENT_FILTER:
        return UpstreamFailedError("the content filter of the language model let no answer through", retryable=False)
    return UnavailableError("the language model gave no answer")


def _cut(progress: _Progress) -> str:
    """Return what cut an answer, for the client; empty where nothing did."""
    if not progress.is_cut:
        return ""
    if progress.finish is FinishReason.CONTENT_FILTER:
        return "the answer was cut by the content filter of the language model"
    return f"the answer was cut at its limit of {progress.generation.max_tokens} tokens, `answering.max_tokens`"


def _end(progress: _Progress, error: HearthError | None) -> AnswerEnd:
    message = error.message if error else _cut(progress)
    if error and progress.said:
        message = f"the answer broke off: {message}"
    return AnswerEnd(
        passages=progress.passages,
        used_retrieval=bool(progress.passages) and bool(progress.said),
        error=message,
        error_kind=error.kind if error else "",
        replica_lost=isinstance(error, ReplicaLostError),
        unfinished=unfinished_sentence("".join(progress.said)) if progress.is_cut and not error else "",
        thought_tokens=progress.thought_tokens,
        stages=progress.stages,
        preparation=progress.preparation,
        preparation_kept=progress.preparation_kept,
    )


def _use_of(question: ChatQuestion, prompt: Prompt) -> tuple[PreparationUse, float]:
    """Return what became of a question's preparation, and the share of what was read that is of use."""
    preparation = question.preparation
    if preparation is None:
        return PreparationUse.NONE, 0.0
    share = kept_share(prompt.passages, preparation.read)
    if says_the_same(preparation.question, question.text):
        return PreparationUse.KEPT, share
    return (PreparationUse.PREFIX if share else PreparationUse.THROWN_AWAY), share
