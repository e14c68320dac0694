"""The NATS connection of a replica, and what its users need of it."""

import asyncio
import contextlib
import logging
from typing import Any, Protocol

from nats.aio.client import DEFAULT_FLUSH_TIMEOUT, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from deployments.errors import UnavailableError

logger = logging.getLogger(__name__)

_RECONNECT_WAIT_S = 0.5


class Publisher(Protocol):
    """The part of a NATS connection that sends messages."""

    @property
    def max_payload(self) -> int:
        """The server's limit in bytes; it may change when the connection moves to another server."""
        ...

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message.

        Raises:
            nats.errors.Error: It was not sent, because it is too large, the connection is closed, or too much waits.
        """
        ...


class Connection(Publisher, Protocol):
    """The part of a NATS connection that also hears messages."""

    async def subscribe(self, subject: str, *, cb: Any) -> Any:
        """Have `cb` called with each message, and return the subscription."""
        ...

    def new_inbox(self) -> str:
        """Return a subject of one's own."""
        ...

    async def flush(self) -> None:
        """Return once the server has read all commands that were given before.

        Raises:
            nats.errors.Error: It did not say so in time, or the connection is closed.
        """
        ...


class NatsClient(Client):
    """A NATS client whose flush proves what its name says, and which no message of a client can stop.

    nats-py sends the PING of a flush past the commands that still wait in its buffer, so its PONG says nothing of a
    subscription made, or ended, just before. A drained subscription would then lose what arrives in between. The
    first round trip here gives the buffer its time to leave; the second proves that the server has read it.

    A NATS server passes on whatever bytes a client puts into subjects and headers. nats-py ends its reading over
    those that it cannot take apart, for good and without a word; here such headers are none, and a subject's strange
    bytes are replaced. It does the same over the PONG of a flush that nobody waits for any more, because its time was
    over or its task was cancelled; here such a PONG is nothing special.
    """

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:  # noqa: ASYNC109 - nats-py's own signature
        """Return once the server has read all commands that were given before.

        Raises:
            nats.errors.FlushTimeoutError: A round trip took longer than `timeout` seconds.
            nats.errors.ConnectionClosedError: The connection is closed.
        """
        await super().flush(timeout)
        await super().flush(timeout)

    async def abandon(self, subscription: Subscription, within_s: float) -> None:
        """Take what a subscription has received, and no more, where it could not be drained.

        nats-py would make it anew whenever the connection comes back.
        """
        # nats-py names none of these in public. Its own `drain` does the same.
        self._remove_sub(subscription._id)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self.is_closed else within_s):
                await subscription._pending_queue.join()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        subscription._stop_processing()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except Exception as error:  # noqa: BLE001 - the message counts, whatever is wrong with its headers
            await self._error_cb(error)
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )


class LastingConnection:
    """A connection that is waited for, and found again whenever it was lost.

    Args:
        url: One server, or several separated by commas.
        name: That the server shows for it.

    Attributes:
        client: To be used once `open` has returned True.
    """

    def __init__(self, url: str, name: str) -> None:
        self.client = NatsClient()
        self._url = url
        self._name = name
        self._is_closing = False
        self._closed_reason = ""

    async def open(self, stopping: asyncio.Event) -> bool:
        """Wait for the server, for ever if need be; return False when stopped before it was there."""
        connecting = asyncio.ensure_future(self._connect())
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait((connecting, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                return False
            await connecting
            return True
        finally:
            connecting.cancel()
            stopped.cancel()

    def check(self) -> None:
        """Raise `UnavailableError` when the connection is closed for good; one that is not there yet may still come."""
        if self._closed_reason:
            raise UnavailableError(self._closed_reason)

    async def close(self) -> None:
        """Close it, where it is open."""
        self._is_closing = True
        if not self.client.is_closed:
            # A server that is gone takes no farewell.
            with contextlib.suppress(OSError):
                await self.client.close()

    async def _connect(self) -> None:
        async def closed() -> None:
            if not self._is_closing:
                self._closed_reason = "the connection to NATS was closed for good"
                logger.error(self._closed_reason)

        async def failed(error: Exception) -> None:
            logger.warning("NATS: %s", error or type(error).__name__)

        async def reconnected() -> None:
            logger.info("connected to NATS again")

        await self.client.connect(
            self._url.split(","),
            name=self._name,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_WAIT_S,  # pyright: ignore[reportArgumentType] - only ever slept for
            error_cb=failed,
            closed_cb=closed,
            reconnected_cb=reconnected,
        )
