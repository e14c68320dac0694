"""The drain of a node: every ingress on it is asked to take nothing more, and is waited for."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bridges.draining import DRAIN_PATH, DrainProgress, find_sockets, process_of
from deployments.errors import UnavailableError

Report = Callable[[str], None]
"""Called with each change, as a line for people."""

_LOOK_AGAIN_S = 1.0
"""A replica that starts on the node meanwhile is found so soon."""


@dataclass(frozen=True, slots=True)
class NodeDrain:
    """What became of a drain.

    Attributes:
        drained: How many ingresses hold nothing, and take nothing more.
        left: What the others hold, or held when they ended: a line for each ingress.
    """

    drained: int
    left: tuple[str, ...]


@dataclass(slots=True)
class _Ingress:
    """An ingress that is asked to drain.

    Attributes:
        path: Of its socket.
        report: Hears how far it is.
        progress: What it said last; None where it has said nothing yet.
        was_gone: Whether its replica had ended before it was asked.
        has_ended: Whether its replica ended after it was asked, and before it had said that its drain is over.
    """

    path: Path
    report: Report
    progress: DrainProgress | None = None
    was_gone: bool = False
    has_ended: bool = False

    async def follow(self) -> None:
        """Ask it, and return when it says no more."""
        # However long it takes: who waits brings the clock.
        transport, timeout = httpx.AsyncHTTPTransport(uds=str(self.path)), httpx.Timeout(None)
        try:
            async with (
                httpx.AsyncClient(transport=transport, timeout=timeout, base_url="http://ingress") as client,
                client.stream("POST", DRAIN_PATH) as response,
            ):
                async for line in response.aiter_lines():
                    self._said(DrainProgress.from_line(line))
        except httpx.ConnectError:
            # Of a process that is gone: one that lives is listened on as soon as it is there.
            self.path.unlink(missing_ok=True)
            self.was_gone = True
            return
        except httpx.TransportError:
            pass
        if self.progress is None or not self.progress.is_over:
            self.has_ended = True
            self.report(f"{self} has ended")

    def left(self) -> str:
        """Return what it holds, or held when it ended, as a line for people; empty for nothing."""
        if self.progress is None:
            if self.was_gone:
                return ""
            return f"{self} ended before it said what it held" if self.has_ended else f"{self} does not answer"
        if not self.progress.held:
            return "" if self.progress.is_over or self.has_ended else f"{self} has not left its queue group"
        has = "ended while it held" if self.has_ended else "still holds"
        return f"{self} {has} {_counted(self.progress.held)}"

    def _said(self, progress: DrainProgress) -> None:
        self.progress = progress
        if progress.is_over and not progress.held:
            self.report(f"{self} is drained")
        elif progress.held:
            self.report(f"{self} still holds {_counted(progress.held)}")

    def __str__(self) -> str:
        """Return its deployment and its process."""
        name, _, _ = self.path.stem.rpartition("-")
        return f"{name} (process {process_of(self.path)})"


@dataclass(slots=True)
class NodeDrainer:
    """Drains the ingresses of a node.

    Args:
        folder: Of their sockets.
        report: Hears how far they are.
        processes: Whose ingresses are drained, by process id; all of the folder by default.
    """

    folder: Path
    report: Report
    processes: Collection[int] | None = None
    _ingresses: dict[Path, _Ingress] = field(default_factory=dict[Path, _Ingress], init=False)
    _following: dict[Path, asyncio.Task[None]] = field(default_factory=dict[Path, asyncio.Task[None]], init=False)

    async def drain(self, timeout_s: float, at_least_s: float) -> NodeDrain:
        """Ask every ingress to drain, those too that start meanwhile, and wait for all.

        Args:
            timeout_s: How long to wait at most; longer where `at_least_s` is.
            at_least_s: How long to wait at least, though nothing is held.

        Raises:
            UnavailableError: No ingress can be found in the folder, should there be one.
        """
        loop = asyncio.get_running_loop()
        earliest, latest = loop.time() + at_least_s, loop.time() + max(timeout_s, at_least_s)
        try:
            while True:
                self._look()
                waiting = [task for task in self._following.values() if not task.done()]
                remaining = (latest if waiting else earliest) - loop.time()
                if remaining <= 0:
                    break
                await _until_done(waiting, min(remaining, _LOOK_AGAIN_S))
        finally:
            await self._end()
        left = [ingress.left() for ingress in self._ingresses.values()]
        drained = [ingress for ingress in self._ingresses.values() if ingress.progress and ingress.progress.is_over]
        return NodeDrain(len(drained), tuple(filter(None, left)))

    def _look(self) -> None:
        """Ask the ingresses that were not there before."""
        try:
            found = find_sockets(self.folder)
        except OSError as error:
            raise UnavailableError(
                f"no ingress can be found: {error}. HEARTH_RUNTIME names another place, for the ingresses and for this "
                "command"
            ) from error
        for path in found:
            if path not in self._ingresses and (self.processes is None or process_of(path) in self.processes):
                self._ingresses[path] = ingress = _Ingress(path, self.report)
                self._following[path] = asyncio.create_task(ingress.follow())

    async def _end(self) -> None:
        for task in self._following.values():
            task.cancel()
        ends = await asyncio.gather(*self._following.values(), return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end


async def _until_done(waiting: list[asyncio.Task[None]], seconds: float) -> None:
    """Return when all tasks are done, or the time is over."""
    if waiting:
        await asyncio.wait(waiting, timeout=seconds)
    else:
        await asyncio.sleep(seconds)


def _counted(held: Mapping[str, int]) -> str:
    return ", ".join(f"{count} on {subject}" for subject, count in sorted(held.items()))
