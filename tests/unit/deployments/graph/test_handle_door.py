"""A call whose replica is lost is made again on another one, where nothing of its answer was told."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.call import Call
from deployments.errors import HearthError, NotFoundError, ReplicaLostError, UnavailableError
from deployments.graph.door import HandleDoor

LOST = ActorUnavailableError("Actor is unavailable.", b"\x00" * 16)
Attempt = tuple[object, ...]
"""What an attempt brings: values, of which an exception is raised."""


class Response:
    """What Serve gives for one attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self._items = self._made(attempt)
        self.is_cancelled = False

    @staticmethod
    async def _made(attempt: Attempt) -> AsyncGenerator[Any]:
        for item in attempt:
            if isinstance(item, Exception):
                raise item
            yield item

    def __await__(self) -> Any:
        return anext(self._items).__await__()

    async def __anext__(self) -> Any:
        return await anext(self._items)

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Handle:
    """A deployment whose replicas do as they are told, one attempt after the other."""

    attempts: list[Attempt]
    responses: list[Response] = field(default_factory=list[Response])

    def options(self, **options: object) -> "Handle":
        return self

    def remote(self, *arguments: object) -> Response:
        self.responses.append(Response(self.attempts[len(self.responses)]))
        return self.responses[-1]


def door(handle: Handle) -> HandleDoor:
    find = cast("Callable[[], DeploymentHandle[Any]]", lambda: handle)
    return HandleDoor(find, "Model")


async def heard(handle: Handle) -> tuple[list[object], HearthError | None]:
    """Return what a stream yields, and what it ends with."""
    items: list[object] = []
    try:
        async for item in door(handle).stream(Call.within(5), "tokens"):
            items.append(item)  # noqa: PERF401 - some come before it fails
    except HearthError as error:
        return items, error
    return items, None


@pytest.mark.parametrize("lost", [LOST, ActorDiedError(), ReplicaLostError("one below is gone")])
async def test_a_call_whose_replica_is_lost_is_made_again(lost: Exception) -> None:
    handle = Handle([(lost,), ("answer",)])
    assert await door(handle).call(Call.within(5), "ask") == "answer"
    assert [response.is_cancelled for response in handle.responses] == [True, False]


async def test_a_call_that_ends_each_replica_ends_three_and_nobody_above_makes_it_again() -> None:
    handle = Handle([(LOST,)] * 9)
    with pytest.raises(UnavailableError) as caught:
        await door(handle).call(Call.within(5), "ask")
    assert type(caught.value) is UnavailableError
    assert len(handle.responses) == 3


async def test_what_a_service_refuses_is_not_asked_again() -> None:
    handle = Handle([(NotFoundError("no such thing"),)] * 2)
    with pytest.raises(NotFoundError):
        await door(handle).call(Call.within(5), "ask")
    assert len(handle.responses) == 1


async def test_a_method_that_the_deployment_does_not_have_is_told() -> None:
    handle = Handle([(RayServeException("Tried to call a method 'ask' that does not exist."),)])
    with pytest.raises(UnavailableError, match=r"Model.ask cannot be called: the deployment has no such method"):
        await door(handle).call(Call.within(5), "ask")


async def test_a_stream_whose_replica_is_lost_before_its_first_item_is_made_again() -> None:
    handle = Handle([(LOST,), (["a", "b"], ["c"])])
    assert await heard(handle) == (["a", "b", "c"], None)
    assert [response.is_cancelled for response in handle.responses] == [True, False]


async def test_a_stream_that_has_begun_is_not_made_again_and_says_what_it_lost() -> None:
    handle = Handle([(["a"], LOST), (["b"],)])
    items, error = await heard(handle)
    assert items == ["a"]
    assert isinstance(error, ReplicaLostError)
    assert [response.is_cancelled for response in handle.responses] == [True]
