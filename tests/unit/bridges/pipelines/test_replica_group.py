"""The replicas that look after pipeline runs, on a wire that can fail."""

import asyncio

from bridges.pipelines.replica_group import PipelineReplicas
from bridges.subjects import PIPELINE_REPLICAS
from tests.conversation.scene import Wire
from tests.conversation.virtual_clock import run_virtually


async def joined(wire: Wire, name: str) -> PipelineReplicas:
    replicas = PipelineReplicas(name)
    await replicas.connect(wire)
    await replicas.join()
    return replicas


def test_a_replica_goes_on_saying_that_it_is_there_after_a_message_that_could_not_be_sent() -> None:
    async def run() -> tuple[bool, bool]:
        wire = Wire()
        one, two = await joined(wire, "one"), await joined(wire, "two")
        wire.fails(PIPELINE_REPLICAS.pattern, times=1)
        await asyncio.sleep(8)
        alive = one.is_alive("two"), two.is_alive("one")
        await one.leave()
        await two.leave()
        return alive

    assert run_virtually(run()) == (True, True)


def test_a_replica_that_leaves_is_gone_at_once_and_its_runs_are_looked_for() -> None:
    async def run() -> tuple[bool, bool]:
        wire = Wire()
        one, two = await joined(wire, "one"), await joined(wire, "two")
        one.changed.clear()
        await two.leave()
        gone = not one.is_alive("two"), one.changed.is_set()
        await one.leave()
        return gone

    assert run_virtually(run()) == (True, True)


def test_a_farewell_that_cannot_be_sent_raises_nothing() -> None:
    async def run() -> None:
        wire = Wire()
        one = await joined(wire, "one")
        wire.fails(PIPELINE_REPLICAS.pattern, times=1)
        await one.leave()

    run_virtually(run())


def test_a_message_that_is_none_of_a_replica_changes_nothing() -> None:
    async def run() -> bool:
        wire = Wire()
        one, two = await joined(wire, "one"), await joined(wire, "two")
        await wire.publish(PIPELINE_REPLICAS.pattern, b"\xff\xff\xff")
        alive = one.is_alive("two")
        await one.leave()
        await two.leave()
        return alive

    assert run_virtually(run())
