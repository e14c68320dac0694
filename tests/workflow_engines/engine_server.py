"""What the servers of the workflow engines have in common: a thread of their own, and faults that a test asks for."""

import asyncio
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from tests.servers import LOOPBACK, wait_until

T = TypeVar("T")

_TURNS_TO_END = 5
"""Of the loop, until a connection by TLS is gone, too."""


@dataclass(frozen=True)
class Recorded:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Fault:
    """What goes wrong with requests: they are answered with a status, late, or by closing the connection.

    Attributes:
        status: Of the answer; 0 for an answer as it should be.
        times: How many requests it is for.
        method: Those of which it is for; empty for all.
        path: Those whose path holds it; empty for all.
        headers: Of the answer.
        delay_s: Before the answer.
        cut: Close the connection without an answer.
        done_first: Do what was asked for, and only then go wrong.
    """

    status: int = 0
    times: int = 1
    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    delay_s: float = 0.0
    cut: bool = False
    done_first: bool = False


class EngineServer(ABC):
    """A server on a thread of its own, for tests of any kind.

    Attributes:
        requests: All that arrived.
        faults: What goes wrong with the next ones.
        token: That requests have to bear; empty where none is asked for.
        page: Given in place of every answer, as by a gateway that wants somebody to log in; empty for none.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Recorded] = []
        self.faults: list[Fault] = []
        self.token = ""
        self.page = ""
        self.port = port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._watches: set[asyncio.Task[None] | None] = set()
        self.changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """Return what is answered, and by what."""

    @abstractmethod
    def error(self, status: int, message: str) -> web.Response:
        """Return an error as this server words it."""

    def start(self) -> None:
        """Listen, at the same port as before where it was stopped."""
        if not self._thread.is_alive():
            self._thread.start()
        self.in_loop(self._start())

    def stop(self) -> None:
        """Listen no more, and break off all connections."""
        self.in_loop(self._stop())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def in_loop(self, work: Awaitable[T]) -> T:
        """Run something on the server's own thread, as everything that touches its state has to."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def change(self, work: Callable[[], T]) -> T:
        """Change the state, and have the watches see it."""

        async def run() -> T:
            done = work()
            self.notify()
            return done

        return self.in_loop(run())

    def cut_watches(self) -> int:
        """Break off every watch in the middle; return how many there were."""

        async def cut() -> int:
            watches = list(self._watches)
            for watch in watches:
                if watch is not None:
                    watch.cancel()
            return len(watches)

        return self.in_loop(cut())

    @property
    def watches(self) -> int:
        return len(self._watches)

    def wait_for(self, what: str, happened: Callable[[], bool], seconds: float = 20) -> None:
        wait_until(what, happened, seconds)

    def asked(self, method: str, path: str = "") -> list[Recorded]:
        """Return the requests of a method whose path holds something."""
        return [request for request in self.requests if request.method == method and path in request.path]

    def notify(self) -> None:
        """Wake the watches; to be called on the server's thread."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def stream(
        self, request: web.Request, content_type: str, lines: Callable[[], list[str]], idle_s: float = 30.0
    ) -> web.StreamResponse:
        """Stream what `lines` gives, now and whenever the state has changed."""
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        task = asyncio.current_task()
        self._watches.add(task)
        until = time.monotonic() + idle_s
        try:
            while time.monotonic() < until:
                changed = self.changed
                for line in lines():
                    await response.write(line.encode())
                try:
                    async with asyncio.timeout(until - time.monotonic()):
                        await changed.wait()
                except TimeoutError:
                    break
        except asyncio.CancelledError:
            if request.transport is not None:
                request.transport.abort()
            raise
        finally:
            self._watches.discard(task)
        return response

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._middleware])
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        if not self.port:
            self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is None:
            return
        for watch in list(self._watches):
            if watch is not None:
                watch.cancel()
        await self._runner.cleanup()
        self._runner = None
        # A transport that was closed or aborted ends in the next turns of the loop, which may be stopped behind this.
        for _ in range(_TURNS_TO_END):
            await asyncio.sleep(0)

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append(Recorded(request.method, request.path, dict(request.query), dict(request.headers), body))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return self.error(401, "token not valid")
        if self.page:
            return web.Response(text=self.page, content_type="text/html")
        fault = self._fault_for(request)
        if fault is None:
            return await handler(request)
        if fault.done_first:
            await handler(request)
        await asyncio.sleep(fault.delay_s)
        if fault.cut:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if not fault.status:
            return await handler(request)
        response = self.error(fault.status, "as the test asks for")
        response.headers.update(fault.headers)
        return response

    def _fault_for(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.method in {"", request.method} and fault.path in request.path:
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
                return fault
        return None


E_ = TypeVar("E_", bound=EngineServer)


@contextmanager
def serving(server: E_) -> Generator[E_]:
    """Run a server for as long as the block lasts."""
    server.start()
    try:
        yield server
    finally:
        server.close()
