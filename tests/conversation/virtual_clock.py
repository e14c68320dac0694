"""An event loop whose clock jumps: what would wait a minute is there at once, in the same order."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(AssertionError):
    """Everything waits and nothing is due."""


class _JumpingSelector(selectors.SelectSelector):
    """Waits no time, and says how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise DeadlockError("nothing is ready and no timer runs")
        self.now += max(0.0, timeout or 0.0)
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Advances its clock to the next timer whenever nothing else is to be done. Threads are not waited for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(work)
