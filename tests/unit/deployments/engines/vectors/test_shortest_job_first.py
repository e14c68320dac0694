"""Work of small jobs goes before that of large ones."""

import asyncio
import threading
from collections.abc import Generator

import pytest

from deployments.engines.vectors.shortest_job_first import ShortestJobFirst


class Machine:
    """Notes what runs, and lets it end when it may."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def run(self, name: str) -> str:
        self.ran.append(name)
        self.has_begun.set()
        assert self.may_end.wait(10)
        return name


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def one_thread() -> Generator[ShortestJobFirst[str]]:
    made: ShortestJobFirst[str] = ShortestJobFirst(1, "test")
    yield made
    made.close()


async def test_what_waits_of_a_large_job_lets_a_small_one_go_first(
    machine: Machine, one_thread: ShortestJobFirst[str]
) -> None:
    large = [one_thread.submit(100, lambda name=name: machine.run(name)) for name in ("large 1", "large 2", "large 3")]
    small = [one_thread.submit(2, lambda name=name: machine.run(name)) for name in ("small 1", "small 2")]
    machine.may_end.set()
    assert await asyncio.gather(*large, *small) == ["large 1", "large 2", "large 3", "small 1", "small 2"]
    assert machine.ran == ["large 1", "small 1", "small 2", "large 2", "large 3"]


async def test_what_is_urgent_goes_first_however_large_its_job(
    machine: Machine, one_thread: ShortestJobFirst[str]
) -> None:
    running = one_thread.submit(1, lambda: machine.run("running"))
    small = [one_thread.submit(2, lambda name=name: machine.run(name)) for name in ("small 1", "small 2")]
    urgent = [
        one_thread.submit(size, lambda size=size: machine.run(f"urgent {size}"), urgent=True) for size in (100, 50)
    ]
    machine.may_end.set()
    await asyncio.gather(running, *small, *urgent)
    assert machine.ran == ["running", "urgent 50", "urgent 100", "small 1", "small 2"]


async def test_what_is_cancelled_before_it_runs_costs_nothing(
    machine: Machine, one_thread: ShortestJobFirst[str]
) -> None:
    first, second, third = (one_thread.submit(1, lambda name=name: machine.run(name)) for name in "abc")
    second.cancel()
    machine.may_end.set()
    assert (await first, await third) == ("a", "c")
    assert machine.ran == ["a", "c"]


async def test_a_thread_is_free_only_when_its_work_has_ended(
    machine: Machine, one_thread: ShortestJobFirst[str]
) -> None:
    given_up = one_thread.submit(1, lambda: machine.run("given up"))
    await asyncio.to_thread(machine.has_begun.wait, 10)
    given_up.cancel()
    waiting = one_thread.submit(1, lambda: machine.run("waiting"))
    assert machine.ran == ["given up"]
    machine.may_end.set()
    assert await waiting == "waiting"


async def test_what_waits_at_the_end_is_cancelled(machine: Machine, one_thread: ShortestJobFirst[str]) -> None:
    running, waiting = (one_thread.submit(1, lambda name=name: machine.run(name)) for name in "ab")
    one_thread.close()
    machine.may_end.set()
    assert await running == "a"
    assert waiting.cancelled()


async def test_an_error_is_told_and_the_thread_goes_on(one_thread: ShortestJobFirst[str]) -> None:
    def fail() -> str:
        raise ValueError("broken")

    failing = one_thread.submit(1, fail)
    with pytest.raises(ValueError, match="broken"):
        await failing
    assert await one_thread.submit(1, lambda: "well") == "well"
