"""What a protocol has to look like so that clients and deployments can be made from it."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, ClassVar, Protocol

import pytest

import deployments.services
from deployments.call import Call
from deployments.graph import definitions
from deployments.graph.batching import READY_LIMIT
from deployments.graph.interface import Method, methods_of
from deployments.graph.tracing import GENERATIVE_OPERATIONS
from deployments.services import ItemsAhead, SpeechService, TextToSpeechService, VoiceService

PROTOCOLS = [value for name, value in vars(deployments.services).items() if name.endswith("Service")]


class Base(Protocol):
    async def first(self, call: Call) -> int: ...


class Whole(Base, Protocol):
    def some(self, call: Call, count: int) -> AsyncGenerator[int]: ...

    def few(self, call: Call) -> Annotated[AsyncGenerator[int], "a note", ItemsAhead(3)]: ...

    async def noted(self, call: Call) -> Annotated[int, "a note"]: ...

    async def _of_its_own(self) -> None: ...


def test_methods_are_calls_or_streams_and_a_stream_says_how_far_it_is_made_ahead() -> None:
    assert methods_of(Whole) == (
        Method("first", is_stream=False),
        Method("some", is_stream=True, ahead=READY_LIMIT),
        Method("few", is_stream=True, ahead=3),
        Method("noted", is_stream=False),
    )


class NoCall(Protocol):
    async def answer(self, question: str) -> str: ...


class CallOfAnotherType(Protocol):
    async def answer(self, call: str) -> str: ...


class CallSecond(Protocol):
    async def answer(self, question: str, call: Call) -> str: ...


class NotAsync(Protocol):
    def answer(self, call: Call) -> str: ...


class AwaitedStream(Protocol):
    async def answer(self, call: Call) -> AsyncGenerator[str]: ...


class Untyped(Protocol):
    def answer(self, call: Call): ...  # pyright: ignore[reportUnknownParameterType]


class Attribute(Protocol):
    answer: int


class ClassAttribute(Protocol):
    answer: ClassVar[int] = 1


class Property(Protocol):
    @property
    def answer(self) -> int: ...


@pytest.mark.parametrize("protocol", [NoCall, CallOfAnotherType, CallSecond])
def test_a_method_that_does_not_take_the_call_first_is_named(protocol: type[Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{protocol.__name__}\.answer does not take `call: Call` first$"):
        methods_of(protocol)


@pytest.mark.parametrize("protocol", [NotAsync, AwaitedStream, Untyped])
def test_a_method_that_is_neither_async_nor_a_stream_is_named(protocol: type[Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{protocol.__name__}\.answer is neither `async` nor"):
        methods_of(protocol)


@pytest.mark.parametrize("protocol", [Attribute, ClassAttribute, Property])
def test_what_is_not_a_method_is_named(protocol: type[Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{protocol.__name__}\.answer is not a method$"):
        methods_of(protocol)


def test_a_protocol_without_methods_is_named() -> None:
    class Nothing(Protocol): ...

    with pytest.raises(TypeError, match=r"^Nothing has no methods$"):
        methods_of(Nothing)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_of_a_service_can_cross_a_door_and_is_documented(protocol: type[Any]) -> None:
    undocumented = [method.name for method in methods_of(protocol) if not getattr(protocol, method.name).__doc__]
    assert undocumented == []


def test_every_protocol_of_a_service_is_in_the_graph_under_a_name_of_its_own() -> None:
    defined = [value for value in vars(definitions).values() if isinstance(value, definitions.ServiceDefinition)]
    assert len(PROTOCOLS) > 10
    assert {service.interface for service in defined} == set(PROTOCOLS)
    assert len({service.name for service in defined}) == len(PROTOCOLS)


def test_spans_name_methods_that_there_are() -> None:
    defined = [value for value in vars(definitions).values() if isinstance(value, definitions.ServiceDefinition)]
    methods = {f"{service.name}/{method.name}" for service in defined for method in methods_of(service.interface)}
    assert GENERATIVE_OPERATIONS.keys() <= methods


def test_no_more_speech_is_made_ahead_than_is_cheap_to_lose() -> None:
    """Speech that was made and is not heard, because its listener interrupts, cost as much as speech that is."""
    assert {
        (protocol.__name__, method.name): method.ahead
        for protocol in (TextToSpeechService, SpeechService, VoiceService)
        for method in methods_of(protocol)
        if method.is_stream
    } == {
        ("TextToSpeechService", "speak"): 2,
        ("SpeechService", "say"): 1,
        ("VoiceService", "answer"): 8,
        ("VoiceService", "answer_recording"): 8,
        ("VoiceService", "read"): READY_LIMIT,
    }
