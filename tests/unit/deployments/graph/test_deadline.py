"""One timer for all items of a stream ends the wait for an item, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.graph.deadline import StreamDeadline


async def numbers(stuck_at: int) -> AsyncGenerator[int]:
    for number in range(stuck_at):
        yield number
    await asyncio.Event().wait()


async def test_a_wait_for_an_item_ends_with_the_time() -> None:
    items = numbers(2)
    with StreamDeadline(0.01) as deadline:
        assert [await deadline.next_of(items), await deadline.next_of(items)] == [0, 1]
        with pytest.raises(TimeoutError):
            await deadline.next_of(items)
        with pytest.raises(TimeoutError):
            await deadline.next_of(numbers(1))
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_what_its_reader_does_between_two_items_is_not_ended() -> None:
    items, is_over = numbers(2), asyncio.Event()
    with StreamDeadline(0) as deadline:
        asyncio.get_running_loop().call_later(0, is_over.set)
        await is_over.wait()
        with pytest.raises(TimeoutError):
            await deadline.next_of(items)


async def test_a_reader_that_is_cancelled_is_cancelled() -> None:
    begun = asyncio.Event()

    async def read() -> None:
        with StreamDeadline(60) as deadline:
            items = numbers(1)
            assert await deadline.next_of(items) == 0
            begun.set()
            await deadline.next_of(items)

    reader = asyncio.create_task(read())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_a_cancellation_at_the_deadline_goes_on() -> None:
    async def read(items: AsyncGenerator[int]) -> None:
        with StreamDeadline(0) as deadline:
            await deadline.next_of(items)

    async def cancels() -> AsyncGenerator[int]:
        try:
            await asyncio.Event().wait()
        finally:
            reader.cancel()
        yield 0

    reader = asyncio.create_task(read(cancels()))
    with pytest.raises(asyncio.CancelledError):
        await reader
