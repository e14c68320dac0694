"""How an ingress is drained from its own node: over a Unix socket, by `hearth drain`."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

from bridges.draining import (
    DRAIN_PATH,
    UNNAMED_SUFFIX,
    DrainProgress,
    drain_folder,
    make_folder,
    remove_left_sockets,
    socket_path,
)

logger = logging.getLogger(__name__)

_TELL_EVERY_S = 0.5
_LAST_WORD_S = 1.0
"""What those who listen have for the last line, when the replica ends."""


class DrainServer:
    """Has an ingress drained when it is asked to, and tells those who ask how far it is.

    The drain goes on, whoever asked for it and leaves. Asking again joins it.

    Args:
        name: Of the ingress's deployment.
        drain: Has the ingress take nothing more; returns when it holds nothing.
        held: Says how many requests or sessions the ingress has, by their subject's pattern.
    """

    def __init__(self, name: str, drain: Callable[[], Awaitable[None]], held: Callable[[], Mapping[str, int]]) -> None:
        self._name = name
        self._drain = drain
        self._held = held
        self._draining: asyncio.Task[None] | None = None
        self._path: Path | None = None
        application = web.Application()
        application.router.add_post(DRAIN_PATH, self._asked)
        # Who leaves ends the telling, and not the drain.
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=_LAST_WORD_S
        )

    @property
    def is_draining(self) -> bool:
        """Whether a drain has begun. It never ends: what is drained stays so."""
        return self._draining is not None

    async def start(self) -> None:
        """Listen, unless the folder does not allow it: `hearth drain` then does not find the ingress."""
        await self._runner.setup()
        folder = drain_folder()
        try:
            make_folder(folder)
            remove_left_sockets(folder)
            self._path = await self._listen(socket_path(folder, self._name))
        except OSError as error:
            logger.error("`hearth drain` cannot find %s: no socket in %s: %s", self._name, folder, error)  # noqa: TRY400

    async def stop(self) -> None:
        """Listen no more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        await self._runner.cleanup()
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait([self._draining])

    async def _listen(self, path: Path) -> Path:
        # It gets its name when it is listened on. Until then it would look like that of a process that is gone.
        # As long as the name that it gets: the system takes a longer one in a renaming, where nobody can connect to it.
        made = path.with_suffix(UNNAMED_SUFFIX)
        await web.UnixSite(self._runner, str(made)).start()
        made.chmod(0o600)
        return made.rename(path)

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        if self._draining is None:
            logger.info("%s is drained", self._name)
            self._draining = asyncio.create_task(self._drain_once())
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        told: DrainProgress | None = None
        while told is None or not told.is_over:
            now = DrainProgress(self._name, os.getpid(), dict(self._held()), self._draining.done())
            if now != told:
                try:
                    await response.write(now.line())
                except ConnectionResetError:
                    # Who asked has left, and the drain goes on.
                    return response
                told = now
            await asyncio.wait([self._draining], timeout=_TELL_EVERY_S)
        return response

    async def _drain_once(self) -> None:
        try:
            await self._drain()
        except Exception:
            # Of whatever kind: what is still held is told, and the replica ends as it would have.
            logger.exception("%s could not be drained", self._name)
            return
        logger.info("%s is drained, and takes nothing more", self._name)
