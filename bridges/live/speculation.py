"""What is done for a question before it is known to be over, how often, and at what cost.

Passages are looked up and read while it is being asked; its answer is begun when its speaker pauses.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from bridges.live.speculative_answer import AnswerAhead
from bridges.live.tasks import Spawn
from bridges.operations.clock import now
from bridges.sessions.turn_log import TurnStages
from deployments.errors import HearthError
from deployments.settings.audio import PreparationSettings
from deployments.text.words import says_the_same
from deployments.values.chat import Preparation
from deployments.values.voice import SpokenAnswerItem

logger = logging.getLogger(__name__)


class Speculator(Protocol):
    """Prepares for one conversation."""

    async def find(self, text: str, before: Preparation | None) -> Preparation:
        """Find passages for a text, behind the preparation before it."""
        ...

    def read(self, text: str, found: Preparation) -> AsyncGenerator[int]:
        """Have the model read them, and the text; yield how many tokens it has read so far."""
        ...

    def answer(self, text: str, found: Preparation) -> AsyncGenerator[SpokenAnswerItem]:
        """Answer a text from them."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is ready when a question is asked.

    Attributes:
        preparation: The last one; None where there is none.
        answer: Where the question was answered before it was known to be over.
    """

    preparation: Preparation | None = None
    answer: AnswerAhead | None = None


class Speculation:
    """The preparations of one question.

    Passages are found for one text at a time. Reading them goes on until others are found; the model keeps what it has
    read up to the first difference, so a reading that is broken off is not lost. When the speaker pauses, the text is
    answered as if it were the question; speech that goes on ends that.

    Args:
        settings: How much is prepared.
        preparer: Does it.
        spawn: Starts it.
    """

    def __init__(self, settings: PreparationSettings, preparer: Speculator, spawn: Spawn) -> None:
        self._settings = settings
        self._preparer = preparer
        self._spawn = spawn
        self._finding: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answer: AnswerAhead | None = None
        self._answer_began = 0.0
        self._text = ""
        self._latest: Preparation | None = None
        self._is_asked = False
        self._may_answer = False
        self.count = 0
        """Preparations that were begun."""
        self.answers = 0
        """Answers that were begun."""
        self.stages = TurnStages()
        """When."""

    def begins(self) -> None:
        """Learn that somebody begins to ask something: what stands before any question can be read."""
        if self._settings.enabled and not _is_running(self._reading):
            self._reading = self._spawn(self._read("", Preparation("")))

    def partly_known(self, text: str) -> None:
        """Take the words of the question that are likely to stay, while its speaker goes on."""
        words, known = len(text.split()), len(self._text.split())
        if words < self._settings.min_words or words - known < self._settings.step_words:
            return
        if _is_running(self._finding) or self.count >= self._settings.max_per_question:
            return
        self._may_answer = False
        self._begin(text)

    def perhaps_whole(self, text: str, *, may_answer: bool = True) -> None:
        """Take the question as it is, should it end here: its speaker has paused.

        Args:
            text: All of it.
            may_answer: Whether its answer may begin, so that it is ready once the question is known to be over.
        """
        if not text:
            return
        self._may_answer = may_answer
        if not says_the_same(text, self._text):
            self._drop_answer()
            _cancel(self._finding)
            self._begin(text)
        elif self._latest and not _is_running(self._finding):
            self._begin_answer(text, self._latest)

    def goes_on(self) -> None:
        """Learn that the speaker has only paused: an answer that was begun is in vain."""
        self._may_answer = False
        self._drop_answer()

    async def taken(self, question: str) -> Prepared:
        """Return what is ready for a question; what is on its way for it is waited for.

        A reading that has not begun is left to the answer.
        """
        if not says_the_same(question, self._text):
            self.cancel()
            return Prepared(self._latest)
        self._is_asked = True
        await _end_of(self._finding)
        if self._answer is not None:
            self._note("answer ahead", self._answer_began, "")
            return Prepared(self._latest, self._answer)
        await _end_of(self._reading)
        self.cancel()
        return Prepared(self._latest)

    def cancel(self) -> None:
        """Stop what is on its way."""
        _cancel(self._finding)
        _cancel(self._reading)
        self._drop_answer()

    def _begin(self, text: str) -> None:
        wasted = self._latest.tokens_wasted if self._latest else 0
        if not self._settings.enabled or wasted >= self._settings.max_wasted_tokens:
            return
        self.count += 1
        self._text = text
        self._finding = self._spawn(self._find(text))

    async def _find(self, text: str) -> None:
        began = now()
        outcome = "cancelled"
        try:
            found = await self._preparer.find(text, self._latest)
            outcome = f"{len(found.passages)} passages"
        except HearthError as error:
            # The answer will do it again, and tell what is wrong.
            logger.info("not prepared: %s", error.message)
            outcome = error.kind
            return
        finally:
            self._note("find", began, f"{len(text.split())} words, {outcome}")
        _cancel(self._reading)
        self._latest = found
        if not self._is_asked and not self._begin_answer(text, found):
            self._reading = self._spawn(self._read(text, found))

    def _begin_answer(self, text: str, found: Preparation) -> bool:
        """Begin the answer, where that is allowed; say whether it was."""
        if not self._may_answer or self._answer or self.answers >= self._settings.max_answers:
            return False
        self.answers += 1
        self._answer_began = now()
        self._answer = AnswerAhead(self._answered(text, found), self._spawn)
        return True

    async def _answered(self, text: str, found: Preparation) -> AsyncGenerator[SpokenAnswerItem]:
        # What it reads, or its being broken off, is in the model's cache when it has ended, and not before.
        await _end_of(self._reading)
        async with aclosing(self._preparer.answer(text, found)) as items:
            async for item in items:
                yield item

    def _drop_answer(self) -> None:
        if self._answer is None:
            return
        self._answer.cancel()
        self._answer = None
        if not self._is_asked:
            self._note("answer ahead", self._answer_began, "in vain")

    async def _read(self, text: str, found: Preparation) -> None:
        began = now()
        read, outcome = 0, ", broken off"
        try:
            async with aclosing(self._preparer.read(text, found)) as counts:
                async for read in counts:
                    if text:
                        self._latest = replace(found, tokens_read=found.tokens_read + read)
            outcome = ""
        except HearthError as error:
            logger.info("not read ahead: %s", error.message)
            outcome = f", {error.kind}"
        finally:
            self._note("read ahead", began, f"{read} tokens{outcome}")

    def _note(self, name: str, began: float, detail: str) -> None:
        self.stages.add(name, began, now(), detail)


async def _end_of(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        await asyncio.wait([task])


def _is_running(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
