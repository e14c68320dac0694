"""Health and readiness over HTTP, for probes and people: `/health` and `/ready`."""

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

    async def start(self) -> None:
        """Listen, unless the port is 0 or somebody else's: probes then fail, requests do not."""
        if not self._settings.port:
            return
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        except OSError as error:
            logger.warning("no /health and /ready on %s:%d: %s", self._settings.host, self._settings.port, error)

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

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
