"""Requests that are kept until they are answered: taken from streams, held while they are worked on, let go after.

Clients publish on core NATS as ever, and a stream keeps what they send. The ingresses share one durable pull consumer
of each stream. A request whose ingress says nothing for some seconds is given to another one; one that was begun too
often is parked as a dead letter. What a stream does not keep is the reply subject: an ingress hears each request on
core NATS, too, and notes it.
"""

import asyncio
import contextlib
import json
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from bridges.nats.admission import row_limits
from bridges.nats.answer_store import NOBODY, AnswerStore, AskerNote
from bridges.nats.asker_notes import AskerNotes, of_request
from bridges.nats.connection import NatsClient
from bridges.nats.dead_letters import DeadLetters, DurableMetrics
from bridges.nats.once_answer import GivenBackError, KeptRequest, OnceAnswer, answer_key, digest_of
from bridges.nats.pulling import Pulling
from bridges.nats.sender import Sender
from bridges.nats.server_clock import ServerClock
from bridges.nats.streams import open_stream
from bridges.nats.trust import Trust
from bridges.requests import Request
from bridges.subjects import REQUESTS_CONSUMER, REQUESTS_CONSUMER_INFO, covers
from deployments.backoff import Backoff
from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.settings.orchestration import NatsSettings
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

COMPONENT = "JetStream"

_ASK_S = 2.0
_LATE_S = 60.0
"""A request whose time was over for longer is not even told that: nobody waits any more."""
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_SAME_MESSAGE_S = 0.1
_MOST_LATE = 10_000
_MOST_PENDING = 10_000
_MOST_UNSURE = 10_000
_REFUSED_AT_ONCE = 256
_FLUSH_S = 2
_LAST_HEARD_S = 1.0
_LOOK_S = 5.0
_STORE_S = 5.0
_LOOKS_UNTIL_LOWERED = 3
_TAKE_OVER_S = "hearth-take-over-s"
"""What a consumer says of the time in which a request has to be held: it will be that soon, and is longer as yet."""


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
class _Unsure:
    """A request that was heard while nobody knew whether its stream is there, and when, by `time.monotonic()`."""

    message: Msg
    at: float


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
        # No shorter than the stream keeps a request, or one that is given out again late would be answered again.
        lifetime_s = settings.request_timeout_s + max(settings.durable.remember_s, _LATE_S)
        self._user_header = settings.user_header
        self._nats = settings
        self._store = AnswerStore(settings.durable, lifetime_s)
        self._asker_notes = AskerNotes(self._store, lifetime_s)
        self._clock = ServerClock()
        self._dead = DeadLetters(settings.durable)
        self._max_age_s = settings.request_timeout_s + _LATE_S
        self._client: NatsClient | None = None
        self._rows: Sequence[KeptRow] = ()
        self._streams: tuple[str, ...] = ()
        self._stream_of: dict[str, str] = {}
        """The stream that keeps a row, by the row's name."""
        self._problem = "the streams of requests are not opened yet"
        self._full = ""
        self._trust = Trust.of(settings)
        self._late: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_MOST_LATE)
        self._held: set[KeptRequest] = set()
        self._most_held = 0
        self._leaving = asyncio.Event()
        self._left = asyncio.Event()
        self._take_over_s = float(settings.durable.take_over_s)
        self._is_hurried = asyncio.Event()
        self._looks_until_lowered = _LOOKS_UNTIL_LOWERED
        self._taking = asyncio.timeout_at(None)
        """Ends what is done to take requests, where a server does not answer who leaves."""
        self._opened_at = -1
        self._unsure: list[_Unsure] = []
        self._has_taken = False
        self._hearing: list[Subscription] = []

    def connect(self, client: NatsClient, rows: Sequence[KeptRow]) -> None:
        """Take the connection, and what is to be taken over it."""
        self._client, self._rows = client, rows
        self._store.connect(client)
        limits = [row_limits(kept.row, self._nats) for kept in rows]
        self._most_held = sum(row.in_flight + row.waiting for row in limits) + _REFUSED_AT_ONCE

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say whether requests are kept; see `Reporting`. Without JetStream none of these is taken."""
        if not self._streams and self._client is not None:
            try:
                async with asyncio.timeout(call.remaining()):
                    await self._open(self._client)
            except (nats.errors.Error, TimeoutError, UnavailableError) as error:
                self._failed(error)
        ready = bool(self._streams) and not self._full
        problem = self._full or self._problem
        detail = f"requests are kept in {', '.join(self._streams)}" if ready else problem
        return (ComponentStatus(COMPONENT, ready=ready, detail=detail),)

    async def subscribe(self) -> None:
        """Note the reply subjects of requests from now on, and hear those that other replicas note."""
        await self._asker_notes.listen()
        for kept in self._rows:
            self._hearing.append(
                await self._connected.subscribe(kept.row.subject.wildcard, queue=self._queue_group, cb=self._hear)
            )

    async def run(self) -> None:
        """Take requests until `leave`, and hold those that were taken until cancelled."""
        watches = (self._keep_holding(self._connected), self._look_after(), self._tell_late_askers())
        watching = [asyncio.create_task(watch) for watch in watches]
        try:
            with contextlib.suppress(TimeoutError):
                async with self._taking:
                    await self._take_all(self._connected)
            self._left.set()
            await asyncio.Event().wait()
        finally:
            for watch in watching:
                watch.cancel()
            await asyncio.wait(watching)
            self._left.set()

    async def leave(self, within_s: float) -> None:
        """Take no more; return when nothing more arrives. What was taken is held on to until `run` is cancelled.

        Args:
            within_s: What JetStream has for it where it does not answer.
        """
        self._leaving.set()
        try:
            async with asyncio.timeout(within_s):
                await self._left.wait()
        except TimeoutError:
            logger.warning("requests were not taken to the end: JetStream did not answer in %g s", within_s)
            self._taking.reschedule(0)
        try:
            await self._connected.leave(self._hearing, _LAST_HEARD_S)
        except (nats.errors.Error, TimeoutError) as error:
            logger.warning("reply subjects were not heard to the end: %s", _text(error))

    @property
    def held(self) -> int:
        """How many requests were taken from streams and are not let go of."""
        return len(self._held)

    async def backlog(self) -> int | None:
        """Return how many requests the streams have that are not answered, taken by whatever replica, or by none.

        Returns:
            The number, or None where it cannot be asked now.
        """
        if self._client is None or not self._streams:
            return None
        stream = self._client.jetstream()
        try:
            async with asyncio.timeout(_ASK_S):
                consumers = [await stream.consumer_info(name, REQUESTS_CONSUMER) for name in self._streams]
        except (nats.errors.Error, TimeoutError) as error:
            logger.info("it is not known how many requests are kept: %s", _text(error))
            return None
        return sum((consumer.num_pending or 0) + (consumer.num_ack_pending or 0) for consumer in consumers)

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
        kept.answer_key = kept.key(request_id) if request_id else ""
        go_on = self._settings.broken_stream == "continue"
        return OnceAnswer(kept, request_id, self._store, self._askers_of, sender, allows, deadline, go_on=go_on)

    def is_spent(self, kept: KeptRequest) -> bool:
        """Say whether a request may have been begun as often as it may be: it was given out more often."""
        return kept.attempt > self._settings.tries

    async def give_up(self, row: Request, kept: KeptRequest, request_id: str) -> str:
        """Park a request as a dead letter, if it was begun as often as it may be; return why, in words.

        Returns:
            Empty for a request that is to be answered as any other: it was given out in vain, as by a server whose
            store was full, or it was answered.

        Raises:
            GivenBackError: It could not be kept now.
        """
        try:
            key = await answer_key(kept, request_id, self._store, _patience())
            times = await self._times_begun(key, kept)
            if times < self._settings.tries:
                return ""
            reason = f"it was begun {times} times, and each time its replica was lost, or could not finish it"
            await self._dead.put(self._connected, row.name, kept.message, key=key, reason=reason, times=times)
        except (nats.errors.Error, TimeoutError, UnavailableError) as error:
            raise GivenBackError(f"it could not be kept as a dead letter: {_text(error)}") from error
        self._metrics.given_up(row.subject.pattern)
        logger.error("a request on %s is a dead letter now: %s", row.subject.pattern, reason)
        return reason

    async def _times_begun(self, key: str, kept: KeptRequest) -> int:
        """Return how often a request was begun and not answered."""
        claim = (await self._store.claim(key, _patience())).claim
        # One that was let go of, by an attempt that was held up for too long, was begun all the same.
        if claim is None or claim.holder not in {NOBODY, kept.holder}:
            return 0
        return 0 if await self._store.published(key, _patience()) is not None else claim.begun

    async def settle(self, kept: KeptRequest) -> None:
        """Say that a request was answered. Where that is not heard, it is given out again, and its answer is found."""
        if not kept.is_in_stream:
            return
        try:
            await self._connected.publish(kept.message.reply, Msg.Ack.Ack)
        except nats.errors.Error as error:
            logger.info("an answered request was not let go of: %s", _text(error))
        if kept.answer_key:
            self._asker_notes.answered(kept.digest, partial(self._heard_late, kept))

    def may_hand_back(self, kept: KeptRequest) -> bool:
        """Say whether a request may be left to another replica.

        One that was given out as often as it may be begun is worked off here: left to another, it could become a dead
        letter for nothing but that replicas stop.
        """
        return kept.attempt < self._settings.tries

    async def hand_back(self, kept: KeptRequest) -> None:
        """Leave a request that is not worked on any more to its stream: another replica is given it at once."""
        self.let_go(kept)
        try:
            await kept.message.nak()
        except nats.errors.Error as error:
            seconds = self._settings.take_over_s
            logger.info("a request was not handed back, and goes on in %g s: %s", seconds, _text(error))

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
                self._has_taken = True
                backoff.reset()
                async with asyncio.TaskGroup() as group:
                    for stream in self._streams:
                        pulling = Pulling(client, stream, self._taker(group), self._room)
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
            self._stream_of[kept.row.name] = name or self._settings.stream
        if own:
            await self._open_own(stream, own)
        for name, subjects in foreign.items():
            await self._open_consumer(stream, name, subjects, DeliverPolicy.NEW)
        self._streams = (*([self._settings.stream] if own else []), *foreign)
        await self._set_clock(self._streams[0])
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
            # The least there is: what a client calls its messages is nothing to go by.
            duplicate_window=_SAME_MESSAGE_S,
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
        """Make the consumer. One that is there goes on where it was, with the present settings.

        A time that is shorter than before is announced first: other replicas hold what they have by the longer one.
        """
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
        self._looks_until_lowered = _LOOKS_UNTIL_LOWERED
        metadata = {**(found.metadata or {}), _TAKE_OVER_S: f"{ack_wait:g}"}
        changed = found.evolve(filter_subjects=wanted, ack_wait=max(ack_wait, found.ack_wait or 0.0), metadata=metadata)
        if (sorted(found.filter_subjects or ()), found.ack_wait, found.metadata) != (
            wanted,
            changed.ack_wait,
            metadata,
        ):
            await stream.add_consumer(name, changed)

    def _room(self) -> int:
        """Return how many more requests may be taken: others are left to who has room, or to later."""
        return self._most_held - len(self._held)

    def _taker(self, group: asyncio.TaskGroup) -> Callable[[Msg], Awaitable[None]]:
        async def arrived(message: Msg) -> None:
            kept_row = self._row_of(message.subject)
            kept = self._kept(message)
            if kept_row is None or kept.age_s > kept_row.timeout_s + _LATE_S:
                # Of a stream of somebody else, which keeps what nobody waits for any more.
                logger.warning("a request on %s of %.0f s ago is not answered any more", message.subject, kept.age_s)
                await message.ack()
                return
            if self._goes_on(kept):
                return
            self._held.add(kept)
            if kept.attempt > 1:
                self._metrics.redelivered(kept_row.row.subject.pattern)
            notes = self._asker_notes.fresh(kept.digest, kept.sent_at)
            if kept.attempt == 1 and _are_of_one(kept, notes):
                kept.reply = self._taken(kept, notes[0])
                await kept_row.take(kept)
            else:
                group.create_task(self._take_when_known(kept, kept_row))

        return arrived

    def _goes_on(self, given: KeptRequest) -> bool:
        """Say whether a request is worked on here as it is given out: its consumer was deleted, and is a new one.

        What is worked on is held, and let go, by what was given out last.
        """
        held = next((kept for kept in self._held if kept.holder == given.holder), None)
        if held is None or time.monotonic() >= held.held_until:
            return False
        held.message, held.held_until = given.message, given.held_until
        return True

    async def _take_when_known(self, kept: KeptRequest, kept_row: KeptRow) -> None:
        """Look for the reply subject of a request, and have it taken."""
        try:
            kept.reply = await self._find_reply(kept)
        except UnavailableError as error:
            logger.warning("a request on %s is left to its stream: %s", kept.subject, error.message)
            self.let_go(kept)
            return
        except asyncio.CancelledError:
            self.let_go(kept)
            raise
        await kept_row.take(kept)

    async def _find_reply(self, kept: KeptRequest) -> str:
        remaining_s = _patience()
        if kept.attempt > 1:
            every = await self._asker_notes.find_all(kept.digest, remaining_s)
            notes = of_request(every, kept.sent_at) or every
        else:
            notes = await self._asker_notes.find(kept.digest, kept.age_s, kept.sent_at, remaining_s)
        if not notes or _are_of_one(kept, notes):
            return self._taken(kept, notes[0]) if notes else ""
        # Several users sent the very same: each request is one user's.
        for note in notes:
            if await self._store.take_asker(note.name, kept.holder, remaining_s):
                return self._taken(kept, note)
        return ""

    def _taken(self, kept: KeptRequest, note: AskerNote) -> str:
        self._asker_notes.take(kept.digest, note)
        return note.reply_subject

    def _heard_late(self, kept: KeptRequest, note: AskerNote) -> None:
        reply = note.reply_subject
        if not kept.may_be_told_at(reply) or not self._trust.allows_reply(reply):
            return
        if self._late.full():
            logger.warning("a reply subject that was noted late is not answered: too many at once")
            return
        self._late.put_nowait((kept.answer_key, reply))

    async def _tell_late_askers(self) -> None:
        """Tell who was heard when the request was answered already: whoever heard them was slow to say so."""
        while True:
            answer_key, reply = await self._late.get()
            try:
                payload = await self._store.published(answer_key, _patience())
                if payload is not None:
                    await self._store.publish(answer_key, reply, payload, {}, _patience())
            except UnavailableError as error:
                logger.warning("a reply subject that was noted late is not answered: %s", error.message)

    async def _askers_of(self, kept: KeptRequest, remaining_s: Callable[[], float]) -> Iterable[AskerNote]:
        if kept.attempt > 1:
            return await self._asker_notes.find_all(kept.digest, remaining_s)
        known = self._asker_notes.known(kept.digest)
        return known if of_request(known, kept.sent_at) else await self._store.askers(kept.digest, remaining_s)

    def _kept(self, message: Msg) -> KeptRequest:
        given, now = message.metadata, time.monotonic()
        digest = digest_of(message, self._header_user(message))
        age_s = self._clock.age_s(given.timestamp)
        holder = f"{given.stream}.{given.sequence.stream}.{given.timestamp.timestamp():.6f}"
        held_until, sent_at = now + self._take_over_s, given.timestamp.timestamp()
        return KeptRequest(
            message,
            digest,
            holder,
            given.num_delivered,
            age_s,
            now,
            held_until,
            sent_at=sent_at,
            names_user=self._names_user(message),
        )

    def _names_user(self, message: Msg) -> bool:
        kept_row = self._row_of(message.subject)
        parameters = kept_row.row.subject.parameters(message.subject) if kept_row else None
        return bool((parameters or {}).get("user_id") or self._header_user(message))

    def _header_user(self, message: Msg) -> str:
        return (message.headers or {}).get(self._user_header, "").strip() if self._user_header else ""

    def _row_of(self, subject: str) -> KeptRow | None:
        return next((kept for kept in self._rows if kept.row.subject.parameters(subject) is not None), None)

    async def _keep_holding(self, client: NatsClient) -> None:
        """Say of what is held that it is worked on, for as long as it is."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._take_over_s / 3):
                    await self._is_hurried.wait()
            self._is_hurried.clear()
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
            # What was not held for a while may be somebody else's by now.
            if said_at < kept.held_until:
                kept.held_until = max(kept.held_until, said_at + self._take_over_s)

    async def _look_after(self) -> None:
        """See again and again that requests can be kept, and what time it is at the server."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._store.check()
                    for stream in self._streams:
                        await self._set_clock(stream)
                    await self._look_how_long_to_hold()
            except (nats.errors.Error, TimeoutError) as error:
                self._full = f"requests cannot be kept: {_text(error)}"
                logger.warning("%s", self._full)
            else:
                self._full = ""

    async def _look_how_long_to_hold(self) -> None:
        """Hold by the shortest time that a consumer has or announces, and lower it to ours once all have seen that."""
        stream, wanted = self._connected.jetstream(), float(self._settings.take_over_s)
        found = {name: (await stream.consumer_info(name, REQUESTS_CONSUMER)).config for name in self._streams}
        announced = [(config.metadata or {}).get(_TAKE_OVER_S, "inf") for config in found.values()]
        shortest_s = min([wanted, *map(float, announced), *(config.ack_wait or wanted for config in found.values())])
        if shortest_s < self._take_over_s:
            self._is_hurried.set()
        self._take_over_s = shortest_s
        longer = {name: config for name, config in found.items() if (config.ack_wait or 0.0) > wanted}
        if not longer or shortest_s < wanted:
            return
        self._looks_until_lowered -= 1
        if self._looks_until_lowered < 0:
            for name, config in longer.items():
                await stream.add_consumer(name, config.evolve(ack_wait=wanted))

    async def _set_clock(self, stream: str) -> None:
        asked_at = time.monotonic()
        found = await self._connected.request(REQUESTS_CONSUMER_INFO.pattern.format(stream=stream), timeout=_FLUSH_S)
        if now := json.loads(found.data).get("ts"):
            self._clock.set(datetime.fromisoformat(now), asked_at)

    def _is_sure(self) -> bool:
        """Say whether the streams are there: a server that was found again may have lost them."""
        return bool(self._streams) and self._opened_at == self._connected.stats["reconnects"]

    def _hold_unsure(self, message: Msg) -> None:
        if len(self._unsure) < _MOST_UNSURE:
            self._unsure.append(_Unsure(message, time.monotonic()))
        else:
            logger.warning("a request on %s was left: too many came while their stream was away", message.subject)

    async def _take_unsure(self, client: NatsClient) -> None:
        """Take what was heard while its stream was away, and before it was made anew: no stream has it.

        What is sent again then may be worked on since before. Whoever does has a while to say so, before anybody takes
        anything.
        """
        if not self._has_taken and not self._unsure:
            return
        made_s = {stream: await self._made_s(client, stream) for stream in self._streams}
        pause_s = self._settings.take_over_s - min(made_s.values(), default=math.inf)
        if self._has_taken and pause_s > 0:
            await asyncio.sleep(pause_s)
            made_s = {stream: age_s + pause_s for stream, age_s in made_s.items()}
        unsure, self._unsure = self._unsure, []
        for one in unsure:
            kept_row = self._row_of(one.message.subject)
            # A stream that was there all the time has it.
            if kept_row and time.monotonic() - one.at > made_s[self._stream_of[kept_row.row.name]]:
                await kept_row.take(self._only_heard(one))

    async def _made_s(self, client: NatsClient, stream: str) -> float:
        """Return how many seconds ago a stream was made."""
        made = (await client.jetstream().stream_info(stream)).created
        return self._clock.age_s(made) if made else math.inf

    def _only_heard(self, one: _Unsure) -> KeptRequest:
        """Return a request that no stream has, and that nobody else is given therefore."""
        digest, now = digest_of(one.message, self._header_user(one.message)), time.monotonic()
        holder = f"heard.{secrets.token_hex(16)}"
        return KeptRequest(
            one.message,
            digest,
            holder,
            1,
            now - one.at,
            now,
            math.inf,
            one.message.reply,
            self._clock.now() - (now - one.at),
            self._names_user(one.message),
            is_in_stream=False,
        )

    async def _hear(self, message: Msg) -> None:
        await self._note(message)
        if not self._is_sure():
            self._hold_unsure(message)

    async def _note(self, message: Msg) -> None:
        now = self._clock.now()
        try:
            await self._asker_notes.note(digest_of(message, self._header_user(message)), message.reply, now)
        except nats.errors.Error as error:
            logger.warning("a reply subject on %s was not noted: %s", message.subject, _text(error))


def _are_of_one(kept: KeptRequest, notes: Iterable[AskerNote]) -> bool:
    return kept.is_of_one(note.reply_subject for note in notes)


def _patience() -> Callable[[], float]:
    until = time.monotonic() + _STORE_S
    return lambda: until - time.monotonic()


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
