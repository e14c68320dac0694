"""The deadline of a stream: one timer for all of its items."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class StreamDeadline:
    """Ends a wait for an item of a stream once the stream's time is over; what its reader does between is not touched.

    An `asyncio.timeout` for each item does the same. It takes as long as everything else that is done for a token.

    A context manager: the timer runs as long as the block.

    Args:
        seconds: That the stream has.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False
        self._waiting: asyncio.Task[object] | None = None
        self._is_ending = False

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()

    async def next_of(self, items: AsyncIterator[T]) -> T:
        """Return the next item.

        Raises:
            StopAsyncIteration: There is none.
            TimeoutError: The time is over.
        """
        if self._is_over:
            raise TimeoutError
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that waits is run by a task
        requests = task.cancelling()
        self._waiting = task
        try:
            return await anext(items)
        except asyncio.CancelledError as error:
            # As `asyncio.timeout` does: a cancellation that somebody else asked for meanwhile goes on.
            if self._is_ending and task.cancelling() - 1 <= requests:
                raise TimeoutError from error
            raise
        finally:
            if self._is_ending:
                task.uncancel()
            self._waiting, self._is_ending = None, False

    def _end(self) -> None:
        self._is_over = True
        if self._waiting is not None:
            self._is_ending = True
            self._waiting.cancel()
