"""Lists of whatever is ready: how a stream crosses a handle, where an item costs hundreds of microseconds."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar, cast

T = TypeVar("T")

READY_LIMIT = 256
"""Items that `ready_together` holds before it stops asking its source for more."""


async def ready_together(source: AsyncIterator[T], limit: int = READY_LIMIT) -> AsyncGenerator[list[T]]:
    """Yield the items of `source` in lists of whatever is ready, the first as soon as it is there.

    The source is read ahead by at most `limit` items, and is closed when the generator is. What it raises is
    raised here, after the items before it were yielded.
    """
    ready: list[T] = []
    changed = asyncio.Event()
    room = asyncio.Event()
    ended = False

    async def read() -> None:
        nonlocal ended
        try:
            async for item in source:
                ready.append(item)
                changed.set()
                if len(ready) >= limit:
                    room.clear()
                    await room.wait()
        finally:
            ended = True
            changed.set()

    reader = asyncio.create_task(read())
    try:
        while ready or not ended:
            await changed.wait()
            changed.clear()
            if ready:
                items = ready[:]
                ready.clear()
                room.set()
                yield items
        await reader
    finally:
        reader.cancel()
        await asyncio.wait([reader])
        if isinstance(source, AsyncGenerator):
            await cast("AsyncGenerator[T]", source).aclose()
