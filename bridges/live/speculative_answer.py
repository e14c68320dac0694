"""An answer that is begun before it is known that its question is over; what it says is held back until then."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from bridges.live.tasks import Spawn
from deployments.values.voice import SpokenAnswerItem

logger = logging.getLogger(__name__)


class AnswerAhead:
    """An answer that nobody has asked for yet.

    One item of it is kept here; further ones wait where they are made, so no more is made than a listener that does
    not listen would leave.

    Args:
        items: The answer; closed when it ends, and by `cancel`.
        spawn: Starts the task that makes it.
    """

    def __init__(self, items: AsyncGenerator[SpokenAnswerItem], spawn: Spawn) -> None:
        self._ready: asyncio.Queue[SpokenAnswerItem | Exception | None] = asyncio.Queue(1)
        self._making = spawn(self._make(items))

    async def items(self) -> AsyncGenerator[SpokenAnswerItem]:
        """Yield the answer from its beginning. Closing the generator ends it.

        Raises:
            HearthError: What kept it from being made.
        """
        try:
            while (item := await self._ready.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.cancel()
            await asyncio.wait([self._making])

    def cancel(self) -> None:
        """End it where it is; what has kept it from being made is logged, for nobody else will tell it."""
        self._making.cancel()
        if not self._ready.empty() and isinstance(error := self._ready.get_nowait(), Exception):
            logger.warning("an answer that was begun ahead failed when nobody waited for it", exc_info=error)

    async def _make(self, items: AsyncGenerator[SpokenAnswerItem]) -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    await self._ready.put(item)
            await self._ready.put(None)
        except Exception as error:  # noqa: BLE001 - raised again where the items are taken
            await self._ready.put(error)
