"""A service in the replica of its caller, through the door: what a handle would do, without one."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.call import Call
from deployments.errors import DeadlineExceededError, HearthError, InternalError, NotFoundError
from deployments.graph.door import Door, in_process_door
from tests.refusals import refused


class Service:
    """Answers, waits, fails; and remembers whether its stream was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def echo(self, call: Call, value: object) -> object:
        return value

    async def wait(self, call: Call) -> None:
        await asyncio.Event().wait()

    async def fail(self, call: Call, error: Exception) -> None:
        raise error

    async def items(self, call: Call, error: Exception | None = None) -> AsyncGenerator[int]:
        try:
            for number in range(3):
                yield number
            if error:
                raise error
        finally:
            self.closed = True

    async def stuck(self, call: Call) -> AsyncGenerator[int]:
        yield 0
        await asyncio.Event().wait()


def door(service: Service | None = None) -> Door:
    return in_process_door(service or Service(), "Service")


async def test_a_call_returns_what_the_method_returns() -> None:
    assert await door().call(Call.within(5), "echo", "value") == "value"


async def test_a_stream_yields_what_the_method_yields() -> None:
    assert [item async for item in door().stream(Call.within(5), "items")] == [0, 1, 2]


async def test_leaving_a_stream_closes_it() -> None:
    service = Service()
    stream = door(service).stream(Call.within(5), "items")
    assert await anext(stream) == 0
    await stream.aclose()
    assert service.closed


@pytest.mark.parametrize("seconds", [0.05, -1])
async def test_a_call_past_its_deadline_is_told(seconds: float) -> None:
    with pytest.raises(DeadlineExceededError):
        await door().call(Call.within(seconds), "wait")


async def test_a_stream_past_its_deadline_is_told_after_what_came_before() -> None:
    stream = door().stream(Call.within(0.05), "stuck")
    assert await anext(stream) == 0
    with pytest.raises(DeadlineExceededError):
        await anext(stream)


async def test_an_error_of_the_family_passes_as_it_is() -> None:
    error = NotFoundError("not here", field="collection")
    with refused(NotFoundError, field="collection"):
        await door().call(Call.within(5), "fail", error)
    stream = door().stream(Call.within(5), "items", error)
    with refused(NotFoundError, field="collection"):
        _ = [item async for item in stream]


async def test_a_fault_of_our_own_is_logged_and_keeps_its_details(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(HearthError) as raised:
        await door().call(Call.within(5), "fail", ValueError("a secret"))
    assert isinstance(raised.value, InternalError)
    assert raised.value.message == "Service.fail failed"
    assert "a secret" in caplog.text
