"""The NATS connection of a replica, and what its users need of it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import nats.errors
from nats.aio.client import DEFAULT_BUFFER_SIZE, DEFAULT_FLUSH_TIMEOUT
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from bridges.nats.refusals import Refusals
from bridges.nats_access import AccessClient, is_login_refused, violation_of
from bridges.subjects import REPLICA_INBOX
from deployments.ending import end
from deployments.errors import UnavailableError
from deployments.settings.orchestration import NatsSettings
from deployments.values.access import NatsAccess, text_without_credentials

logger = logging.getLogger(__name__)

_RECONNECT_WAIT_S = 0.5
_ASK_AGAIN_S = 5.0
_GATHER_S = 0.004
_FOUND_POLL_S = 0.05
_PING_S = 8.0
_UNANSWERED_PINGS = 2
"""A server that says nothing, of a machine that is gone for instance, is given up after three times as long."""


Unwanted = Callable[[bytes, bytes, bytes], bool]
"""Says whether a message is to be passed over, by subject, reply subject and payload, as the server sends them."""


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


class _BatchingParser(Parser):
    """nats-py's parser, which lets messages gather for a moment before it is given more of them.

    Attributes:
        until: Seconds of `time.monotonic()` until which it does.
    """

    until = 0.0

    async def parse(self, data: bytes = b"") -> None:
        await super().parse(data)
        # More than that is read at once only where more has come.
        if len(data) < DEFAULT_BUFFER_SIZE and time.monotonic() < self.until:
            await asyncio.sleep(_GATHER_S)


class NatsClient(AccessClient):
    """A NATS client whose flush proves what its name says, and which no message of a client can stop.

    nats-py sends the PING of a flush past the commands that still wait in its buffer, so its PONG says nothing of a
    subscription made, or ended, just before. A drained subscription would then lose what arrives in between. The
    first round trip here gives the buffer its time to leave; the second proves that the server has read it.

    A NATS server passes on whatever bytes a client puts into subjects and headers. nats-py ends its reading over
    those that it cannot take apart, for good and without a word; here such headers are none, and a subject's strange
    bytes are replaced.

    A callback that waits for a task that was cancelled raises what a cancelled callback raises, and nats-py would call
    it no more; here it does.

    A server ends a connection whose password was changed or whose JWT has expired. nats-py then never connects again;
    here it does, with what the files and variables hold by then.
    """

    def __init__(self, access: NatsAccess | None = None) -> None:
        super().__init__(access)
        self._parser = self._ps = _BatchingParser(self)
        self._unwanted: dict[int, Unwanted] = {}

    async def subscribe(
        self, subject: str, *arguments: Any, cb: Any = None, unless: Unwanted | None = None, **named: Any
    ) -> Subscription:
        """Subscribe as nats-py does.

        Args:
            subject: With NATS's wildcards.
            arguments: As nats-py takes them.
            cb: Called with each message, one after the other, whatever becomes of the one before.
            unless: Says which messages are passed over as soon as they are read.
            named: As nats-py takes them.

        Raises:
            nats.errors.Error: The connection is closed.
        """
        subscription = await super().subscribe(subject, *arguments, cb=cb and _lasting(cb), **named)
        if unless is not None:
            self._unwanted[subscription._id] = unless  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return subscription

    def gather(self, seconds: float) -> None:
        """Read messages in batches, some milliseconds later, for a while.

        Of thousands a second, most of what each one costs is waking up for it.
        """
        self._parser.until = time.monotonic() + seconds

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if (unwanted := self._unwanted.get(sid)) is None or not unwanted(subject, reply, data):
            await super()._process_msg(sid, subject, reply, data, headers)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._unwanted.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:  # noqa: ASYNC109 - nats-py's own signature
        """Return once the server has read all commands that were given before.

        nats-py returns at once while the connection is lost and sought; here it is waited for.

        Raises:
            nats.errors.FlushTimeoutError: A round trip took longer than `timeout` seconds, or the connection was not
                found again by then.
            nats.errors.ConnectionClosedError: The connection is closed.
        """
        await self._until_found(timeout)
        await super().flush(timeout)
        await super().flush(timeout)

    async def _until_found(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                # nats-py tells by a callback of its user's alone.
                while self.is_reconnecting:  # noqa: ASYNC110
                    await asyncio.sleep(_FOUND_POLL_S)
        except TimeoutError:
            raise nats.errors.FlushTimeoutError from None

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

    async def leave(self, subscriptions: Iterable[Subscription], within_s: float) -> None:
        """Drain subscriptions, all at once; those that cannot be drained are abandoned.

        Args:
            subscriptions: The subscriptions.
            within_s: Seconds for the server to confirm it, and as many again for what was received by then.

        Raises:
            nats.errors.Error: The connection is closed.
            TimeoutError: The server did not confirm it in time.
        """
        error: Exception | None = None
        subscriptions = list(subscriptions)
        try:
            async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
                for subscription in subscriptions:
                    group.create_task(subscription.drain())
        except* (nats.errors.Error, TimeoutError) as errors:
            error = errors.exceptions[0]
        if error is None:
            return
        async with asyncio.TaskGroup() as group:
            for subscription in subscriptions:
                group.create_task(self.abandon(subscription, within_s))
        raise error

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


def is_cancelled() -> bool:
    """Say whether this very task was cancelled, and not only something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _lasting(callback: Callable[[Msg], Awaitable[None]]) -> Callable[[Msg], Awaitable[None]]:
    async def called(message: Msg) -> None:
        try:
            await callback(message)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise RuntimeError(f"a message on {message.subject} was left: what it waited for was cancelled") from error

    return called


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
            # Nothing is in the midst of it any more when somebody closes.
            await asyncio.gather(connecting, stopped, return_exceptions=True)

    def check(self) -> None:
        """Raise `UnavailableError` when the connection is closed for good; one that is not there yet may still come."""
        if reason := self._reason_for_good():
            raise UnavailableError(reason)

    def fault(self) -> str:
        """Return what is wrong now, in words: with the connection, or with what the server permits; empty for nothing.

        A server that says nothing any more is noticed after 24 s.
        """
        if not self.client.is_connected:
            return self._reason_for_good() or "NATS is not connected"
        return self._refusals.check()

    def _reason_for_good(self) -> str:
        if over := self.client.given_up_over:
            return f"the connection to NATS was lost, and is sought no more ({over})"
        return self._closed_reason

    async def close(self) -> None:
        """Close it, where it is open, within a few seconds whatever the server does."""
        self._is_closing = True
        if self._asking_again:
            await end([self._asking_again])
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
                logger.warning("NATS: %s", text_without_credentials(str(error)) or type(error).__name__)

        async def disconnected() -> None:
            self._refusals.forget()

        async def reconnected() -> None:
            logger.info("connected to NATS again")

        await self.client.connect_to(
            self._settings.url,
            name=self._name,
            # Clients may hear the inboxes of clients.
            inbox_prefix=REPLICA_INBOX.inbox_prefix,
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
        except Exception as error:  # noqa: BLE001 - of whatever kind: it is tried again
            logger.info("subscribing to %s was not tried again: %s", subject, str(error) or type(error).__name__)
            self._refusals.arrived.set()
            return
        if self._refusals.count(subject) == before:
            self._refusals.permitted(subject)
