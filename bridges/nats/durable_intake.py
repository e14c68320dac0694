"""Requests that are kept until they are answered: taken from streams, held while they are worked on, let go after.

Clients publish on core NATS as ever, and a stream keeps what they send. The ingresses share one durable pull consumer
of each stream. A request whose ingress says nothing for some seconds is given to another one; one that was begun too
often is parked as a dead letter. What a stream does not keep is the reply subject: an ingress hears each request on
core NATS, too, and notes it.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from bridges.nats.answer_store import AnswerStore
from bridges.nats.connection import NatsClient
from bridges.nats.dead_letters import DeadLetters, DurableMetrics
from bridges.nats.once_answer import GivenBackError, KeptRequest, OnceAnswer, digest_of
from bridges.nats.pulling import Pulling
from bridges.nats.sender import Sender
from bridges.nats.streams import open_stream
from bridges.requests import Request
from bridges.subjects import REQUESTS_CONSUMER
from deployments.backoff import Backoff
from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.settings.orchestration import NatsSettings
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

COMPONENT = "JetStream"

_LATE_S = 60.0
"""A request whose time was over for longer is not even told that: nobody waits any more."""
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_MOST_PENDING = 10_000
_NOTES_AT_ONCE = 256
_MOST_UNSURE = 10_000
_NOTE_S = 5.0
_FLUSH_S = 2
_ACK_S = 2.0
_ACKS = 3


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row whose requests are kept.

    Attributes:
        row: The row.
        timeout_s: Time that a request has from when it was sent.
        take: Called with each one as it is given out.
    """

    row: Request
    timeout_s: float
    take: Callable[[KeptRequest], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Heard:
    message: Msg
    at: datetime


class DurableIntake:
    """The requests that one ingress takes from streams.

    Args:
        settings: Which, and how.
        metrics: Counts what was given out again, and what was given up.
    """

    def __init__(self, settings: NatsSettings, metrics: DurableMetrics) -> None:
        self._settings = settings.durable
        self._queue_group = settings.queue_group
        self._metrics = metrics
        self._store = AnswerStore(settings.durable, settings.request_timeout_s + settings.durable.remember_s)
        self._dead = DeadLetters(settings.durable)
        self._max_age_s = settings.request_timeout_s + _LATE_S
        self._client: NatsClient | None = None
        self._rows: Sequence[KeptRow] = ()
        self._streams: tuple[str, ...] = ()
        self._problem = "the streams of requests are not opened yet"
        self._held: set[KeptRequest] = set()
        self._leaving = asyncio.Event()
        self._left = asyncio.Event()
        self._notes: list[Subscription] = []
        self._notes_open = asyncio.Semaphore(_NOTES_AT_ONCE)
        self._opened_at = -1
        self._unsure: list[_Heard] = []

    def connect(self, client: NatsClient, rows: Sequence[KeptRow]) -> None:
        """Take the connection, and what is to be taken over it."""
        self._client, self._rows = client, rows
        self._store.connect(client)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say whether requests are kept; see `Reporting`. Without JetStream none of these is taken."""
        if not self._streams and self._client is not None:
            try:
                async with asyncio.timeout(call.remaining()):
                    await self._open(self._client)
            except (nats.errors.Error, TimeoutError, UnavailableError) as error:
                self._failed(error)
        ready = bool(self._streams)
        detail = f"requests are kept in {', '.join(self._streams)}" if ready else self._problem
        return (ComponentStatus(COMPONENT, ready=ready, detail=detail),)

    async def subscribe(self, group: asyncio.TaskGroup) -> None:
        """Note the reply subjects of requests from now on."""
        heard = self._note_in(group)
        for kept in self._rows:
            self._notes.append(
                await self._connected.subscribe(kept.row.subject.wildcard, queue=self._queue_group, cb=heard)
            )

    async def run(self) -> None:
        """Take requests until `leave`, and hold those that were taken until cancelled."""
        keeping = asyncio.create_task(self._keep_holding(self._connected))
        try:
            await self._take_all(self._connected)
            self._left.set()
            await asyncio.Event().wait()
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))
            self._left.set()

    async def leave(self) -> None:
        """Take no more; return when nothing more arrives. What was taken is held on to until `run` is cancelled."""
        self._leaving.set()
        await self._left.wait()
        for subscription in self._notes:
            try:
                await subscription.drain()
            except nats.errors.Error as error:
                logger.info("reply subjects were not heard to the end: %s", _text(error))

    def answer(
        self, kept: KeptRequest, request_id: str, sender: Sender, allows: Callable[[str], bool], deadline: float
    ) -> OnceAnswer:
        """Return the way out of a request's answer.

        Args:
            kept: The request.
            request_id: Its client's id of it; empty where it gave none.
            sender: Of its answers, of which `STORED_HEADER_BYTES` are reserved.
            allows: Says whether a reply subject is answered.
            deadline: When the answer has to be there.
        """
        key = kept.key(request_id)
        go_on = self._settings.broken_stream == "continue"
        return OnceAnswer(kept, key, self._store, sender, allows, deadline, go_on=go_on)

    def is_spent(self, kept: KeptRequest) -> bool:
        """Say whether a request was begun as often as it may be."""
        return kept.attempt > self._settings.tries

    async def give_up(self, row: Request, kept: KeptRequest) -> str:
        """Park a request as a dead letter; return why, in words.

        Raises:
            GivenBackError: It could not be kept now.
        """
        times = kept.attempt - 1
        reason = f"it was begun {times} times, and each time its replica was lost, or could not finish it"
        try:
            await self._dead.put(self._connected, row.name, kept.message, key=kept.key(""), reason=reason, times=times)
        except (nats.errors.Error, TimeoutError) as error:
            raise GivenBackError(f"it could not be kept as a dead letter: {_text(error)}") from error
        self._metrics.given_up(row.subject.pattern)
        logger.error("a request on %s is a dead letter now: %s", row.subject.pattern, reason)
        return reason

    async def settle(self, kept: KeptRequest) -> None:
        """Say that a request was answered. Where that is not heard, it is given out again, and its answer is found."""
        if not kept.is_in_stream:
            return
        for _ in range(_ACKS):
            try:
                await kept.message.ack_sync(timeout=_ACK_S)
            except (nats.errors.Error, TimeoutError) as error:
                logger.info("an answered request was not let go of: %s", _text(error))
                continue
            return

    def let_go(self, kept: KeptRequest) -> None:
        """Hold a request no more: one that was not answered is given out again."""
        self._held.discard(kept)

    @property
    def _connected(self) -> NatsClient:
        if self._client is None:
            raise UnavailableError("there is no connection to NATS yet")
        return self._client

    async def _take_all(self, client: NatsClient) -> None:
        backoff = Backoff(_PAUSE_S, _LONGEST_PAUSE_S)
        while not self._leaving.is_set():
            try:
                await self._open(client)
                await self._take_unsure(client)
                backoff.reset()
                async with asyncio.TaskGroup() as group:
                    for stream in self._streams:
                        pulling = Pulling(client, stream, self._arrived)
                        group.create_task(pulling.run(self._leaving))
            except* (nats.errors.Error, TimeoutError) as errors:
                self._failed(errors.exceptions[0])
            if not self._leaving.is_set():
                await backoff.pause()

    def _failed(self, error: BaseException) -> None:
        self._streams = ()
        self._problem = f"requests cannot be taken from their streams: {str(error) or type(error).__name__}"
        logger.warning("%s", self._problem)

    async def _open(self, client: NatsClient) -> None:
        """Make, or find, everything that is needed."""
        connections = client.stats["reconnects"]
        stream = client.jetstream()
        await self._store.open()
        await self._dead.open(client)
        foreign: dict[str, list[str]] = {}
        own: list[str] = []
        for kept in self._rows:
            subject = kept.row.subject.wildcard
            name = await self._foreign_stream(stream, subject)
            (foreign.setdefault(name, []) if name else own).append(subject)
        if own:
            await self._open_own(stream, own)
        for name, subjects in foreign.items():
            await self._open_consumer(stream, name, subjects, DeliverPolicy.NEW)
        self._streams = (*([self._settings.stream] if own else []), *foreign)
        self._opened_at = connections

    async def _open_own(self, stream: JetStreamContext, subjects: list[str]) -> None:
        config = StreamConfig(
            name=self._settings.stream,
            description="Requests to Hearth, until they are answered",
            subjects=subjects,
            retention=RetentionPolicy.WORK_QUEUE,
            max_age=self._max_age_s,
            storage=StorageType(self._settings.storage),
            num_replicas=self._settings.replicas,
            # Else the server would answer a requester before Hearth does.
            no_ack=True,
        )
        if not await open_stream(stream, config):
            raise nats.errors.Error(f"another stream has a part of {', '.join(subjects)}")
        await self._open_consumer(stream, self._settings.stream, subjects, DeliverPolicy.ALL)

    async def _foreign_stream(self, stream: JetStreamContext, subject: str) -> str:
        """Return the stream of somebody else that keeps a subject; empty where there is none."""
        try:
            name = await stream.find_stream_name_by_subject(subject)
        except NotFoundError:
            return ""
        if name == self._settings.stream:
            return ""
        config = (await stream.stream_info(name)).config
        if not any(covers(pattern, subject) for pattern in config.subjects or ()):
            raise nats.errors.Error(f"the stream {name!r} has a part of {subject}, and not all of it")
        if not config.no_ack and name not in self._streams:
            logger.warning(
                "the stream %r keeps %s and has no `no_ack`: the server answers who asks with a reply subject there",
                name,
                subject,
            )
        return name

    async def _open_consumer(
        self, stream: JetStreamContext, name: str, subjects: list[str], policy: DeliverPolicy
    ) -> None:
        """Make the consumer. One that is there goes on where it was, with the present settings."""
        wanted, ack_wait = sorted(subjects), float(self._settings.take_over_s)
        try:
            info = await stream.consumer_info(name, REQUESTS_CONSUMER)
        except NotFoundError:
            config = ConsumerConfig(
                name=REQUESTS_CONSUMER,
                durable_name=REQUESTS_CONSUMER,
                deliver_policy=policy,
                ack_policy=AckPolicy.EXPLICIT,
                # Counted here, where a client can be told.
                max_deliver=-1,
                max_ack_pending=_MOST_PENDING,
                filter_subjects=wanted,
                ack_wait=ack_wait,
            )
            await stream.add_consumer(name, config)
            return
        found = info.config
        if sorted(found.filter_subjects or ()) != wanted or found.ack_wait != ack_wait:
            await stream.add_consumer(name, found.evolve(filter_subjects=wanted, ack_wait=ack_wait))

    async def _arrived(self, message: Msg) -> None:
        kept_row = self._row_of(message.subject)
        kept = self._kept(message)
        if kept_row is None or kept.age_s > kept_row.timeout_s + _LATE_S:
            # Of a stream of somebody else, which keeps what nobody waits for any more.
            logger.warning("a request on %s of %.0f s ago is not answered any more", message.subject, kept.age_s)
            await message.ack()
            return
        self._held.add(kept)
        if kept.attempt > 1:
            self._metrics.redelivered(kept_row.row.subject.pattern)
        await kept_row.take(kept)

    def _kept(self, message: Msg) -> KeptRequest:
        given, now = message.metadata, time.monotonic()
        age_s = max(0.0, (datetime.now(UTC) - given.timestamp).total_seconds())
        holder = f"{given.stream}.{given.sequence.stream}.{given.timestamp.timestamp():.6f}"
        return KeptRequest(message, holder, given.num_delivered, age_s, now, now + self._settings.take_over_s)

    def _row_of(self, subject: str) -> KeptRow | None:
        return next((kept for kept in self._rows if kept.row.subject.parameters(subject) is not None), None)

    async def _keep_holding(self, client: NatsClient) -> None:
        """Say of what is held that it is worked on, for as long as it is."""
        while True:
            await asyncio.sleep(self._settings.take_over_s / 3)
            await self._hold_on(client, list(self._held))

    async def _hold_on(self, client: NatsClient, held: Iterable[KeptRequest]) -> None:
        said_at = time.monotonic()
        try:
            for kept in held:
                await client.publish(kept.message.reply, Msg.Ack.Progress)
            await client.flush(_FLUSH_S)
        except (nats.errors.Error, TimeoutError) as error:
            logger.warning("it could not be said what is worked on: %s", _text(error))
            return
        for kept in held:
            kept.held_until = said_at + self._settings.take_over_s

    def _note_in(self, group: asyncio.TaskGroup) -> Callable[[Msg], Awaitable[None]]:
        async def heard(message: Msg) -> None:
            if not self._is_sure():
                self._hold_unsure(message)
            elif self._notes_open.locked():
                logger.warning("a reply subject on %s was not noted: too many at once", message.subject)
            else:
                group.create_task(self._note(message))

        return heard

    def _is_sure(self) -> bool:
        """Say whether the streams are there: a server that was found again may have lost them."""
        return bool(self._streams) and self._opened_at == self._connected.stats["reconnects"]

    def _hold_unsure(self, message: Msg) -> None:
        if len(self._unsure) < _MOST_UNSURE:
            self._unsure.append(_Heard(message, datetime.now(UTC)))
        else:
            logger.warning("a request on %s was heard while its stream was away: too many at once", message.subject)

    async def _take_unsure(self, client: NatsClient) -> None:
        """Note what was heard while nobody knew whether a stream has it, and take what was heard before it was made."""
        made = [(await client.jetstream().stream_info(stream)).created for stream in self._streams]
        newest = max((at for at in made if at), default=None)
        unsure, self._unsure = self._unsure, []
        for heard in unsure:
            await self._note(heard.message)
            kept_row = self._row_of(heard.message.subject)
            if kept_row and newest and heard.at < newest:
                await kept_row.take(_only_heard(heard))

    async def _note(self, message: Msg) -> None:
        until = time.monotonic() + _NOTE_S
        async with self._notes_open:
            try:
                await self._store.note_asker(digest_of(message), message.reply, lambda: until - time.monotonic())
            except UnavailableError as error:
                logger.warning("a reply subject on %s was not noted: %s", message.subject, error.message)


def _only_heard(heard: _Heard) -> KeptRequest:
    """Return a request that no stream has, and that is nobody else's therefore."""
    age_s = (datetime.now(UTC) - heard.at).total_seconds()
    return KeptRequest(
        heard.message, f"heard.{secrets.token_hex(16)}", 1, age_s, time.monotonic(), math.inf, is_in_stream=False
    )


def covers(pattern: str, subject: str) -> bool:
    """Say whether everything on a subject with wildcards is on another one, too."""
    wide, narrow = pattern.split("."), subject.split(".")
    for at, part in enumerate(wide):
        if part == ">":
            return len(narrow) > at
        if at >= len(narrow) or part not in {"*", narrow[at]}:
            return False
    return len(wide) == len(narrow)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
