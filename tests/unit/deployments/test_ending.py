"""Ending tasks, whatever becomes of their cancellation."""

import asyncio

import pytest

from deployments import ending
from deployments.ending import end


async def swallowing(times: int, started: asyncio.Event) -> None:
    """Go on after so many cancellations."""
    started.set()
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not times:
                raise
            times -= 1


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_task_ends_however_often_it_swallows_its_cancellation(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(ending, "_AGAIN_S", 0.01)
    started = asyncio.Event()
    task = asyncio.create_task(swallowing(times, started))
    await started.wait()
    async with asyncio.timeout(10):
        await end([task])
    assert task.cancelled()


async def test_what_a_task_raises_stays_with_it() -> None:
    async def failing() -> None:
        raise ValueError("of the task")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end([task])
    assert isinstance(task.exception(), ValueError)


async def test_of_no_tasks_there_is_nothing_to_end() -> None:
    await end([])
