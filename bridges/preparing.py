"""What is looked up and read for a question while it is still being asked, how often, and at what cost."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from bridges.turn_record import TurnStages
from deployments.audio_settings import PreparationSettings
from deployments.errors import HearthError
from deployments.preparation import says_the_same
from deployments.values import Preparation

logger = logging.getLogger(__name__)

Prepare = Callable[[str, Preparation | None], Coroutine[Any, Any, Preparation]]
"""Prepares for a text, behind the preparation before it."""
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task that somebody owns."""


class Preparing:
    """The preparations of one question, one at a time.

    Args:
        settings: How much is prepared.
        prepare: Does it.
        spawn: Starts it.
    """

    def __init__(self, settings: PreparationSettings, prepare: Prepare, spawn: Spawn) -> None:
        self._settings = settings
        self._prepare = prepare
        self._spawn = spawn
        self._task: asyncio.Task[None] | None = None
        self._text = ""
        self._latest: Preparation | None = None
        self.count = 0
        """Preparations that were begun."""
        self.stages = TurnStages()
        """When."""

    def partly_known(self, text: str) -> None:
        """Take the words of the question that are known for good, while its speaker goes on."""
        words, known = len(text.split()), len(self._text.split())
        if words < self._settings.min_words or words - known < self._settings.step_words:
            return
        if self._is_running or self.count >= self._settings.max_per_question:
            return
        self._begin(text)

    def perhaps_whole(self, text: str) -> None:
        """Take the question as it is, should it end here: its speaker has paused."""
        if text and not says_the_same(text, self._text):
            self.cancel()
            self._begin(text)

    async def taken(self, question: str) -> Preparation | None:
        """Return the last preparation, None where there is none; the one on its way where it is for this question."""
        if self._task is not None and self._is_running and says_the_same(question, self._text):
            await asyncio.wait([self._task])
        self.cancel()
        return self._latest

    def cancel(self) -> None:
        """Stop the preparation on its way; what the model has read of it by then stays read."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def _begin(self, text: str) -> None:
        wasted = self._latest.tokens_wasted if self._latest else 0
        if not self._settings.enabled or wasted >= self._settings.max_wasted_tokens:
            return
        self.count += 1
        self._text = text
        self._task = self._spawn(self._run(text))

    async def _run(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        read_before = self._latest.tokens_read if self._latest else 0
        detail = "cancelled"
        try:
            self._latest = await self._prepare(text, self._latest)
            detail = f"{self._latest.tokens_read - read_before} tokens"
        except HearthError as error:
            # The answer will do it again, and tell what is wrong.
            logger.info("not prepared: %s", error.message)
            detail = error.kind
        finally:
            self.stages.add("prepare", began, loop.time(), f"{len(text.split())} words, {detail}")
