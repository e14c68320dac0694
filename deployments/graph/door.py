"""The one door to deployment handles: every call and every stream between deployments passes here.

Nothing else in Hearth touches `.remote(`; a test holds that. What the door adds to a bare handle:

* The deadline. Ray holds a call for as long as a replica is missing, so the caller brings the clock.
* Cancellation. Leaving a stream, or cancelling the task that waits for it, does not stop the replica that
  makes it; `response.cancel()` does, within milliseconds and through every handle below, and is called
  whenever a call ends before its answer.
* Errors. Ray's become the closed family of `deployments.errors`; ours pass as they are.
* Another replica. A call whose replica is lost before it said anything is made again, twice at most: Serve does so only
  for calls that had not reached a replica. So what a service is asked must be such that it may be asked twice.
* The span, where the call belongs to a trace.
* The transport. Handles use Serve's gRPC transport, which costs about half of the default's CPU and takes 4 ms
  instead of 50 to a stream's first item (both measured on 2 cores with Ray 2.60). It holds a message to
  `RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH`, 4 MiB by default.
* Batching. A streamed item costs hundreds of microseconds, so what is ready together travels together:
  `deployments.graph.batching` makes lists on the replica's side, and the door takes them apart again.

A service that the configuration puts into the replica of its caller is reached through the same door, in process:
with the same deadline, the same cancellation and the same errors.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar, cast

from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, RayServeException, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from deployments.backoff import Backoff, retry
from deployments.call import Call
from deployments.errors import (
    DeadlineExceededError,
    HearthError,
    InternalError,
    Limit,
    OverloadedError,
    PayloadTooLargeError,
    ReplicaLostError,
    RequestEndedError,
    UnavailableError,
)
from deployments.graph.batching import Batch, StreamEnd
from deployments.graph.deadline import StreamDeadline
from deployments.graph.tracing import call_span, stream_span

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CALLED_AGAIN = 2
"""A call that ends each replica that takes it must not end one after the other."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 0.5
_NO_METHOD = "Tried to call a method"
"""Serve has no class of its own for this."""


class Door(Protocol):
    """A way to the methods of one deployment.

    Every method takes the call first. Arguments and results are plain values that can be pickled.
    """

    async def call(self, call: Call, method: str, /, *arguments: object, **named: object) -> Any:
        """Return what `method` returns.

        Raises:
            HearthError: What the method raised, or what kept it from answering.
        """
        ...

    def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        """Yield the items that `method` yields; close the generator to stop the work below it.

        Raises:
            HearthError: What the method raised, or what kept it from going on.
        """
        ...


class MethodHandles:
    """The handles of one deployment's methods: the one place where the transport is chosen.

    Args:
        find_handle: Finds the deployment's handle. Called at the first use and again after it failed, so that
            an application may start before the one it depends on.
        serialization: Of requests and responses: "pickle", or "cloudpickle".
    """

    def __init__(self, find_handle: Callable[[], DeploymentHandle[Any]], *, serialization: str) -> None:
        self._find_handle = find_handle
        self._serialization = serialization
        self._handle: DeploymentHandle[Any] | None = None
        self._methods: dict[tuple[str, bool], DeploymentHandle[Any]] = {}

    async def start(
        self, call: Call, method: str, arguments: tuple[object, ...], named: dict[str, object], *, stream: bool
    ) -> Any:
        """Start a request, and return Serve's response to it.

        The session of the call goes with it. A deployment whose request router heeds sessions, such as Serve's
        `ConsistentHashRouter`, then answers all requests of a session with one replica.
        """
        if self._handle is None:
            # It asks Serve's controller and waits for the answer.
            self._handle = await asyncio.to_thread(self._find_handle)
        handle = self._method(self._handle, method, stream=stream)
        if call.session:
            handle = handle.options(session_id=call.session)
        return handle.remote(*arguments, **named)

    def _method(self, handle: DeploymentHandle[Any], method: str, *, stream: bool) -> DeploymentHandle[Any]:
        bound = self._methods.get((method, stream))
        if bound is None:
            bound = handle.options(
                method_name=method,
                stream=stream,
                _by_reference=False,
                request_serialization=self._serialization,
                response_serialization=self._serialization,
            )
            self._methods[method, stream] = bound
        return bound


async def answer_of(call: Call, response: Any, translate: Callable[[Exception], HearthError]) -> Any:
    """Return the answer that a response of Serve brings; cancel the request unless it came.

    Raises:
        HearthError: What `translate` makes of what was raised, `TimeoutError` where the call's time is over.
    """
    answered = False
    try:
        async with asyncio.timeout(call.remaining()):
            result = await response
        answered = True
    except Exception as error:
        raise translate(error) from error
    finally:
        if not answered:
            response.cancel()
    return result


class HandleDoor:
    """The door to a deployment of the Serve graph.

    Args:
        find_handle: Finds the deployment's handle. Called at the first use and again after it failed, so that
            an application may start before the one it depends on.
        name: The service, for messages.
        prefix: What the names of its methods begin with in the deployment.
    """

    def __init__(self, find_handle: Callable[[], DeploymentHandle[Any]], name: str, *, prefix: str = "") -> None:
        self._name = name
        self._prefix = prefix
        # Values and errors are of importable classes, so plain pickle does; the default also takes closures, and takes
        # longer.
        self._handles = MethodHandles(find_handle, serialization="pickle")
        self._ending: set[asyncio.Task[None]] = set()

    async def call(self, call: Call, method: str, /, *arguments: object, **named: object) -> Any:
        """See `Door.call`."""
        call.check(f"{self._name}.{method}")

        async def answered() -> Any:
            response = await self._start(call, method, arguments, named, stream=False)
            return await answer_of(call, response, lambda error: self._translate(error, method))

        return await _with_another_replica(call, answered)

    async def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        """See `Door.stream`."""
        call.check(f"{self._name}.{method}")
        with StreamDeadline(call.remaining()) as deadline:
            response, items = await _with_another_replica(
                call, lambda: self._begun(deadline, call, method, arguments, named)
            )
            exhausted = False
            try:
                while items is not None:
                    for item in items:
                        if item is StreamEnd.END:
                            exhausted = True
                            self._let_end(call, response)
                            return
                        yield item
                    items = await self._next(deadline, response, method)
                exhausted = True
            finally:
                if not exhausted:
                    response.cancel()

    async def _begun(
        self,
        deadline: StreamDeadline,
        call: Call,
        method: str,
        arguments: tuple[object, ...],
        named: dict[str, object],
    ) -> tuple[Any, "Batch[object] | None"]:
        """Start a stream; return the response and what comes first."""
        response = await self._start(call, method, arguments, named, stream=True)
        begun = False
        try:
            items = await self._next(deadline, response, method)
            begun = True
        finally:
            if not begun:
                response.cancel()
        return response, items

    async def _next(self, deadline: StreamDeadline, response: Any, method: str) -> "Batch[object] | None":
        """Return what comes next in a stream; None at its end."""
        try:
            return cast("Batch[object]", await deadline.next_of(response))
        except StopAsyncIteration:
            return None
        except Exception as error:
            raise self._translate(error, method) from error

    def _let_end(self, call: Call, response: Any) -> None:
        """Read the end of a stream that has said all, so that its replica sees it end and not be left."""

        async def read() -> None:
            try:
                async with asyncio.timeout(call.remaining()):
                    await anext(response, None)
            except Exception as error:  # noqa: BLE001 - whatever it is, the stream has said all
                response.cancel()
                logger.info("a stream from %s ended badly: %s", self._name, error)

        task = asyncio.create_task(read())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _start(
        self, call: Call, method: str, arguments: tuple[object, ...], named: dict[str, object], *, stream: bool
    ) -> Any:
        try:
            return await self._handles.start(call, f"{self._prefix}{method}", (call, *arguments), named, stream=stream)
        except (RayError, RayServeException) as error:
            raise self._translate(error, method) from error

    def _translate(self, error: Exception, method: str) -> HearthError:
        return translate(error, f"{self._name}.{method}")


async def _with_another_replica(call: Call, work: Callable[[], Awaitable[T]]) -> T:
    """Return what some work returns, done again where a replica is lost in it.

    Raises:
        HearthError: Of the work. One that lost every replica is no `ReplicaLostError` any more: nobody above is to try
            that again.
    """

    def failed(error: HearthError) -> None:
        logger.warning("request %s is given to another replica: %s", call.request_id, error.message)

    backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, pauses=_CALLED_AGAIN)
    try:
        return await retry(work, backoff, on=ReplicaLostError, remaining_s=call.remaining, failed=failed)
    except ReplicaLostError as error:
        raise UnavailableError(error.reason) from error


class InProcessDoor:
    """The door to a service that runs in the replica of its caller.

    Args:
        service: What a deployment would wrap: the same methods, with single items where they stream.
        name: The deployment that it would be, for messages.
    """

    def __init__(self, service: object, name: str) -> None:
        self._service = service
        self._name = name

    async def call(self, call: Call, method: str, /, *arguments: object, **named: object) -> Any:
        """See `Door.call`."""
        call.check(f"{self._name}.{method}")
        try:
            async with asyncio.timeout(call.remaining()):
                return await getattr(self._service, method)(call, *arguments, **named)
        except Exception as error:
            raise self._translate(error, method) from error

    async def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        """See `Door.stream`."""
        call.check(f"{self._name}.{method}")
        items = getattr(self._service, method)(call, *arguments, **named)
        with StreamDeadline(call.remaining()) as deadline:
            async with aclosing(items):
                while True:
                    try:
                        item = await deadline.next_of(items)
                    except StopAsyncIteration:
                        return
                    except Exception as error:
                        raise self._translate(error, method) from error
                    yield item

    def _translate(self, error: Exception, method: str) -> HearthError:
        if not isinstance(error, HearthError | TimeoutError):
            # Where a handle is crossed, Serve writes this.
            logger.error("%s.%s failed", self._name, method, exc_info=error)
        return translate(error, f"{self._name}.{method}")


class TracedDoor:
    """A door whose calls are spans, where they belong to a trace.

    Args:
        door: Where the calls go.
        name: The deployment's name, for the spans.
    """

    def __init__(self, door: Door, name: str) -> None:
        self._door = door
        self._name = name

    async def call(self, call: Call, method: str, /, *arguments: object, **named: object) -> Any:
        """See `Door.call`."""
        with call_span(call, self._name, method) as traced:
            return await self._door.call(traced, method, *arguments, **named)

    def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        """See `Door.stream`."""
        return stream_span(
            call, self._name, method, lambda traced: self._door.stream(traced, method, *arguments, **named)
        )


def in_process_door(service: object, name: str) -> Door:
    """Return the door to a service that runs in this process: see `InProcessDoor`."""
    return TracedDoor(InProcessDoor(service, name), name)


def application_door(application: str, name: str, deployment: str, *, prefix: str = "") -> Door:
    """Return the door to a deployment of another Serve application, which need not run yet.

    Args:
        application: Its name.
        name: The service, for messages and spans.
        deployment: The deployment that answers for it.
        prefix: What the names of its methods begin with there.
    """

    def find() -> DeploymentHandle[Any]:
        try:
            return cast("DeploymentHandle[Any]", serve.get_deployment_handle(deployment, application))
        except KeyError as error:
            raise UnavailableError(f"{name} cannot be called: no application {application!r} is deployed") from error

    return TracedDoor(HandleDoor(find, name, prefix=prefix), name)


def handle_door(handle: DeploymentHandle[Any]) -> Door:
    """Return the door to a deployment of the same application."""
    name = handle.deployment_name
    return TracedDoor(HandleDoor(lambda: handle, name), name)


def translate(error: BaseException, doing: str) -> HearthError:
    """Turn what a handle raised into one of the closed family.

    Args:
        error: Anything but `asyncio.CancelledError`, which is the caller's own and passes through.
        doing: The deployment and method, for the message.
    """
    cause = cause_of(error)
    if isinstance(cause, HearthError):
        return cause
    if isinstance(cause, BackPressureError):
        # Ray keeps the two numbers as arguments alone.
        waiting, most = cast("tuple[int, int]", cause.args[:2])
        limit = Limit("max_queued_requests", most, waiting)
        return OverloadedError(f"{doing} has too many requests waiting", retry_after_s=cause.retry_after_s, limit=limit)
    if has_no_method(cause):
        return UnavailableError(f"{doing} cannot be called: the deployment has no such method; look at the settings")
    for types, kind, what in _FOREIGN:
        if isinstance(cause, types):
            return kind(f"{doing} {what}")
    if code := grpc_code(cause):
        return _translate_grpc(code, doing)
    return InternalError(f"{doing} failed")


# In order: a derived type before its base.
_FOREIGN: tuple[tuple[tuple[type[BaseException], ...], type[HearthError], str], ...] = (
    ((TimeoutError,), DeadlineExceededError, "did not answer in the time given"),
    ((RequestCancelledError, TaskCancelledError), RequestEndedError, "was cancelled"),
    ((RayActorError,), ReplicaLostError, "broke off, its replica is gone"),
    ((RayServeException, RayError), UnavailableError, "cannot be reached"),
)


def cause_of(error: BaseException) -> BaseException:
    """Return what a method raised: the default transport wraps it, the gRPC transport raises it bare."""
    return cast("BaseException", error.cause) if isinstance(error, RayTaskError) else error


def has_no_method(error: BaseException) -> bool:
    """Whether a deployment was asked for a method that it does not have."""
    return isinstance(error, RayServeException) and str(error).startswith(_NO_METHOD)


def grpc_code(error: BaseException) -> str:
    """Return the status code of an error of the gRPC transport, such as "UNAVAILABLE"; empty for any other error."""
    if not type(error).__module__.startswith("grpc"):
        return ""
    return str(getattr(cast("Any", error).code(), "name", "UNKNOWN"))


def _translate_grpc(code: str, doing: str) -> HearthError:
    if code == "RESOURCE_EXHAUSTED":
        return PayloadTooLargeError(f"{doing}: the message is larger than the handle's transport takes")
    if code in {"UNAVAILABLE", "UNKNOWN"}:
        # A replica that dies closes its connection under the calls that run in it.
        return ReplicaLostError(f"{doing} broke off, its replica is gone")
    return InternalError(f"{doing} failed in transport: {code}")
