"""Lists of whatever is ready: how a stream crosses a handle, where an item costs hundreds of microseconds."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from enum import Enum
from typing import TypeVar, cast

T = TypeVar("T")


class StreamEnd(Enum):
    """Stands last in a stream's last list where the end was known with it.

    The reader then need not wait for the stream itself to end, which takes a message of its own and as long as an item.
    """

    END = "end"


Batch = list[T | StreamEnd]

READY_LIMIT = 256
"""Items that `ready_together` holds before it stops asking its source for more."""


async def ready_together(source: AsyncIterator[T], limit: int = READY_LIMIT) -> AsyncGenerator[Batch[T]]:
    """Yield the items of `source` in lists of whatever is ready, the first as soon as it is there.

    The source is read ahead by at most `limit` items, and is closed when the generator is. What it raises is
    raised here, after the items before it were yielded. A list that is known to be the last ends with `StreamEnd.END`.
    """
    ready: Batch[T] = []
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
            if ready:
                ready.append(StreamEnd.END)
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
        if not reader.done():
            reader.cancel()
            await asyncio.wait([reader])
        if isinstance(source, AsyncGenerator):
            await cast("AsyncGenerator[T]", source).aclose()
