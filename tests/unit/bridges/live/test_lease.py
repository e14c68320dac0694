"""When a replica may speak to the clients of its sessions."""

import asyncio

import pytest

from bridges.live.lease import Lease, LeasedConnection
from bridges.operations.clock import now
from deployments.errors import UnavailableError
from tests.conversation.scene import Wire
from tests.conversation.virtual_clock import run_virtually


def fresh(*, has_others: bool = True) -> Lease:
    """Return a lease that was renewed right now."""
    lease = Lease(lambda: has_others)
    lease.renew(now())
    return lease


def test_it_lasts_until_others_might_suspect_the_replica() -> None:
    async def run() -> list[bool]:
        lease = fresh()
        lasted = [lease.lasts]
        await asyncio.sleep(0.5)
        lasted.append(lease.lasts)
        await asyncio.sleep(0.2)
        return [*lasted, lease.lasts]

    assert run_virtually(run()) == [True, True, False]


def test_a_replica_alone_needs_none() -> None:
    async def run() -> bool:
        lease = fresh(has_others=False)
        await asyncio.sleep(60)
        return lease.lasts

    assert run_virtually(run())


def test_what_is_said_after_its_end_waits_until_the_others_were_heard_since() -> None:
    async def run() -> float:
        lease, wire = fresh(), Wire()
        await asyncio.sleep(5)
        sending = asyncio.create_task(LeasedConnection(wire, lease).publish("subject"))
        await asyncio.sleep(1)
        beat_at = now()
        lease.renew(beat_at)
        lease.know(heard_at=beat_at - 0.1)
        await asyncio.sleep(0.25)
        assert not wire.sent
        lease.know(heard_at=beat_at + 0.1)
        await sending
        return wire.sent[0].at_s

    assert run_virtually(run()) == 6.25


def test_a_heartbeat_that_was_sent_before_the_end_and_comes_late_renews_nothing() -> None:
    async def run() -> bool:
        lease = fresh()
        sent_at = now()
        await asyncio.sleep(5)
        lease.renew(sent_at)
        lease.know(heard_at=now())
        return lease.lasts

    assert not run_virtually(run())


def test_a_heartbeat_after_a_gap_ends_it_although_nobody_asked_meanwhile() -> None:
    async def run() -> bool:
        lease = fresh()
        await asyncio.sleep(5)
        lease.renew(now())
        return lease.lasts

    assert not run_virtually(run())


def test_nobody_waits_for_ever() -> None:
    async def run() -> float:
        lease = fresh()
        await asyncio.sleep(5)
        with pytest.raises(UnavailableError):
            await lease.wait()
        return now()

    assert run_virtually(run()) == 35.0


def test_a_replica_that_leaves_needs_none() -> None:
    async def run() -> bool:
        lease = fresh()
        await asyncio.sleep(5)
        lease.end()
        await lease.wait()
        return lease.lasts

    assert run_virtually(run())
