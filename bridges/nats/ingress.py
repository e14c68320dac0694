"""The NATS ingress: takes requests from subjects, has the graph answer them, and nothing else.

nats-py runs the callbacks of a subscription one after another, so a callback only lets its message wait for its
turn, as `bridges.nats.admission` has it. Each request is then worked on by a task of its own.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import nats
import nats.errors
from google.protobuf.message import DecodeError, Message
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from opentelemetry.trace import SpanKind

from bridges.nats.admission import Admission, Refused, Ticket, row_limits
from bridges.nats.allowances import Allowances
from bridges.nats.answer_store import STORED_HEADER_BYTES
from bridges.nats.askers import Asker, Askers
from bridges.nats.connection import LastingConnection, NatsClient, is_cancelled
from bridges.nats.demands import check_sizes, demand_of
from bridges.nats.durable_intake import DurableIntake, KeptRow
from bridges.nats.micro_service import MicroService
from bridges.nats.once_answer import GivenBackError, KeptRequest, OnceAnswer
from bridges.nats.presence import Listeners
from bridges.nats.refusals import Refusals
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.nats.trust import Trust
from bridges.operations.activity import Activity
from bridges.operations.outcome import Outcome
from bridges.operations.readiness import is_ready
from bridges.operations.refused_requests import RefusedRequests
from bridges.requests import REQUESTS, Request
from bridges.subjects import REPLAY_HEADER, Delivery, Role, own_subjects
from deployments.call import Call
from deployments.errors import (
    DeadlineExceededError,
    HearthError,
    InternalError,
    InvalidRequestError,
    Limit,
    OverloadedError,
    PayloadTooLargeError,
    RequestEndedError,
    UnavailableError,
)
from deployments.graph.tracing import span, trace_of
from deployments.settings.orchestration import MilvusSettings, NatsSettings
from deployments.values.requests import RequestKind
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

_READY_POLL_S = 0.25
_READY_CALL_S = 5.0
_READY_LOG_EVERY_S = 10.0
_FLUSH_S = 5
_WATCH_S = 0.25
_GATHER_S = 0.1
"""Behind a refusal messages are read in batches: there are too many of them anyway."""
_OVERTIME_S = 1.0
"""For telling what was done when the deadline passed inside the graph, before the ingress ends it itself."""


_LEAST_S = 1.0
"""What each step of leaving has at least: for a server that answers, it is enough."""

_STOPPED = "the replica that had the request was stopped before it was done"


class _LeftOverError(Exception):
    """Requests could not even be ended in the time there is for leaving."""


class Handler(Protocol):
    """Translates the requests of one subject into graph calls, and their results into messages."""

    async def handle(self, call: Call, request: Any, reply: Reply) -> Outcome:
        """Answer a request; return what became of it."""
        ...

    async def fail(self, request: Any, error: HearthError, reply: Reply) -> None:
        """Answer a request that `handle` raised for, or that was refused."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A row of the requests with what answers it.

    Attributes:
        row: The row.
        handler: Answers its requests.
        timeout_s: Time that a request has from its arrival.
    """

    row: Request
    handler: Handler
    timeout_s: float


class Metrics(Protocol):
    """Counts requests."""

    def ended(self, subject: str, outcome: Outcome, seconds: float) -> None:
        """Count a request on a subject's pattern that took `seconds` since it arrived."""
        ...

    def refused(self, subject: str, outcome: Outcome, number: int) -> None:
        """Count requests on a subject's pattern that were refused without any work."""
        ...

    def open(self, in_flight: int, waiting: int) -> None:
        """Say how many requests are worked on and wait now."""
        ...


@dataclass(frozen=True, slots=True)
class OpenRequests:
    """What an ingress has.

    Attributes:
        in_flight: Requests that it works on.
        waiting: Requests that wait for their turn, by the service that does the work. What is answered at once is not
            among them.
        kept: Requests of a stream that it holds.
        backlog: Requests that are in the streams and not answered, whoever holds them; None where that is not known.
        kept_for: The services whose requests are kept.
    """

    in_flight: int
    waiting: Mapping[str, int]
    kept: int = 0
    backlog: int | None = None
    kept_for: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Arrived:
    endpoint: Endpoint
    message: Msg
    arrived: float
    deadline: float
    asker: Asker
    kept: KeptRequest | None = None


class Ingress:
    """One connection to NATS and the requests that come over it.

    Args:
        settings: Where NATS is and how much is taken from it.
        endpoints: What is answered.
        components: Asks the graph how it is; requests are taken once everything required is ready.
        connected: Called with the connection before requests are taken.
        metrics: Counts requests.
        activity: Is told what is done, and what failed.
        refusals: Is told what the server does not permit.
        allowances: What each user may take. By default of this ingress alone, and as the settings say.
        durable: Takes the requests that are kept until they are answered; None where none are.
    """

    def __init__(
        self,
        settings: NatsSettings,
        endpoints: Sequence[Endpoint],
        components: Callable[[Call], Awaitable[tuple[ComponentStatus, ...]]],
        connected: Callable[[NatsClient], Awaitable[None]],
        metrics: Metrics,
        activity: Activity | None = None,
        refusals: Refusals | None = None,
        allowances: Allowances | None = None,
        durable: DurableIntake | None = None,
    ) -> None:
        self._settings = settings
        self._askers = Askers.of(settings)
        self._allowances = allowances or Allowances.of(settings, MilvusSettings())
        self._durable = durable
        self._durable_rows = frozenset(settings.durable.rows if durable else ())
        self._endpoints = endpoints
        self._components = components
        self._connected = connected
        self._metrics = metrics
        self._activity = activity or Activity()
        self._connection = LastingConnection(settings, "hearth-ingress", refusals or Refusals(Role.NATS_INGRESS))
        self._client = self._connection.client
        self._admission: Admission[_Arrived] = Admission(
            {endpoint.row.name: row_limits(endpoint.row, settings) for endpoint in endpoints},
            settings.max_in_flight,
            settings.order,
            settings.user_share,
        )
        self._refused = RefusedRequests()
        self._patterns = {endpoint.row.name: endpoint.row.subject.pattern for endpoint in endpoints}
        self._services = {endpoint.row.name: endpoint.row.service_name for endpoint in endpoints}
        self._idle = asyncio.Event()
        self._trust = Trust.of(settings)
        self._service = MicroService([endpoint.row for endpoint in endpoints], settings.queue_group, self._trust)
        self._listeners = Listeners()
        self._subscriptions: list[Subscription] = []
        self._leaving = asyncio.Event()
        self._drained = asyncio.Event()
        self._stopping = asyncio.Event()
        self._serving = asyncio.Event()
        self._handling: set[asyncio.Timeout] = set()
        self._is_out_of_time = False

    async def run(self) -> None:
        """Connect, wait for the graph, and take requests until `drain` or `stop`; finish them; return after `stop`.

        The connection stands until then: what is done outside of requests may still need it.
        """
        try:
            if await self._connection.open(self._leaving):
                await self._serve_when_ready()
            self._drained.set()
            await self._stopping.wait()
        finally:
            self._serving.clear()
            self._drained.set()
            await self._connection.close()

    async def drain(self) -> None:
        """Take no more requests, for good, and return when those that were taken are answered."""
        self._leaving.set()
        await self._drained.wait()

    def stop(self) -> None:
        """Take no more requests; `run` returns when those that were taken are answered."""
        self._leaving.set()
        self._stopping.set()

    def held(self) -> dict[str, int]:
        """Return how many requests were taken and are not answered yet, by their subject's pattern."""
        return {self._patterns[name]: number for name, number in self._admission.held().items()}

    async def open_requests(self) -> OpenRequests:
        """Return what is worked on and what waits. The server is asked for what is kept, for two seconds at most."""
        waiting: Counter[str] = Counter()
        for name, number in self._admission.waiting_by_row().items():
            waiting[self._services[name]] += number
        if self._durable is None:
            return OpenRequests(self._admission.in_flight, waiting)
        backlog = await self._durable.backlog()
        kept_for = frozenset(service for name, service in self._services.items() if name in self._durable_rows)
        return OpenRequests(self._admission.in_flight, waiting, self._durable.held, backlog, kept_for)

    def is_serving(self) -> bool:
        """Say whether requests are taken: the connection stands, and the queue group was joined and not left."""
        return self._serving.is_set() and not self._leaving.is_set() and self._client.is_connected

    def fault(self) -> str:
        """Return what keeps requests from being taken now, in words; empty for nothing."""
        return self._connection.fault() or ("" if self.is_serving() else "no requests are taken")

    async def wait_until_serving(self) -> None:
        """Return once requests are taken."""
        await self._serving.wait()

    def check(self) -> None:
        """Raise `UnavailableError` when the connection is closed for good; one that is not there yet may still come."""
        if not self._drained.is_set():
            self._connection.check()

    async def _serve_when_ready(self) -> None:
        """Take requests, once the graph is ready, until `drain` or `stop`, and finish them."""
        try:
            async with asyncio.TaskGroup() as group:
                if self._durable:
                    self._durable.connect(self._client, self._kept_rows(group))
                if await self._until_ready():
                    await self._serve(group)
        except* _LeftOverError as errors:
            logger.warning("%s", errors.exceptions[0])

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        watching = [group.create_task(self._keep_watch(group))]
        await self._connected(self._client)
        await self._subscribe(group)
        if self._durable:
            watching.append(group.create_task(self._durable.run()))
        self._serving.set()
        logger.info("taking requests as queue group %r", self._settings.queue_group)
        await self._leaving.wait()
        await self._leave()
        for watch in watching:
            watch.cancel()
        self._count()

    async def _until_ready(self) -> bool:
        """Wait for the graph; return False when drained or stopped before it was ready."""
        logged = 0.0
        while not self._leaving.is_set():
            components = await self._components(Call.within(_READY_CALL_S, "readiness"))
            if is_ready(components):
                return True
            if time.monotonic() - logged > _READY_LOG_EVERY_S:
                logged = time.monotonic()
                missing = [f"{part.name} ({part.detail})" for part in components if part.required and not part.ready]
                logger.info("waiting for %s", ", ".join(missing))
            await asyncio.sleep(_READY_POLL_S)
        return False

    async def _subscribe(self, group: asyncio.TaskGroup) -> None:
        # Heard until the connection is closed, so it is not among those that are drained.
        await self._listeners.subscribe(self._client)
        for endpoint in self._endpoints:
            if endpoint.row.name in self._durable_rows:
                continue
            self._subscriptions.append(
                await self._client.subscribe(
                    endpoint.row.subject.wildcard, queue=self._settings.queue_group, cb=self._callback(endpoint, group)
                )
            )
        if self._durable:
            await self._durable.subscribe()
        self._subscriptions.extend(await self._service.subscribe(self._client))
        await self._client.flush()

    def _callback(self, endpoint: Endpoint, group: asyncio.TaskGroup) -> Callable[[Msg], Awaitable[None]]:
        async def admit(message: Msg) -> None:
            now = time.monotonic()
            asker = self._askers.asker(endpoint.row, message)
            request = _Arrived(endpoint, message, now, now + endpoint.timeout_s, asker)
            for refused, refusal in self._admit(request, group):
                await self._turn_away(refused, refusal, group)

        return admit

    def _admit(self, request: _Arrived, group: asyncio.TaskGroup) -> list[tuple[_Arrived, HearthError]]:
        """Let a request wait, and begin with whose turn it is; return those that are refused for it, and why."""
        row = request.endpoint.row
        if refusal := self._allowances.opened(request.asker, row.name):
            return [(request, refusal)]
        size = len(request.message.data)
        ticket = Ticket(row.name, request.asker.key, size, request.arrived, request.deadline, request)
        refused = self._admission.offer(ticket)
        self._begin(group)
        return [(one.ticket.request, _overloaded(one)) for one in refused]

    def _kept_rows(self, group: asyncio.TaskGroup) -> list[KeptRow]:
        """Return the rows whose requests are taken from streams."""
        kept = [endpoint for endpoint in self._endpoints if endpoint.row.name in self._durable_rows]
        return [KeptRow(endpoint.row, endpoint.timeout_s, self._taker(endpoint, group)) for endpoint in kept]

    def _taker(self, endpoint: Endpoint, group: asyncio.TaskGroup) -> Callable[[KeptRequest], Awaitable[None]]:
        async def take(kept: KeptRequest) -> None:
            deadline = kept.taken_at + endpoint.timeout_s - kept.age_s
            asker = self._askers.asker(endpoint.row, kept)
            request = _Arrived(endpoint, kept.message, kept.taken_at, deadline, asker, kept)
            # Each of these speaks with the server, which the next message does not wait for.
            if self._durable and self._durable.is_spent(kept):
                group.create_task(self._give_up(request, self._durable, group))
            else:
                self._admit_kept(request, group)

        return take

    def _admit_kept(self, request: _Arrived, group: asyncio.TaskGroup) -> None:
        """Let a request wait that its stream gave out, unless its time is over."""
        if request.deadline <= request.arrived:
            group.create_task(self._answer_uncounted(request, _too_late(request.endpoint)))
            return
        for refused, refusal in self._admit(request, group):
            group.create_task(self._answer(refused, refusal))

    async def _give_up(self, request: _Arrived, durable: DurableIntake, group: asyncio.TaskGroup) -> None:
        """Park a request that was begun too often, and tell its client."""
        assert request.kept  # noqa: S101 - only these are begun more than once
        try:
            reason = await durable.give_up(request.endpoint.row, request.kept, _request_id(request))
        except GivenBackError as error:
            self._log_given_back(request, error)
            durable.let_go(request.kept)
            return
        if reason:
            await self._answer_uncounted(request, InternalError(f"the request was given up: {reason}"))
        else:
            self._admit_kept(request, group)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        """Begin with every request whose turn it is."""
        while ticket := self._admission.take(time.monotonic()):
            group.create_task(self._work(ticket, group))
        self._activity.open(self._admission.in_flight, self._admission.waiting)

    async def _leave(self) -> None:
        """Leave the queue groups, then wait for the requests that were taken and are not left to others."""
        logger.info("leaving queue group %r", self._settings.queue_group)
        until = time.monotonic() + self._settings.leave_within_s
        if self._durable:
            await self._durable.leave(max(_LEAST_S, self._settings.leave_within_s / 2))
            await self._hand_back(self._durable)
        await self._leave_queues(min(_FLUSH_S, max(_LEAST_S, until - time.monotonic())))
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await self._until_idle()
        except TimeoutError:
            await self._end_all()
        await self._flush_at_last()

    async def _leave_queues(self, within_s: float) -> None:
        try:
            await self._client.leave(self._subscriptions, within_s)
        except (nats.errors.Error, TimeoutError) as error:
            # Without a server nothing more arrives; what was taken is still worked off.
            logger.warning("the queue group could not be left in good order: %s", str(error) or type(error).__name__)

    async def _flush_at_last(self) -> None:
        if not self._client.is_connected:
            return
        try:
            async with asyncio.timeout(_LEAST_S):
                await self._client.flush(_FLUSH_S)
        except (nats.errors.Error, TimeoutError) as error:
            logger.warning("it is not known whether the last answers went out: %s", str(error) or type(error).__name__)

    async def _hand_back(self, durable: DurableIntake) -> None:
        """Leave the requests that wait and are kept to other ingresses, which may have places for them now."""
        requests = self._admission.withdraw(
            lambda request: request.kept is not None and durable.may_hand_back(request.kept)
        )
        for request in requests:
            self._allowances.closed(request.asker, request.endpoint.row.name)
            if request.kept:
                await durable.hand_back(request.kept)
        if requests:
            logger.info("%d requests that waited are left to other ingresses", len(requests))

    async def _end_all(self) -> None:
        """End what is still worked on, and what waits for its turn.

        Raises:
            _LeftOverError: Some cannot be ended, as where they wait for a server that does not answer.
        """
        number = sum(self._admission.held().values())
        logger.warning("%d requests are not done in %g s, and are ended", number, self._settings.leave_within_s)
        self._is_out_of_time = True
        waiting = self._admission.withdraw(lambda _: True)
        for handling in self._handling:
            handling.reschedule(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(_LEAST_S):
                for request in waiting:
                    await self._answer(request, UnavailableError(_STOPPED))
                await self._until_idle()
        except TimeoutError:
            left = sum(self._admission.held().values())
            raise _LeftOverError(f"{left} requests are left as they are: they could not be ended in time") from None

    async def _until_idle(self) -> None:
        """Wait until nothing waits and nothing is worked on."""
        while self._admission.held():
            self._idle.clear()
            await self._idle.wait()

    async def _work(self, ticket: Ticket[_Arrived], group: asyncio.TaskGroup) -> None:
        """Have one request answered, then begin with those whose turn it is."""
        try:
            await self._answer(ticket.request)
        finally:
            self._admission.ended(ticket, time.monotonic())
            self._idle.set()
            self._begin(group)

    async def _keep_watch(self, group: asyncio.TaskGroup) -> None:
        """Answer those that have waited too long, while others are worked on, and count what there is to count."""
        while True:
            await asyncio.sleep(min(_WATCH_S, self._settings.max_wait_s / 4))
            self._count()
            for refused in self._admission.overdue(time.monotonic()):
                # Others are refused meanwhile, and none waits for another one's.
                group.create_task(self._answer(refused.ticket.request, _overloaded(refused)))
                self._idle.set()
            self._begin(group)

    async def _turn_away(self, request: _Arrived, refusal: HearthError, group: asyncio.TaskGroup) -> None:
        """Have a request refused that has just come."""
        self._client.gather(_GATHER_S)
        if request.endpoint.row.kind is RequestKind.CONTROL:
            # That a trigger is refused has to be kept, and a server that is slow would hold up those behind it.
            group.create_task(self._answer(request, refusal))
        else:
            await self._answer(request, refusal)

    def _count(self) -> None:
        """Count what is open, and the requests that were refused since the last time; no request is touched by it."""
        try:
            self._metrics.open(self._admission.in_flight, self._admission.waiting)
            self._activity.open(self._admission.in_flight, self._admission.waiting)
            for refusal in self._refused.take():
                self._metrics.refused(refusal.subject, Outcome(refusal.kind), refusal.number)
                if refusal.untold:
                    logger.info("%s", refusal.log_line())
        except Exception:
            # Of whatever kind: requests are answered where a metric cannot be counted.
            logger.exception("requests could not be counted")

    async def _answer(self, request: _Arrived, refusal: HearthError | None = None) -> None:
        """Have one request answered, or refused, that its asker's open requests count."""
        try:
            await self._answer_uncounted(request, refusal)
        finally:
            self._allowances.closed(request.asker, request.endpoint.row.name)

    async def _answer_uncounted(self, request: _Arrived, refusal: HearthError | None = None) -> None:
        """Have one request answered, or refused; whatever happens, no other request is touched by it."""
        try:
            await self._answer_and_record(request, refusal)
        except Exception:
            # Of whatever kind: what fails here is a metric, a span or a line of the log. A log that fails cannot tell.
            with contextlib.suppress(Exception):
                logger.exception("a request on %s could not be recorded", request.message.subject)

    async def _answer_and_record(self, request: _Arrived, refusal: HearthError | None) -> None:
        """Have one request answered, or refused: it ends in one final message and one log line."""
        pattern = request.endpoint.row.subject.pattern
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.template": pattern,
            "messaging.consumer.group.name": self._settings.queue_group,
            "messaging.message.body.size": len(request.message.data),
        }
        waited_ns = int((time.monotonic() - request.arrived) * 1e9)
        parent = trace_of(request.message.headers)
        begun = time.time_ns() - waited_ns
        with span(f"process {pattern}", SpanKind.CONSUMER, parent, attributes, begun) as traced:
            identity = traced.trace_id or secrets.token_hex(16)
            outcome = await self._outcome(request, Call(identity, request.deadline, traced.trace), refusal)
            if outcome.error_kind:
                traced.failed(outcome.error_kind)
            if outcome.thought_tokens:
                traced.set("gen_ai.usage.reasoning.output_tokens", outcome.thought_tokens)
            if outcome.request_id:
                traced.set("messaging.message.conversation_id", outcome.request_id)
        self._allowances.heard(request.asker, outcome.heard_s)
        self._record(request, outcome, identity, was_taken=refusal is None)

    def _record(self, request: _Arrived, outcome: Outcome, identity: str, *, was_taken: bool) -> None:
        row = request.endpoint.row
        pattern = row.subject.pattern
        now = time.monotonic()
        seconds = now - request.arrived
        self._service.statistics[row.name].record(seconds, outcome.error_kind)
        if outcome.error_kind:
            self._activity.failed(pattern, outcome.error_kind)
        if was_taken:
            self._metrics.ended(pattern, outcome, seconds)
        elif not self._refused.add(pattern, outcome.error_kind, now):
            return
        line = outcome.log_line(
            subject=pattern,
            trace_id=identity,
            request_bytes=len(request.message.data),
            seconds=seconds,
            with_text=self._settings.log_text,
        )
        logger.info("%s", line)

    async def _outcome(self, request: _Arrived, call: Call, refusal: HearthError | None) -> Outcome:
        if request.kept is None or self._durable is None:
            return await self._outcome_of(request, call, refusal)
        try:
            outcome = await self._outcome_of(request, call, refusal)
            await self._durable.settle(request.kept)
        except GivenBackError as error:
            self._log_given_back(request, error)
            return Outcome(RequestEndedError.kind, error=str(error))
        finally:
            self._durable.let_go(request.kept)
        return outcome

    def _log_given_back(self, request: _Arrived, error: GivenBackError) -> None:
        logger.warning("a request on %s is left to its stream: %s", request.message.subject, error)

    async def _outcome_of(self, request: _Arrived, call: Call, refusal: HearthError | None) -> Outcome:
        row = request.endpoint.row
        # A refusal that goes to the reply subject alone needs nothing of the payload, which may be large.
        payload = b"" if refusal and not row.answers else request.message.data
        try:
            message = _decode(row, payload)
        except InvalidRequestError as error:
            reply = self._reply(request, call, None)
            if await self._begins(reply):
                await self._deliver(reply.refuse(error))
            return Outcome(error.kind, error=error.message)
        reply = self._reply(request, call, message)
        if not await self._begins(reply):
            return Outcome(request_id=getattr(message, "request_id", ""))
        try:
            if refusal:
                raise refusal
            return await self._handled(request, call, message, reply)
        except HearthError as error:
            if reply.is_final:
                logger.warning("request on %s failed behind its answer: %s", request.message.subject, error.message)
            else:
                if error.retryable and isinstance(reply.once, OnceAnswer):
                    reply.once.refuse_for_now()
                await self._deliver(request.endpoint.handler.fail(message, error, reply))
            return Outcome(error.kind, error=error.message)

    async def _handled(self, request: _Arrived, call: Call, message: Message | None, reply: Reply) -> Outcome:
        """Have a request answered by its handler.

        Raises:
            HearthError: It was not, whatever the reason.
            GivenBackError: It is left to its stream.
        """
        try:
            check_sizes(message, self._settings.sizes)
            self._allowances.take(request.asker, demand_of(message))
            async with asyncio.timeout(call.remaining() + _OVERTIME_S) as handling:
                with self._may_be_ended(handling):
                    return await request.endpoint.handler.handle(call, message, reply)
        except (GivenBackError, HearthError):
            raise
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # What it waited for was, and not this request.
            raise RequestEndedError("it was ended inside the graph") from None
        except TimeoutError:
            if self._is_out_of_time and call.remaining() > 0:
                await self._leave_to_others(request)
                raise UnavailableError(_STOPPED) from None
            timeout_s = request.endpoint.timeout_s
            raise DeadlineExceededError(
                f"no answer within {timeout_s:g} s", limit=Limit("timeout_s", timeout_s)
            ) from None
        except Exception:
            logger.exception("request on %s failed", request.message.subject)
            raise InternalError("the request failed inside the ingress") from None

    @contextlib.contextmanager
    def _may_be_ended(self, handling: asyncio.Timeout) -> Generator[None]:
        """Let the time of what is done in the block be over when this ingress has to stop."""
        self._handling.add(handling)
        try:
            yield
        finally:
            self._handling.discard(handling)

    async def _leave_to_others(self, request: _Arrived) -> None:
        """Leave a request that was begun and ended here to other ingresses, where it is kept.

        Raises:
            GivenBackError: It is left.
        """
        kept = request.kept
        if kept and self._durable and self._durable.may_hand_back(kept):
            await self._durable.hand_back(kept)
            raise GivenBackError(_STOPPED)

    async def _deliver(self, sending: Awaitable[None]) -> None:
        """Send an error's message; when even that fails, the log line stands for it."""
        try:
            await sending
        except GivenBackError:
            raise
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            logger.warning("an error was not told to its client: what it waited for was cancelled")
        except Exception:
            # Of whatever kind: a worker that ended would take all others, and their requests, with it.
            logger.exception("an error could not be told to its client")

    async def _begins(self, reply: Reply) -> bool:
        """Say whether a request is to be answered: one that is kept may have been, by another replica."""
        return await reply.once.begin() if isinstance(reply.once, OnceAnswer) else True

    def _reply(self, request: _Arrived, call: Call, decoded: Message | None) -> Reply:
        message, row = request.message, request.endpoint.row
        parameters = row.subject.parameters(message.subject) or {}
        request_id = getattr(decoded, "request_id", "")
        own = own_subjects(row.answers, {"request_id": request_id, **parameters})

        def allows(reply_subject: str) -> bool:
            if not reply_subject or self._trust.allows_reply(reply_subject, own):
                return bool(reply_subject)
            logger.warning(
                "a request on %s is not answered on its reply subject %s: no inbox, none of nats.answer_subjects",
                message.subject,
                reply_subject,
            )
            return False

        names = self._allowances.names(request.asker)
        if request.kept and self._durable:
            sender = Sender(self._client, self._listeners, dict(call.trace), STORED_HEADER_BYTES)
            once = self._durable.answer(request.kept, request_id, sender, allows, request.deadline)
            # An operator who sends a dead letter again is not who asked.
            is_replay = REPLAY_HEADER in (message.headers or {})
            reply_subject = request.kept.reply if not is_replay and allows(request.kept.reply) else ""
            return Reply(sender, message.subject, parameters, reply_subject, own, names, once=once)
        sender = Sender(self._client, self._listeners, dict(call.trace))
        reply_subject = message.reply if allows(message.reply) else ""
        return Reply(sender, message.subject, parameters, reply_subject, own, names)


def _request_id(request: _Arrived) -> str:
    """Return the client's id of a request; empty where it gave none, or none that can be read."""
    try:
        return getattr(_decode(request.endpoint.row, request.message.data), "request_id", "")
    except InvalidRequestError:
        return ""


def _overloaded(refused: Refused[_Arrived]) -> HearthError:
    """Return what the client of a refused request is told."""
    allowed, row = refused.allowed, refused.ticket.request.endpoint.row
    limit = Limit(f"nats.limits.{row.name}.{refused.limit}", allowed, refused.given)
    match refused.limit:
        case "wait_s":
            return OverloadedError(f"it waited for longer than {allowed:g} s", limit=limit)
        case "held_bytes" if refused.ticket.size > allowed:
            return PayloadTooLargeError(
                f"the request takes {refused.ticket.size} bytes; {allowed:.0f} were expected at most", limit=limit
            )
        case "held_bytes":
            return OverloadedError(f"{allowed:.0f} bytes of such requests are held already", limit=limit)
        case _:
            return OverloadedError(
                f"{allowed:.0f} such requests wait already",
                # By then none of those that wait now does so any more.
                retry_after_s=refused.wait_s,
                limit=limit,
            )


def _too_late(endpoint: Endpoint) -> DeadlineExceededError:
    """Return what the client of a request is told that was found in its stream when its time was over."""
    timeout_s = endpoint.timeout_s
    return DeadlineExceededError(f"it was not begun within {timeout_s:g} s", limit=Limit("timeout_s", timeout_s))


def endpoints(
    taken_by: Role, handlers: Mapping[str, Handler], timeouts_s: Mapping[str, float], default_s: float
) -> list[Endpoint]:
    """Join the requests that one ingress takes in a queue group with their handlers.

    Args:
        taken_by: The ingress.
        handlers: By the row's name; every row needs one.
        timeouts_s: By the row's name, where it differs from
        default_s: the usual one.
    """
    rows = [row for row in REQUESTS if row.taken_by is taken_by and Delivery.QUEUE_GROUP in row.subject.delivery]
    return [Endpoint(row, handlers[row.name], timeouts_s.get(row.name, default_s)) for row in rows]


def _decode(row: Request, payload: bytes) -> Message | None:
    if row.message is None:
        return None
    message = row.message()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise InvalidRequestError(f"the payload is not a {row.subject.message_type}") from error
    return message
