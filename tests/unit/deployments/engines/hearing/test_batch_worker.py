"""What waits together is run together."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from deployments.call import Call
from deployments.engines.hearing.batch_worker import BatchWorker
from deployments.errors import DeadlineExceededError, Limit, OverloadedError, UnavailableError
from tests.refusals import refused


@dataclass
class Machine:
    """Doubles numbers, once it may."""

    may_run: threading.Event = field(default_factory=threading.Event)
    batches: list[list[int]] = field(default_factory=list[list[int]])

    def run(self, items: Sequence[int]) -> list[int]:
        self.may_run.wait(10)
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


def worker(machine: Machine, *, batch_size: int = 4, max_waiting: int = 64) -> BatchWorker[int, int]:
    return BatchWorker(
        machine.run, lambda item: item % 2, name="doubling", batch_size=batch_size, max_waiting=max_waiting
    )


async def submitted(work: BatchWorker[int, int], *items: int, urgent: bool = True) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(work.submit(Call.within(10), item, urgent=urgent)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_what_waits_while_a_batch_runs_shares_the_next_one() -> None:
    machine = Machine()
    work = worker(machine)
    tasks = await submitted(work, 2)
    await asyncio.sleep(0)
    tasks += await submitted(work, 4, 6, 8, 10, 12)
    machine.may_run.set()
    assert await asyncio.gather(*tasks) == [4, 8, 12, 16, 20, 24]
    assert machine.batches == [[2], [4, 6, 8, 10], [12]]


async def test_only_items_of_a_kind_share_a_batch() -> None:
    machine = Machine()
    work = worker(machine)
    tasks = await submitted(work, 2)
    await asyncio.sleep(0)
    tasks += await submitted(work, 4, 5, 6, 7)
    machine.may_run.set()
    await asyncio.gather(*tasks)
    assert machine.batches == [[2], [4, 6], [5, 7]]


async def test_urgent_items_go_first() -> None:
    machine = Machine()
    work = worker(machine)
    tasks = await submitted(work, 2)
    await asyncio.sleep(0)
    tasks += await submitted(work, 4, urgent=False)
    tasks += await submitted(work, 6)
    machine.may_run.set()
    await asyncio.gather(*tasks)
    assert machine.batches == [[2], [6], [4]]


async def test_what_nobody_waits_for_is_not_run() -> None:
    machine = Machine()
    work = worker(machine)
    first, *others = await submitted(work, 2)
    await asyncio.sleep(0)
    others = await submitted(work, 4, 6)
    others[0].cancel()
    await asyncio.sleep(0)
    machine.may_run.set()
    assert await first == 4
    assert await others[1] == 12
    assert machine.batches == [[2], [6]]


async def test_a_failure_is_told_to_its_caller_and_the_next_batch_runs() -> None:
    machine = Machine()
    work = worker(machine)
    (failing,) = await submitted(work, 13)
    await asyncio.sleep(0)
    (good,) = await submitted(work, 2)
    machine.may_run.set()
    with pytest.raises(ValueError, match="13"):
        await failing
    assert await good == 4


async def test_more_than_may_wait_are_refused_and_time_is_kept() -> None:
    machine = Machine()
    work = worker(machine, max_waiting=2)
    running = await submitted(work, 2)
    await asyncio.sleep(0)
    waiting = await submitted(work, 4, 6)
    with refused(OverloadedError, retryable=True, limit=Limit("max_waiting", 2, 3)):
        await work.submit(Call.within(10), 8)
    waiting[0].cancel()
    await asyncio.sleep(0)
    machine.may_run.set()
    await asyncio.gather(*running, waiting[1])
    machine.may_run.clear()
    with pytest.raises(DeadlineExceededError):
        await work.submit(Call.within(0.01), 2)
    machine.may_run.set()


async def test_an_item_that_fails_fails_none_that_shares_its_batch() -> None:
    machine = Machine()
    work = worker(machine)
    tasks = await submitted(work, 1)
    await asyncio.sleep(0)
    tasks += await submitted(work, 3, 13, 5)
    machine.may_run.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["2", "6", "13", "10"]
    assert machine.batches == [[1], [3, 13, 5], [3], [13], [5]]


async def test_a_function_that_fails_is_unavailable_until_it_works_again() -> None:
    machine = Machine()
    machine.may_run.set()
    work = worker(machine)
    await work.check(13)
    assert machine.batches == [], "nothing has failed, so nothing is tried"
    with pytest.raises(ValueError, match="13"):
        await work.submit(Call.within(10), 13)
    with refused(UnavailableError):
        await work.check(13)
    await work.check(2)
    await work.check(13)
    assert machine.batches == [[13], [13], [2]]
    work.close()


async def test_one_that_is_busy_is_not_taken_for_one_that_fails() -> None:
    machine = Machine()
    machine.may_run.set()
    work = worker(machine, max_waiting=1)
    with pytest.raises(ValueError, match="13"):
        await work.submit(Call.within(10), 13)
    machine.may_run.clear()
    running = await submitted(work, 2)
    await asyncio.sleep(0)
    running += await submitted(work, 4)
    await work.check(13)
    machine.may_run.set()
    assert await asyncio.gather(*running) == [4, 8]
    work.close()
