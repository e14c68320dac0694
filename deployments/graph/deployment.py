"""Deployments: classes that Serve runs in replicas, with the methods of a service, made for the service once."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast

from deployments.call import Call
from deployments.graph.batching import Batch, ready_together
from deployments.graph.interface import Method
from deployments.graph.replica import prepare_replica

S_co = TypeVar("S_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Replica(Generic[S_co]):
    """A service in a replica of its own, with what Serve asks of the replica besides.

    Attributes:
        service: Answers the calls.
        check_health: Raises where only a new replica mends what is wrong. Serve awaits it every few seconds.
        reconfigure: Takes the deployment's `user_config`, at the start and whenever it has changed. Without it, Serve
            refuses a deployment that has one.
        close: Ends what runs beside the calls. Serve awaits it before it ends the replica.
        hosted: Services that run in the same replica, by name: see `ServiceDefinition.hosting`.
    """

    service: S_co
    check_health: Callable[[], Awaitable[None]] | None = None
    reconfigure: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None
    hosted: Mapping[str, object] = field(default_factory=dict[str, object])


def hosted_prefix(name: str) -> str:
    """Return what the names of a service's methods begin with in the replicas of another one, such as "Reranker_"."""
    return f"{name}_"


def replica_class(
    name: str,
    methods: Iterable[Method],
    build: Callable[..., object],
    hosted: Mapping[str, Iterable[Method]],
) -> type[Any]:
    """Make the class that Serve runs in the replicas of a service.

    Its instances take the arguments of `build`. Serve carries the class to the replicas by value, and `build` with it:
    by reference where it is a function of a module.

    Args:
        name: The deployment.
        methods: Of the service.
        build: Makes the service, or a `Replica` with it, in the replica and on its event loop.
        hosted: The methods of the services that it hosts, by their names.
    """

    class ServiceReplica:
        # Async, so that what is built may start tasks.
        async def __init__(self, *arguments: object, **named: object) -> None:
            prepare_replica(name)
            built = build(*arguments, **named)
            replica = cast("Replica[object]", built) if isinstance(built, Replica) else Replica(built)
            self.service = replica.service
            self.hosted = replica.hosted
            # Serve looks for these on the instance and does without what is not there. Python itself looks for
            # `__del__` on the class alone, so it never calls this one.
            if replica.check_health:
                self.check_health = replica.check_health
            if replica.reconfigure:
                self.reconfigure = replica.reconfigure
            if replica.close:
                self.__del__ = replica.close

    add_methods(ServiceReplica, name, methods)
    for other, its_methods in hosted.items():
        _add(ServiceReplica, other, its_methods, partial(_hosted, other), hosted_prefix(other))
    ServiceReplica.__name__ = ServiceReplica.__qualname__ = name
    return ServiceReplica


def add_methods(replica: type[Any], name: str, methods: Iterable[Method]) -> None:
    """Give a class of replicas the methods of a service, as a door calls them.

    Args:
        replica: The class. Its instances hold the service as `service`.
        name: The deployment, for what is logged of a method.
        methods: Of the service.

    Raises:
        TypeError: The class has a method of such a name already.
    """
    _add(replica, name, methods, attrgetter("service"))


def _add(
    replica: type[Any], name: str, methods: Iterable[Method], service_of: Callable[[Any], Any], prefix: str = ""
) -> None:
    for method in methods:
        called = f"{prefix}{method.name}"
        if hasattr(replica, called):
            raise TypeError(f"{replica.__name__} has a method {called} of its own")
        forwarder = _stream(method, service_of) if method.is_stream else _call(method, service_of)
        forwarder.__name__, forwarder.__qualname__ = called, f"{name}.{method.name}"
        setattr(replica, called, forwarder)


def _hosted(name: str, replica: Any) -> Any:
    return replica.hosted[name]


def _call(method: Method, service_of: Callable[[Any], Any]) -> Callable[..., Any]:
    name = method.name

    async def forward(self: Any, call: Call, *arguments: object, **named: object) -> Any:
        return await getattr(service_of(self), name)(call, *arguments, **named)

    return forward


def _stream(method: Method, service_of: Callable[[Any], Any]) -> Callable[..., Any]:
    name, ahead = method.name, method.ahead

    # A generator of its own and not the one of `ready_together`: Serve looks at the function for what it returns.
    async def forward(self: Any, call: Call, *arguments: object, **named: object) -> AsyncGenerator[Batch[Any]]:
        items = getattr(service_of(self), name)(call, *arguments, **named)
        async with aclosing(ready_together(items, ahead)) as batches:
            async for batch in batches:
                yield batch

    return forward
