"""The NATS connection of a replica, and what its users need of it."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import nats.errors
from nats.aio.client import DEFAULT_FLUSH_TIMEOUT
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bridges.nats.refusals import Refusals, violation_of
from bridges.nats_access import AccessClient, is_login_refused
from deployments.errors import UnavailableError
from deployments.settings.orchestration import NatsSettings
from deployments.values.access import NatsAccess

logger = logging.getLogger(__name__)

_RECONNECT_WAIT_S = 0.5
_ASK_AGAIN_S = 5.0
_PING_S = 8.0
_UNANSWERED_PINGS = 2
"""A server that says nothing, of a machine that is gone for instance, is given up after three times as long."""
_USERINFO = re.compile(r"//[^\s'\"]*@")


Unwanted = Callable[[bytes], bool]
"""Says of a subject, as the server sends it, whether a message is to be passed over."""


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


class SelectiveConnection(Connection, Protocol):
    """A connection that can pass messages over."""

    async def subscribe(self, subject: str, *, cb: Any, unless: Unwanted | None = None) -> Any:
        """Have `cb` called with each message, and return the subscription.

        Args:
            subject: Of the messages.
            cb: Takes them, one after the other.
            unless: Says which are none for `cb`, at a fraction of what calling it costs.
        """
        ...


class NatsClient(AccessClient):
    """A NATS client whose flush proves what its name says, and which no message of a client can stop.

    nats-py sends the PING of a flush past the commands that still wait in its buffer, so its PONG says nothing of a
    subscription made, or ended, just before. A drained subscription would then lose what arrives in between. The
    first round trip here gives the buffer its time to leave; the second proves that the server has read it.

    A NATS server passes on whatever bytes a client puts into subjects and headers. nats-py ends its reading over
    those that it cannot take apart, for good and without a word; here such headers are none, and a subject's strange
    bytes are replaced. It does the same over the PONG of a flush that nobody waits for any more, because its time was
    over or its task was cancelled; here such a PONG is nothing special.

    A server ends a connection whose password was changed or whose JWT has expired. nats-py then never connects again;
    here it does, with what the files and variables hold by then.
    """

    def __init__(self, access: NatsAccess | None = None) -> None:
        super().__init__(access)
        self._unwanted: dict[int, Unwanted] = {}

    async def subscribe(
        self,
        subject: str,
        queue: str = "",
        cb: Callable[[Msg], Awaitable[None]] | None = None,
        *args: Any,
        unless: Unwanted | None = None,
        **options: Any,
    ) -> Subscription:
        """Subscribe as nats-py does; messages that `unless` says no to are passed over as soon as they are read."""
        subscription = await super().subscribe(subject, queue, cb, *args, **options)
        if unless is not None:
            self._unwanted[subscription._id] = unless  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return subscription

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if (unwanted := self._unwanted.get(sid)) is None or not unwanted(subject):
            await super()._process_msg(sid, subject, reply, data, headers)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._unwanted.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

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

    @property
    def subscribed(self) -> list[str]:
        """The subjects that are subscribed to."""
        return [subscription.subject for subscription in self._subs.values()]

    async def ask_again(self, subject: str) -> None:
        """Subscribe once more to a subject that the server refused, and return when it has answered.

        Raises:
            nats.errors.Error: It did not answer in time, or the connection is closed.
        """
        for subscription in list(self._subs.values()):
            if subscription.subject == subject:
                await self._send_subscribe(subscription)
        await self.flush()

    async def _process_err(self, err_msg: str) -> None:
        if is_login_refused(err_msg) and "permissions violation" not in err_msg:
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))
            return
        await super()._process_err(err_msg)

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
        settings: Where NATS is, and who connects.
        name: That the server shows for it.
        refusals: Is told what the server does not permit.

    Attributes:
        client: To be used once `open` has returned True.
    """

    def __init__(self, settings: NatsSettings, name: str, refusals: Refusals) -> None:
        self.client = NatsClient(settings.access.access())
        self._settings = settings
        self._name = name
        self._refusals = refusals
        self._asking_again: asyncio.Task[None] | None = None
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
            self._asking_again = asyncio.create_task(self._ask_again())
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
        if self._asking_again:
            self._asking_again.cancel()
            await asyncio.wait((self._asking_again,))
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
            if violation := violation_of(error):
                self._refusals.refused(violation, self.client.subscribed)
            else:
                logger.warning("NATS: %s", _USERINFO.sub("//", str(error)) or type(error).__name__)

        async def disconnected() -> None:
            self._refusals.forget()

        async def reconnected() -> None:
            logger.info("connected to NATS again")

        await self.client.connect_to(
            self._settings.url,
            name=self._name,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_WAIT_S,
            ping_interval=_PING_S,  # pyright: ignore[reportArgumentType] - only ever slept for
            max_outstanding_pings=_UNANSWERED_PINGS,
            error_cb=failed,
            closed_cb=closed,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
        )

    async def _ask_again(self) -> None:
        """Ask again for what was refused, until it is permitted: an operator may mend that while we run."""
        while True:
            await self._refusals.arrived.wait()
            await asyncio.sleep(_ASK_AGAIN_S)
            self._refusals.arrived.clear()
            for subject in self._refusals.subscriptions:
                await self._ask_again_for(subject)

    async def _ask_again_for(self, subject: str) -> None:
        before = self._refusals.count(subject)
        try:
            await self.client.ask_again(subject)
        except nats.errors.Error as error:
            logger.info("subscribing to %s was not tried again: %s", subject, str(error) or type(error).__name__)
            self._refusals.arrived.set()
            return
        if self._refusals.count(subject) == before:
            self._refusals.permitted(subject)
