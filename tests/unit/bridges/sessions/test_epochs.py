"""What is done for a session, and how an interruption stops all of it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.sessions.epochs import SessionWork
from tests.conversation.virtual_clock import run_virtually


class Saying:
    """Something that is said for an hour, unless it is stopped.

    Attributes:
        was_cancelled: Whether it was.
        stops: How often it was asked to stop.
    """

    def __init__(self, work: SessionWork, stop: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._stop = stop
        self.was_cancelled = False
        self.stops = 0
        self.task: asyncio.Task[None] = asyncio.create_task(self._say())

    async def _say(self) -> None:
        async def stop() -> None:
            self.stops += 1
            await self._stop()

        with self._work.under("s", stop, self.task):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise


async def in_order() -> None: ...


async def fails() -> None:
    raise RuntimeError("a mistake")


async def hangs() -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize("stop", [fails, hangs])
def test_work_that_cannot_stop_in_good_order_is_cancelled_and_so_is_what_began_after_it(
    stop: Callable[[], Awaitable[None]],
) -> None:
    async def run() -> list[tuple[bool, int]]:
        work = SessionWork()
        saying = [Saying(work, stop), Saying(work, in_order)]
        await asyncio.sleep(1)
        assert await work.interrupt("s") == 1
        await asyncio.wait([one.task for one in saying])
        return [(one.was_cancelled, one.stops) for one in saying]

    assert run_virtually(run()) == [(True, 1), (True, 1)]


def test_an_interruption_that_is_cancelled_leaves_nothing_running() -> None:
    async def run() -> list[bool]:
        work = SessionWork()
        saying = [Saying(work, hangs), Saying(work, in_order)]
        await asyncio.sleep(1)
        interrupting = asyncio.create_task(work.interrupt("s"))
        await asyncio.sleep(0.1)
        interrupting.cancel()
        with suppress(asyncio.CancelledError):
            await interrupting
        await asyncio.wait([one.task for one in saying])
        return [one.was_cancelled for one in saying]

    assert run_virtually(run()) == [True, True]


@given(st.lists(st.tuples(st.sampled_from(["adopt", "interrupt"]), st.integers(0, 5)), max_size=20))
def test_an_epoch_never_goes_down(steps: list[tuple[str, int]]) -> None:
    async def run() -> list[int]:
        work = SessionWork()
        work.keep("s")
        epochs: list[int] = []
        for step, epoch in steps:
            if step == "adopt":
                work.adopt("s", epoch)
            else:
                await work.interrupt("s", epoch)
            epochs.append(work.epoch("s"))
        return epochs

    epochs = asyncio.run(run())
    assert epochs == sorted(epochs)


def test_an_interruption_that_comes_late_does_not_stop_what_began_after_it() -> None:
    async def run() -> tuple[int, bool, bool]:
        work = SessionWork()
        before = Saying(work, in_order)
        await asyncio.sleep(1)
        work.adopt("s", 1)
        after = Saying(work, in_order)
        await asyncio.sleep(1)
        epoch = await work.interrupt("s", 1)
        await asyncio.sleep(1)
        states = epoch, before.was_cancelled, after.was_cancelled
        await work.interrupt("s")
        return states

    assert run_virtually(run()) == (1, True, False)
