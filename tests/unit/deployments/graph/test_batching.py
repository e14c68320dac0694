"""What is ready together travels together, and the first item at once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.graph.batching import StreamEnd, ready_together


async def numbers(count: int, made: list[int] | None = None) -> AsyncGenerator[int]:
    for number in range(count):
        if made is not None:
            made.append(number)
        yield number


async def test_the_first_item_is_passed_on_before_there_is_a_second() -> None:
    second = asyncio.Event()

    async def source() -> AsyncGenerator[str]:
        yield "first"
        await second.wait()
        yield "second"

    batches = ready_together(source())
    assert await asyncio.wait_for(anext(batches), 5) == ["first"]
    second.set()
    assert await asyncio.wait_for(anext(batches), 5) == ["second", StreamEnd.END]
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


async def test_what_came_meanwhile_comes_as_one_list() -> None:
    batches = [batch async for batch in ready_together(numbers(100))]
    assert [number for batch in batches for number in batch] == [*range(100), StreamEnd.END]
    assert len(batches) < 10


async def test_an_end_that_comes_after_the_items_is_the_generator_s_own() -> None:
    last = asyncio.Event()

    async def source() -> AsyncGenerator[str]:
        yield "only"
        await last.wait()

    batches = ready_together(source())
    assert await anext(batches) == ["only"]
    last.set()
    assert [batch async for batch in batches] == []


async def test_a_slow_reader_holds_the_source_up_at_the_limit() -> None:
    made: list[int] = []
    batches = ready_together(numbers(1000, made), limit=10)
    assert await anext(batches)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(made) <= 21
    rest = [number async for batch in batches for number in batch]
    assert rest[-1] == 999
    assert made == list(range(1000))


async def test_what_the_source_raises_comes_after_what_it_gave() -> None:
    async def source() -> AsyncGenerator[int]:
        yield 1
        raise ValueError("broken")

    batches = ready_together(source())
    assert await anext(batches) == [1]
    with pytest.raises(ValueError, match="broken"):
        await anext(batches)


async def test_closing_closes_the_source_and_leaves_no_task() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    tasks = asyncio.all_tasks()
    batches = ready_together(source())
    await anext(batches)
    await batches.aclose()
    assert closed.is_set()
    assert asyncio.all_tasks() == tasks


async def test_an_empty_source_gives_nothing() -> None:
    assert [batch async for batch in ready_together(numbers(0))] == []
