"""Clients: objects that have the methods of a service and call it through a door."""

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from deployments.call import Call
from deployments.graph.door import Door
from deployments.graph.interface import Method


def client_class(name: str, methods: Iterable[Method]) -> Callable[[Door], Any]:
    """Make the class of the clients of a service: it takes a door and has these methods."""

    class Client:
        def __init__(self, door: Door) -> None:
            self.door = door

    for method in methods:
        setattr(Client, method.name, _stream(method.name) if method.is_stream else _call(method.name))
    Client.__name__ = Client.__qualname__ = f"{name}Client"
    return Client


def _call(name: str) -> Callable[..., Any]:
    async def ask(self: Any, call: Call, *arguments: object, **named: object) -> Any:
        return await self.door.call(call, name, *arguments, **named)

    return ask


def _stream(name: str) -> Callable[..., Any]:
    def ask(self: Any, call: Call, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        return self.door.stream(call, name, *arguments, **named)

    return ask
