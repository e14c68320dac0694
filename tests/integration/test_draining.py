"""`hearth drain` as a process, beside a process with an ingress, over a real NATS server: no Ray."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from bridges.generated.messages.v1 import messages_pb2
from tests.drain_command import DrainCommand
from tests.nats_client import nats_connected
from tests.servers import nats_server, running

SUBJECT = "ai.chat.request"


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with nats_server(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[Client]:
    async with await nats_connected(nats_url) as connection:
        yield connection


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HEARTH_RUNTIME": str(tmp_path)}


@pytest.fixture
def ingress(nats_url: str, tmp_path: Path, environment: dict[str, str]) -> Generator[subprocess.Popen[bytes]]:
    """Run an ingress that answers nothing."""
    command = [sys.executable, "-m", "tests.integration.ingress_process", nats_url]
    with running(command, tmp_path / "ingress.log", environment) as process:
        yield process


async def ask(client: Client) -> bool:
    """Ask what is not answered; return whether somebody has taken the question."""
    question = messages_pb2.ChatRequest(message="Anybody there?").SerializeToString()
    try:
        await client.request(SUBJECT, question, timeout=1)
    except nats.errors.NoRespondersError:
        return False
    except nats.errors.TimeoutError:
        return True
    raise AssertionError("it was answered")


async def until_taken(client: Client) -> None:
    async with asyncio.timeout(30):
        while not await ask(client):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


async def test_the_only_ingress_of_all_leaves_its_clients_to_be_told_at_once_that_nobody_is_there(
    client: Client, ingress: subprocess.Popen[bytes], environment: dict[str, str]
) -> None:
    await until_taken(client)
    drain = await DrainCommand.start(environment, "--timeout", "3")
    await drain.until_said(f"NatsIngress (process {ingress.pid}) still holds 1 on {SUBJECT}")
    held = 1
    async with asyncio.timeout(30):
        while await ask(client):
            # The server did not know yet that it leaves.
            held += 1
    assert await drain.ended() == 1
    assert drain.lines[-1] == f"Error: NatsIngress (process {ingress.pid}) still holds {held} on {SUBJECT}"


async def test_a_ctrl_c_ends_the_command_and_not_the_drain(
    client: Client, ingress: subprocess.Popen[bytes], environment: dict[str, str]
) -> None:
    await until_taken(client)
    first = await DrainCommand.start(environment)
    await first.until_said("still holds")
    first.interrupt()
    assert (await first.ended(), first.lines[-1]) == (130, "Interrupted.")
    assert not await ask(client)
    second = await DrainCommand.start(environment, "--timeout", "0.5")
    assert await second.ended() == 1
    assert ingress.poll() is None


async def test_a_replica_that_is_killed_in_the_middle_of_its_drain_is_told_by_all_who_wait_for_it(
    client: Client, ingress: subprocess.Popen[bytes], environment: dict[str, str]
) -> None:
    await until_taken(client)
    drains = [await DrainCommand.start(environment) for _ in range(2)]
    for drain in drains:
        await drain.until_said("still holds 1")
    ingress.kill()
    for drain in drains:
        assert await drain.ended() == 1
        assert drain.lines[-1] == f"Error: NatsIngress (process {ingress.pid}) ended while it held 1 on {SUBJECT}"
    left = await DrainCommand.start(environment)
    assert await left.ended() == 0, "its socket is left, and nobody listens there"
    assert "no ingress on this node" in left.lines[-1]
