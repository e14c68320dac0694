"""Work on threads: what is urgent first, then that of small jobs before that of large ones."""

import asyncio
import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class ShortestJobFirst(Generic[T]):
    """Threads that take urgent work next, then that of the smallest job, of jobs alike in the order in which it came.

    A question is not kept waiting by the documents that are put in at the same time: it waits for what runs, and for
    nothing that waits. A large job goes on whenever nothing urgent and no smaller one waits.

    Args:
        threads: That run work.
        name: Of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._free = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._order = count()
        self._waiting: list[tuple[bool, int, int, Callable[[], T], asyncio.Future[T]]] = []

    def submit(self, size: int, work: Callable[[], T], *, urgent: bool = False) -> asyncio.Future[T]:
        """Have work done; cancelling what it gives before it runs costs nothing.

        Args:
            size: Of the job that it is a part of, in whatever the sizes of all jobs are counted.
            work: What is to be done; blocks.
            urgent: Whether somebody waits for it, so that it goes before all that is not.
        """
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (not urgent, size, next(self._order), work, result))
        self._start()
        return result

    def close(self) -> None:
        """Take nothing more; what runs is let run, and what waits is cancelled."""
        for *_, result in self._waiting:
            result.cancel()
        self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._free and self._waiting:
            *_, work, result = heapq.heappop(self._waiting)
            if result.done():
                continue
            self._free -= 1
            running = asyncio.get_running_loop().run_in_executor(self._pool, work)
            running.add_done_callback(partial(self._ended, result))

    def _ended(self, result: asyncio.Future[T], done: asyncio.Future[T]) -> None:
        # A thread is free when its work has ended, not when nobody waits for it any more.
        self._free += 1
        if not result.done():
            _pass_on(done, result)
        self._start()


def _pass_on(done: asyncio.Future[T], result: asyncio.Future[T]) -> None:
    if done.cancelled():
        result.cancel()
    elif error := done.exception():
        result.set_exception(error)
    else:
        result.set_result(done.result())
