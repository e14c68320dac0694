"""Deployments: classes that Serve runs in replicas, with the methods of a service, made for the service once."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
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
    """

    service: S_co
    check_health: Callable[[], Awaitable[None]] | None = None
    reconfigure: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None


def replica_class(name: str, methods: Iterable[Method], build: Callable[..., object]) -> type[Any]:
    """Make the class that Serve runs in the replicas of a service.

    Its instances take the arguments of `build`. Serve carries the class to the replicas by value, and `build` with it:
    by reference where it is a function of a module.

    Args:
        name: The deployment.
        methods: Of the service.
        build: Makes the service, or a `Replica` with it, in the replica and on its event loop.
    """

    class ServiceReplica:
        # Async, so that what is built may start tasks.
        async def __init__(self, *arguments: object, **named: object) -> None:
            prepare_replica(name)
            built = build(*arguments, **named)
            replica = cast("Replica[object]", built) if isinstance(built, Replica) else Replica(built)
            self.service = replica.service
            # Serve looks for these on the instance and does without what is not there. Python itself looks for
            # `__del__` on the class alone, so it never calls this one.
            if replica.check_health:
                self.check_health = replica.check_health
            if replica.reconfigure:
                self.reconfigure = replica.reconfigure
            if replica.close:
                self.__del__ = replica.close

    add_methods(ServiceReplica, name, methods)
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
    for method in methods:
        if hasattr(replica, method.name):
            raise TypeError(f"{replica.__name__} has a method {method.name} of its own")
        forwarder = _stream(method) if method.is_stream else _call(method)
        forwarder.__name__, forwarder.__qualname__ = method.name, f"{name}.{method.name}"
        setattr(replica, method.name, forwarder)


def _call(method: Method) -> Callable[..., Any]:
    name = method.name

    async def forward(self: Any, call: Call, *arguments: object, **named: object) -> Any:
        return await getattr(self.service, name)(call, *arguments, **named)

    return forward


def _stream(method: Method) -> Callable[..., Any]:
    name, ahead = method.name, method.ahead

    # A generator of its own and not the one of `ready_together`: Serve looks at the function for what it returns.
    async def forward(self: Any, call: Call, *arguments: object, **named: object) -> AsyncGenerator[Batch[Any]]:
        items = getattr(self.service, name)(call, *arguments, **named)
        async with aclosing(ready_together(items, ahead)) as batches:
            async for batch in batches:
                yield batch

    return forward
