"""What a definition makes of a protocol, without Ray: clients, and the class that Serve runs in replicas."""

import asyncio
import inspect
import pickle
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any, Protocol, cast

import pytest
from ray import serve
from ray.cloudpickle.cloudpickle import dumps
from ray.serve.handle import DeploymentHandle

import deployments.graph.deployment
from deployments.call import Call
from deployments.errors import NotFoundError
from deployments.graph.batching import StreamEnd
from deployments.graph.definitions import ServiceDefinition
from deployments.graph.deployment import Replica
from deployments.services import ItemsAhead


class CountingService(Protocol):
    async def double(self, call: Call, number: int) -> int: ...

    def count(self, call: Call, to: int) -> AsyncGenerator[int]: ...

    def count_slowly(self, call: Call, to: int) -> Annotated[AsyncGenerator[int], ItemsAhead(2)]: ...


COUNTING = ServiceDefinition(CountingService, "Counting")


@dataclass
class Counting:
    """Doubles and counts; remembers what it made and that its generator was closed."""

    factor: int = 2
    made: list[int] = field(default_factory=list[int])
    closed: bool = False

    async def double(self, call: Call, number: int) -> int:
        if number < 0:
            raise NotFoundError("below zero")
        return self.factor * number

    async def count(self, call: Call, to: int) -> AsyncGenerator[int]:
        try:
            for number in range(to):
                self.made.append(number)
                yield number
        finally:
            self.closed = True

    async def count_slowly(self, call: Call, to: int) -> AsyncGenerator[int]:
        for number in range(to):
            self.made.append(number)
            yield number


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what was prepared, and leave this process's log and garbage collector alone."""
    names: list[str] = []
    monkeypatch.setattr(deployments.graph.deployment, "prepare_replica", names.append)
    return names


async def replica_of(build: Any, *arguments: object, **named: object) -> Any:
    """Start a replica as Serve does."""
    return await started(COUNTING, build, *arguments, **named)


async def started(definition: ServiceDefinition[Any], build: Any, *arguments: object, **named: object) -> Any:
    replica_class: Any = definition.replica_class(build)
    replica = replica_class.__new__(replica_class)
    await replica.__init__(*arguments, **named)
    return replica


def within() -> Call:
    return Call.within(5)


async def test_a_client_has_the_methods_of_its_protocol() -> None:
    client = COUNTING.in_process(Counting())
    assert await client.double(within(), 4) == 8
    assert [number async for number in client.count(within(), 3)] == [0, 1, 2]
    assert not hasattr(client, "triple")


async def test_a_client_takes_arguments_by_their_names() -> None:
    client = COUNTING.in_process(Counting())
    assert await client.double(call=within(), number=4) == 8
    assert [number async for number in client.count(within(), to=2)] == [0, 1]


async def test_a_service_without_a_handle_is_built_in_this_process() -> None:
    assert await COUNTING.connect({}, Counting, factor=3).double(within(), 4) == 12


def test_a_service_with_a_handle_is_not_built() -> None:
    def build() -> Counting:
        raise AssertionError("it has a handle")

    handle = cast("DeploymentHandle[Any]", SimpleNamespace(deployment_name="Counting"))
    assert type(COUNTING.connect({"Counting": handle}, build)).__name__ == "CountingClient"


def test_the_handle_of_another_deployment_is_refused() -> None:
    handle = cast("DeploymentHandle[Any]", SimpleNamespace(deployment_name="Chat"))
    with pytest.raises(ValueError, match="a handle of Chat was given for Counting"):
        COUNTING.by_handle(handle)


async def test_a_replica_is_prepared_before_its_service_is_built(prepared: list[str]) -> None:
    def build() -> Counting:
        assert prepared == ["Counting"]
        return Counting()

    await replica_of(build)
    assert prepared == ["Counting"]


async def test_a_replica_passes_calls_on_to_what_was_built_from_its_arguments() -> None:
    replica = await replica_of(Counting, factor=5)
    assert await replica.double(within(), 2) == 10
    assert await replica.double(within(), number=3) == 15
    with pytest.raises(NotFoundError):
        await replica.double(within(), -1)


async def test_a_replica_streams_what_is_ready_together() -> None:
    replica = await replica_of(Counting)
    assert inspect.isasyncgenfunction(replica.count)
    assert [batch async for batch in replica.count(within(), to=3)] == [[0, 1, 2, StreamEnd.END]]


@pytest.mark.parametrize(("method", "made"), [("count", 256), ("count_slowly", 2)])
async def test_a_replica_makes_no_more_items_ahead_than_the_protocol_says(method: str, made: int) -> None:
    replica = await replica_of(Counting)
    batches = getattr(replica, method)(within(), 1000)
    assert len(await anext(batches)) == made
    assert len(replica.service.made) == made
    await batches.aclose()


async def test_leaving_the_stream_of_a_replica_closes_the_service_s() -> None:
    replica = await replica_of(Counting)
    batches = replica.count(within(), 1000)
    await anext(batches)
    await batches.aclose()
    assert replica.service.closed


async def test_serve_finds_on_a_replica_what_was_given_to_it_and_nothing_else() -> None:
    asked: list[object] = []

    async def check_health() -> None:
        asked.append("healthy?")

    async def reconfigure(user_config: Mapping[str, Any]) -> None:
        asked.append(user_config)

    async def close() -> None:
        asked.append("closed")

    plain = await replica_of(Counting)
    assert [name for name in ("check_health", "reconfigure", "__del__") if hasattr(plain, name)] == []
    whole = await replica_of(lambda: Replica(Counting(), check_health, reconfigure, close))
    await whole.check_health()
    await whole.reconfigure({"answering": "briefly"})
    await whole.__del__()
    assert asked == ["healthy?", {"answering": "briefly"}, "closed"]
    assert not hasattr(type(whole), "__del__"), "Python would call it when the replica is collected"


class GreetingService(Protocol):
    async def greet(self, call: Call, name: str) -> str: ...


class Greeting:
    """Greets."""

    async def greet(self, call: Call, name: str) -> str:
        return f"Hello {name}!"


HOST = ServiceDefinition(GreetingService, "Greeting").hosting(COUNTING)


def host() -> Replica[Greeting]:
    return Replica(Greeting(), hosted=COUNTING.hosted(Counting()))


async def test_a_replica_answers_for_the_services_that_it_hosts_under_names_of_their_own() -> None:
    replica = await started(HOST, host)
    assert await replica.greet(within(), "Ada") == "Hello Ada!"
    assert await replica.Counting_double(within(), 4) == 8
    assert [batch async for batch in replica.Counting_count(within(), to=2)] == [[0, 1, StreamEnd.END]]
    assert not hasattr(replica, "double")


async def test_a_replica_that_hosts_works_where_serve_carries_its_class_by_value() -> None:
    carried = pickle.loads(dumps(HOST.replica_class(host)))
    replica = carried.__new__(carried)
    await replica.__init__()
    assert await replica.Counting_double(within(), 2) == 4


@dataclass
class HandleOf:
    """Serve's handle of a replica in this process."""

    replica: Any
    method_name: str = ""
    stream: bool = False

    def options(self, *, method_name: str, stream: bool, **options: object) -> "HandleOf":
        return HandleOf(self.replica, method_name, stream)

    def remote(self, *arguments: object, **named: object) -> Any:
        return Response(getattr(self.replica, self.method_name)(*arguments, **named))


@dataclass
class Response:
    """Serve's response: awaited, or a stream."""

    made: Any

    def __await__(self) -> Any:
        return self.made.__await__()

    async def __anext__(self) -> Any:
        return await anext(self.made)

    def cancel(self) -> None: ...


async def test_a_client_finds_a_service_in_the_replicas_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = HandleOf(await started(HOST, host))
    found = {("Greeting", "hosts"): handle}
    monkeypatch.setattr(serve, "get_deployment_handle", lambda *place: found[place])
    client = COUNTING.in_replicas_of(HOST, "hosts")
    assert await client.double(within(), 4) == 8
    assert [number async for number in client.count(within(), 3)] == [0, 1, 2]


async def test_what_is_built_may_start_tasks() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()

    tasks: list[asyncio.Task[None]] = []

    def build() -> Counting:
        tasks.append(asyncio.create_task(work()))
        return Counting()

    await replica_of(build)
    await asyncio.wait_for(started.wait(), 5)
    await asyncio.wait(tasks)


async def test_a_replica_s_class_works_where_serve_carries_it_by_value() -> None:
    carried = pickle.loads(dumps(COUNTING.replica_class(Counting)))
    replica = carried.__new__(carried)
    await replica.__init__(factor=3)
    assert await replica.double(within(), 2) == 6
    assert [batch async for batch in replica.count(within(), 2)] == [[0, 1, StreamEnd.END]]
