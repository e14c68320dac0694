"""The clock that this process measures its deadlines and pauses on."""

import asyncio


def now() -> float:
    """Return the time of the running event loop, in seconds. It has no fixed zero and never goes back."""
    return asyncio.get_running_loop().time()
