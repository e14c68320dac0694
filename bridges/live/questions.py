"""The questions of one conversation: what the graph is asked, with what was said before."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.live.handover import SessionTerms
from bridges.nats.conversation_memory import ConversationMemory, Owner
from deployments.call import Call
from deployments.services import VoiceService
from deployments.values.chat import ChatQuestion, Preparation
from deployments.values.language import Exchange
from deployments.values.voice import SpokenAnswerItem, SpokenQuestion


@dataclass(frozen=True, slots=True)
class QuestionParts:
    """Where questions go.

    Attributes:
        voice: Answers.
        memory: What was said before.
        answer_timeout_s: Time that an answer may take, in seconds.
    """

    voice: VoiceService
    memory: ConversationMemory
    answer_timeout_s: float


class ConversationQuestions:
    """What all questions of one conversation have in common.

    Args:
        session_id: Whose conversation it is.
        terms: What its session's "start" asked for.
        request: How it is to be answered.
        parts: Where they go.
    """

    def __init__(
        self,
        session_id: str,
        terms: SessionTerms,
        request: conversation_pb2.ConversationRequest,
        parts: QuestionParts,
    ) -> None:
        self._session_id = session_id
        self._terms = terms
        self._request = request
        self._memory = parts.memory
        self._owner = Owner(terms.user_id, session_id)
        self._answer_timeout_s = parts.answer_timeout_s
        self._history: tuple[Exchange, ...] | None = None
        self.voice = parts.voice
        """Answers them."""

    async def remember(self, exchange: Exchange) -> None:
        """Keep a question, and what was heard of its answer."""
        self._history = (*(await self._recalled()), exchange)[-self._memory.turns :]
        await self._memory.remember(self._owner, exchange)

    async def question(self, text: str, preparation: Preparation | None) -> ChatQuestion:
        """Return a question with what was said before."""
        return ChatQuestion(
            text=text,
            user_id=self._terms.user_id,
            retrieve=not self._request.without_documents,
            rerank=True,
            collection=self._request.collection,
            system_prompt=self._request.system_prompt,
            history=await self._recalled(),
            preparation=preparation,
        )

    async def spoken_question(self, text: str, preparation: Preparation | None) -> SpokenQuestion:
        """Return a question that is to be answered aloud."""
        return SpokenQuestion(await self.question(text, preparation), self._request.voice, self._terms.language)

    def call(self, turn: int) -> Call:
        """Return a call for something that is done for a turn."""
        return Call.within(
            self._answer_timeout_s, f"{self._session_id}-{turn}", session=self._owner.user_id or self._session_id
        )

    async def _recalled(self) -> tuple[Exchange, ...]:
        if self._history is None:
            self._history = await self._memory.recall(self._owner)
        return self._history


class ComingQuestion:
    """The question that is asked next, for which things are done before it is whole; see `Speculator`.

    Args:
        questions: What it has in common with others.
        turn: The number of its turn.
        settled: Ends when it is in memory what was heard of the answer before; None where there was none.
    """

    def __init__(self, questions: ConversationQuestions, turn: int, settled: asyncio.Task[None] | None) -> None:
        self._questions = questions
        self._settled = settled
        self.turn = turn
        """The number of its turn; another one where its speaker goes on with that."""

    async def find(self, text: str, before: Preparation | None) -> Preparation:
        """Find passages for it, as far as it is known."""
        question = await self._questions.question(text, before)
        return await self._questions.voice.prepare(self._questions.call(self.turn), question)

    async def read(self, text: str, found: Preparation) -> AsyncGenerator[int]:
        """Have the model read them."""
        question = await self._questions.question(text, found)
        async with aclosing(self._questions.voice.read(self._questions.call(self.turn), question)) as counts:
            async for tokens in counts:
                yield tokens

    async def answer(self, text: str, found: Preparation | None) -> AsyncGenerator[SpokenAnswerItem]:
        """Answer it, once it is in memory what was heard of the answer before."""
        if self._settled is not None:
            await asyncio.wait([self._settled])
        question = await self._questions.spoken_question(text, found)
        async with aclosing(self._questions.voice.answer(self._questions.call(self.turn), question)) as items:
            async for item in items:
                yield item
