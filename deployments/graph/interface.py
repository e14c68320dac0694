"""What the protocol of a service says of its methods, read once when the service is defined."""

import inspect
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any, get_origin, get_type_hints

from deployments.call import Call
from deployments.graph.batching import READY_LIMIT
from deployments.services import ItemsAhead


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service.

    Attributes:
        name: What it is called.
        is_stream: Whether it returns an asynchronous generator; else it is awaited.
        ahead: Items of a stream that are made before the ones before them were taken.
    """

    name: str
    is_stream: bool
    ahead: int = READY_LIMIT


def methods_of(interface: type[Any]) -> tuple[Method, ...]:
    """Return the methods of a protocol, those that it inherits first.

    Raises:
        TypeError: Something in the protocol cannot be called through a door; the message names it. A method takes
            `call: Call` first, and is either `async` or returns an `AsyncGenerator`.
    """
    names: dict[str, None] = {}
    for base in reversed(interface.__mro__):
        names |= dict.fromkeys([*inspect.get_annotations(base), *vars(base)])
    methods = tuple(_method_of(interface, name) for name in names if not name.startswith("_"))
    if not methods:
        raise TypeError(f"{interface.__name__} has no methods")
    return methods


def _method_of(interface: type[Any], name: str) -> Method:
    where = f"{interface.__name__}.{name}"
    function = getattr(interface, name, None)
    if not inspect.isfunction(function):
        raise TypeError(f"{where} is not a method")
    hints = get_type_hints(function, include_extras=True)
    if list(inspect.signature(function).parameters)[1:2] != ["call"] or hints.get("call") is not Call:
        raise TypeError(f"{where} does not take `call: Call` first")
    returned: Any = hints.get("return")
    metadata: tuple[object, ...] = ()
    if get_origin(returned) is Annotated:
        returned, metadata = returned.__origin__, returned.__metadata__
    is_stream = get_origin(returned) is AsyncGenerator
    if is_stream == inspect.iscoroutinefunction(function):
        raise TypeError(f"{where} is neither `async` nor does it return an `AsyncGenerator`")
    return Method(name, is_stream, next((item.limit for item in metadata if isinstance(item, ItemsAhead)), READY_LIMIT))
