"""When a replica may speak to the clients of its sessions."""

import asyncio

import pytest

from bridges.live.lease import Lease, LeasedConnection
from bridges.operations.clock import now
from deployments.errors import UnavailableError
from tests.conversation.scene import Wire
from tests.conversation.virtual_clock import run_virtually


class Found:
    """Counts how often a lease was found to have ended."""

    def __init__(self, *, has_others: bool = True) -> None:
        self.ends = 0
        self.lease = Lease(lambda: has_others, self._ended)
        self.lease.renew(now())
        self.lease.know()

    def _ended(self) -> None:
        self.ends += 1


def test_it_lasts_until_others_might_suspect_the_replica() -> None:
    async def run() -> list[bool]:
        found = Found()
        lasted = [found.lease.lasts]
        await asyncio.sleep(0.5)
        lasted.append(found.lease.lasts)
        await asyncio.sleep(0.2)
        return [*lasted, found.lease.lasts]

    assert run_virtually(run()) == [True, True, False]


def test_a_replica_alone_needs_none() -> None:
    async def run() -> bool:
        found = Found(has_others=False)
        await asyncio.sleep(60)
        return found.lease.lasts

    assert run_virtually(run())


def test_what_is_said_after_its_end_waits_until_the_others_have_told_their_sessions() -> None:
    async def run() -> tuple[float, int]:
        found, wire = Found(), Wire()
        await asyncio.sleep(5)
        sending = asyncio.create_task(LeasedConnection(wire, found.lease).publish("subject"))
        await asyncio.sleep(1)
        found.lease.renew(now())
        await asyncio.sleep(0.25)
        assert not wire.sent
        found.lease.renew(now())
        found.lease.know()
        await sending
        return wire.sent[0].at_s, found.ends

    assert run_virtually(run()) == (6.25, 1)


def test_a_heartbeat_that_was_sent_before_the_end_and_comes_late_renews_nothing() -> None:
    async def run() -> bool:
        found = Found()
        sent_at = now()
        await asyncio.sleep(5)
        found.lease.renew(sent_at)
        found.lease.know()
        return found.lease.lasts

    assert not run_virtually(run())


def test_a_heartbeat_after_a_gap_ends_it_although_nobody_asked_meanwhile() -> None:
    async def run() -> tuple[bool, int]:
        found = Found()
        await asyncio.sleep(5)
        found.lease.renew(now())
        return found.lease.lasts, found.ends

    assert run_virtually(run()) == (False, 1)


def test_nobody_waits_for_ever() -> None:
    async def run() -> float:
        found = Found()
        await asyncio.sleep(5)
        with pytest.raises(UnavailableError):
            await found.lease.wait()
        return now()

    assert run_virtually(run()) == 35.0


def test_a_replica_that_leaves_needs_none() -> None:
    async def run() -> bool:
        found = Found()
        await asyncio.sleep(5)
        found.lease.end()
        await found.lease.wait()
        return found.lease.lasts

    assert run_virtually(run())
