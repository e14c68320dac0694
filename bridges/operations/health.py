"""Health and readiness over HTTP, for probes and people: `/health` and `/ready`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from bridges.operations.readiness import is_ready
from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.settings.orchestration import HealthSettings
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

_READY_CALL_S = 5.0
_LISTEN_AGAIN_S = 0.5


class HealthServer:
    """Answers two questions about one ingress.

    * `/health`: does the replica work? 200, or 503 when it should be replaced.
    * `/ready`: are requests answered now? 200 when NATS is connected, requests are taken and everything that a chat
      answer needs is ready, else 503. What an answer can do without, such as Milvus, is listed as degraded. An ingress
      that is drained is healthy, but never ready again.

    Args:
        settings: Where to listen.
        check: Raises `UnavailableError` when the ingress should be replaced.
        serving: Says whether requests are taken.
        draining: Says whether the ingress takes no more, for good.
        components: Asks the graph how it is.
    """

    def __init__(
        self,
        settings: HealthSettings,
        check: Callable[[], None],
        serving: Callable[[], bool],
        draining: Callable[[], bool],
        components: Callable[[Call], Awaitable[tuple[ComponentStatus, ...]]],
    ) -> None:
        self._settings = settings
        self._check = check
        self._serving = serving
        self._draining = draining
        self._components = components
        application = web.Application()
        application.router.add_get("/health", self._health)
        application.router.add_get("/ready", self._ready)
        self._runner = web.AppRunner(application, access_log=None)
        self._waiting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, unless the port is 0.

        A port that is somebody else's is listened on as soon as it is free: often it is that of the replica that this
        one replaces. Until then probes of this one fail, and requests do not.
        """
        if not self._settings.port:
            return
        await self._runner.setup()
        if error := await self._listen():
            logger.warning("no /health and /ready on %s:%d yet: %s", self._settings.host, self._settings.port, error)
            self._waiting = asyncio.create_task(self._until_it_is_free())

    async def stop(self) -> None:
        """Listen no more."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait((self._waiting,))
        await self._runner.cleanup()

    async def _until_it_is_free(self) -> None:
        while await self._listen():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_LISTEN_AGAIN_S)
        logger.info("/health and /ready are on %s:%d now", self._settings.host, self._settings.port)

    async def _listen(self) -> OSError | None:
        """Listen; return why not."""
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        try:
            await site.start()
        except OSError as error:
            await site.stop()
            return error
        return None

    async def _health(self, request: web.Request) -> web.Response:
        del request
        try:
            self._check()
        except UnavailableError as error:
            return web.json_response({"healthy": False, "error": error.message}, status=503)
        return web.json_response({"healthy": True})

    async def _ready(self, request: web.Request) -> web.Response:
        del request
        components = await self._components(Call.within(_READY_CALL_S, "readiness"))
        ready = self._serving() and is_ready(components)
        report = {
            "ready": ready,
            "taking_requests": self._serving(),
            "draining": self._draining(),
            "degraded": [part.name for part in components if not part.ready and not part.required],
            "components": {part.name: {"ready": part.ready, "detail": part.detail} for part in components},
        }
        return web.json_response(report, status=200 if ready else 503)
