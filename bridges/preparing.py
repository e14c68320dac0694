"""What is looked up and read for a question while it is still being asked, how often, and at what cost."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from bridges.turn_record import TurnStages
from deployments.audio_settings import PreparationSettings
from deployments.errors import HearthError
from deployments.preparation import says_the_same
from deployments.values import Preparation

logger = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task that somebody owns."""


class Preparer(Protocol):
    """Prepares for one conversation."""

    async def find(self, text: str, before: Preparation | None) -> Preparation:
        """Find passages for a text, behind the preparation before it."""
        ...

    def read(self, text: str, found: Preparation) -> AsyncGenerator[int]:
        """Have the model read them, and the text; yield how many tokens it has read so far."""
        ...


class Preparing:
    """The preparations of one question.

    Passages are found for one text at a time. Reading them goes on until others are found; the model keeps what it has
    read up to the first difference, so a reading that is broken off is not lost.

    Args:
        settings: How much is prepared.
        preparer: Does it.
        spawn: Starts it.
    """

    def __init__(self, settings: PreparationSettings, preparer: Preparer, spawn: Spawn) -> None:
        self._settings = settings
        self._preparer = preparer
        self._spawn = spawn
        self._finding: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._text = ""
        self._latest: Preparation | None = None
        self._is_asked = False
        self.count = 0
        """Preparations that were begun."""
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
        self._begin(text)

    def perhaps_whole(self, text: str) -> None:
        """Take the question as it is, should it end here: its speaker has paused."""
        if text and not says_the_same(text, self._text):
            _cancel(self._finding)
            self._begin(text)

    async def taken(self, question: str) -> Preparation | None:
        """Return the last preparation, None where there is none; what is on its way for this question is waited for.

        A reading that has not begun is left to the answer.
        """
        if says_the_same(question, self._text):
            self._is_asked = True
            await _end_of(self._finding)
            await _end_of(self._reading)
        self.cancel()
        return self._latest

    def cancel(self) -> None:
        """Stop what is on its way."""
        _cancel(self._finding)
        _cancel(self._reading)

    def _begin(self, text: str) -> None:
        wasted = self._latest.tokens_wasted if self._latest else 0
        if not self._settings.enabled or wasted >= self._settings.max_wasted_tokens:
            return
        self.count += 1
        self._text = text
        self._finding = self._spawn(self._find(text))

    async def _find(self, text: str) -> None:
        began = asyncio.get_running_loop().time()
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
        if not self._is_asked:
            self._reading = self._spawn(self._read(text, found))

    async def _read(self, text: str, found: Preparation) -> None:
        began = asyncio.get_running_loop().time()
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
        self.stages.add(name, began, asyncio.get_running_loop().time(), detail)


async def _end_of(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        await asyncio.wait([task])


def _is_running(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
