"""Runs together what waits together: one thread, one batch at a time."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from deployments.call import Call
from deployments.errors import DeadlineExceededError, HearthError, Limit, OverloadedError, UnavailableError

logger = logging.getLogger(__name__)

_PROBE_S = 5.0

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[T, R]):
    item: T
    urgent: bool
    result: "asyncio.Future[R]"


class BatchWorker(Generic[T, R]):
    """Gives items to a function that takes many at once, as many as wait when it becomes free.

    Args:
        run: Takes items of one kind and returns a result for each, in order. Called on a thread of its own.
        kind: Items of equal kind may share a batch.
        name: Of the thread, and for messages.
        batch_size: Items in one batch.
        max_waiting: Items that may wait; further ones are refused.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R]],
        kind: Callable[[T], Hashable],
        *,
        name: str,
        batch_size: int,
        max_waiting: int = 64,
    ) -> None:
        self._run = run
        self._kind = kind
        self._name = name
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._waiting: list[_Waiting[T, R]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._working: asyncio.Task[None] | None = None
        self._has_failed = False

    async def submit(self, call: Call, item: T, *, urgent: bool = True) -> R:
        """Return what the function makes of `item`.

        One that is cancelled, or whose time is up, before its batch begins costs nothing.

        Args:
            call: Whose deadline holds.
            item: What to work on.
            urgent: Goes before those that are not.

        Raises:
            OverloadedError: Too many wait already.
            DeadlineExceededError: The call's time ran out.
        """
        if len(self._waiting) >= self._max_waiting:
            most = self._max_waiting
            raise OverloadedError(
                f"{self._name} has {most} requests waiting", limit=Limit("max_waiting", most, most + 1)
            )
        waiting: _Waiting[T, R] = _Waiting(item, urgent, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout(call.remaining()):
                return await waiting.result
        except TimeoutError as error:
            raise DeadlineExceededError(f"{self._name} did not get to it in the time given") from error

    async def check(self, probe: T) -> None:
        """Raise `UnavailableError` where the last batch failed and `probe` alone fails too: an accelerator may be lost.

        A function that works costs nothing here.
        """
        if not self._has_failed:
            return
        try:
            await self.submit(Call.within(_PROBE_S), probe)
        except HearthError as error:
            # It is busy, which says nothing against it.
            logger.info("%s was not tried again: %s", self._name, error)
        except Exception as error:
            raise UnavailableError(f"{self._name} fails, whatever it is given") from error

    def close(self) -> None:
        """Take nothing more; what runs is let run."""
        if self._working is not None:
            self._working.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while batch := self._next_batch():
            if await self._run_together(batch):
                continue
            # What one of them does not let pass is no fault of the others.
            for one in batch:
                if not one.result.done():
                    await self._run_together([one])

    async def _run_together(self, batch: Sequence[_Waiting[T, R]]) -> bool:
        """Work on a batch; return False for one that failed and is to be worked on one by one."""
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._run, [one.item for one in batch])
            done = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - it is the caller's error, who is told
            self._has_failed = True
            if len(batch) > 1:
                return False
            if not batch[0].result.done():
                batch[0].result.set_exception(error)
            return True
        self._has_failed = False
        for one, result in done:
            if not one.result.done():
                one.result.set_result(result)
        return True

    def _next_batch(self) -> list[_Waiting[T, R]]:
        self._waiting = [one for one in self._waiting if not one.result.done()]
        if not self._waiting:
            return []
        first = next((one for one in self._waiting if one.urgent), self._waiting[0])
        kind = self._kind(first.item)
        alike = [one for one in self._waiting if one.urgent == first.urgent and self._kind(one.item) == kind]
        batch = alike[: self._batch_size]
        self._waiting = [one for one in self._waiting if one not in batch]
        return batch
