"""Ending tasks whose cancellation may be swallowed."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 1.0
"""What a task has to tidy up before it is cancelled once more."""


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return when all have ended; what they raise stays with them.

    `asyncio.wait_for` of Python 3.11 swallows a cancellation that comes together with what it waits for, and nats-py
    waits by it for every answer. So each is cancelled again for as long as it goes on.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)
