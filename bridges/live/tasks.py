"""The tasks of the live sessions: all have one owner, and a fault in one ends none of the others."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from deployments.errors import InternalError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Spawn(Protocol):
    """Starts a task that somebody else owns."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> asyncio.Task[T]:
        """Return the task. One whose work raises ends as one that was cancelled."""
        ...


class SessionTasks:
    """Owns the tasks of all sessions of a replica."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[asyncio.TaskGroup]:
        """Own tasks for as long as the block lasts, and wait for them at its end.

        Yields:
            A group for tasks whose failure is to end all others.
        """
        async with asyncio.TaskGroup() as self._group:
            yield self._group

    def spawn(self, work: Coroutine[Any, Any, T], /) -> asyncio.Task[T]:
        """Start a task; see `Spawn`.

        Raises:
            RuntimeError: Nothing runs.
        """
        if self._group is None:
            work.close()
            raise RuntimeError("live sessions have no tasks before `running`")
        task = self._group.create_task(_guarded(work))
        # One that is cancelled before it began would complain that nobody awaited it.
        task.add_done_callback(lambda _: work.close())
        return task


async def _guarded(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except Exception as error:
        logger.exception("a task of a live session failed")
        raise asyncio.CancelledError(InternalError.kind) from error
