"""Ingresses that come and go while others stay, against a real NATS server."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.application import until_taking
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.ingress import Ingress
from deployments.settings.orchestration import NatsSettings
from tests.integration.durable_process import DurableCounts, Graph, durable_ingress
from tests.nats_client import nats_connected
from tests.servers import free_port, nats_server

LONG_S = 0.1
"""From one of the words of a long answer to the next: it takes two seconds."""
TAKE_OVER_S = 30.0
"""Longer than these tests wait: nothing here is given to another ingress because one says nothing."""


@pytest.fixture
def nats_url(tmp_path: Path) -> Generator[str]:
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "jetstream")) as url:
        yield url


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[Client]:
    async with await nats_connected(nats_url) as connection:
        yield connection


def settings(url: str, **durable: object) -> NatsSettings:
    kept = {"rows": ["chat-message"], "take_over_s": TAKE_OVER_S, "storage": "memory", **durable}
    return NatsSettings.model_validate({"url": url, "user_share": 1.0, "max_in_flight": 1, "durable": kept})


@asynccontextmanager
async def serving(nats: NatsSettings, graph: Graph, counts: DurableCounts) -> AsyncGenerator[Ingress]:
    """Run an ingress that answers one request at a time."""
    ingress = durable_ingress(nats, graph, counts=counts)
    running = asyncio.create_task(ingress.run())
    try:
        await asyncio.wait_for(ingress.wait_until_serving(), 10)
        yield ingress
    finally:
        ingress.stop()
        await asyncio.wait_for(running, 10)


class Answers:
    """The final messages, by request id, in the order in which they came."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self._changed = asyncio.Event()

    async def heard(self, message: Msg) -> None:
        assert messages_pb2.ChatResponse.FromString(message.data).success
        self.came.append(message.subject.rsplit(".", 1)[1])
        self._changed.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.came) < number:
                self._changed.clear()
                await self._changed.wait()


async def asked(client: Client, *request_ids: str) -> Answers:
    """Ask; return the answers to come."""
    answers = Answers()
    await client.subscribe("ai.chat.response.*", cb=answers.heard)
    for request_id in request_ids:
        await client.publish("ai.chat.user.ada.message", question(request_id))
    await client.flush()
    return answers


def question(request_id: str) -> bytes:
    return messages_pb2.ChatRequest(request_id=request_id, message=request_id).SerializeToString()


def process_of(folder: Path) -> psutil.Process:
    """Return the NATS server whose files are in a folder."""
    (ports,) = folder.glob("nats-server_*.ports")
    return psutil.Process(int(ports.stem.partition("_")[2]))


async def until_held(ingress: Ingress, number: int) -> None:
    async with asyncio.timeout(10):
        while sum(ingress.held().values()) != number:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_what_waits_is_answered_by_another_before_the_one_that_leaves_has_ended_what_it_began(
    nats_url: str, client: Client
) -> None:
    nats, counts = settings(nats_url), DurableCounts()
    async with serving(nats, Graph(LONG_S), counts) as leaving:
        answers = await asked(client, "begun", "waits", "waits-too")
        await until_held(leaving, 3)
        async with serving(nats, Graph(0.001), counts):
            drained = asyncio.create_task(leaving.drain())
            await answers.until(3)
            await drained
    assert answers.came[2:] == ["begun"]
    assert sorted(answers.came) == ["begun", "waits", "waits-too"]
    assert counts.dead == 0


async def test_what_was_handed_back_as_often_as_it_may_be_begun_is_answered_by_who_has_it(
    nats_url: str, client: Client
) -> None:
    nats, counts = settings(nats_url, tries=1), DurableCounts()
    async with serving(nats, Graph(0.01), counts) as leaving:
        answers = await asked(client, "begun", "waits")
        await until_held(leaving, 2)
        async with serving(nats, Graph(0.001), counts):
            await leaving.drain()
            await answers.until(2)
    assert answers.came == ["begun", "waits"]
    assert (counts.given_out_again, counts.dead) == (0, 0)


async def test_what_cannot_be_done_in_time_is_done_by_another_at_once(nats_url: str, client: Client) -> None:
    nats, counts = settings(nats_url), DurableCounts()
    leaves = nats.model_copy(update={"leave_within_s": 0.2})
    async with serving(leaves, Graph(LONG_S), counts) as leaving:
        answers = await asked(client, "long")
        await until_held(leaving, 1)
        async with serving(nats, Graph(0.001), counts):
            await asyncio.wait_for(leaving.drain(), 1)
            await answers.until(1)
    assert (answers.came, counts.given_out_again, counts.dead) == (["long"], 1, 0)


async def test_who_asked_what_is_not_kept_is_told_that_it_cannot_be_done(nats_url: str, client: Client) -> None:
    nats = settings(nats_url, rows=[]).model_copy(update={"leave_within_s": 0.2})
    async with serving(nats, Graph(LONG_S), DurableCounts()) as leaving:
        answers = [
            asyncio.create_task(client.request("ai.chat.user.ada.message", question(name), timeout=10))
            for name in ("begun", "waits")
        ]
        await until_held(leaving, 2)
        await asyncio.wait_for(leaving.drain(), 1)
        told = [messages_pb2.ChatResponse.FromString((await answer).data) for answer in answers]
    assert [one.success for one in told] == [False, False]
    assert all("was stopped before it was done" in one.error for one in told)


@pytest.mark.parametrize("rows", [[], ["chat-message"]], ids=["core", "kept"])
async def test_one_leaves_in_time_though_the_server_does_not_answer(tmp_path: Path, rows: list[str]) -> None:
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "jetstream")) as url:
        nats = settings(url, rows=rows).model_copy(update={"leave_within_s": 0.5})
        ingress, client = durable_ingress(nats, Graph(LONG_S)), await nats_connected(url)
        running = asyncio.create_task(ingress.run())
        await asyncio.wait_for(ingress.wait_until_serving(), 10)
        await asked(client, "begun", "waits")
        await until_held(ingress, 2)
        server = process_of(tmp_path)
        server.suspend()
        try:
            ingress.stop()
            # Some seconds go to what has a second of its own, and to the closing of the connection.
            await asyncio.wait_for(running, 7)
        finally:
            server.resume()
        await client.close()


# Who comes. Serve ends the old replica when the new one is there.


async def test_a_new_replica_is_there_once_it_takes_requests(nats_url: str) -> None:
    ingress = durable_ingress(settings(nats_url), Graph())
    running = asyncio.create_task(ingress.run())
    await until_taking(ingress, running, 10)
    assert ingress.is_serving()
    ingress.stop()
    await asyncio.wait_for(running, 10)


async def test_one_that_cannot_take_requests_yet_is_there_after_its_time() -> None:
    ingress = durable_ingress(settings(f"nats://127.0.0.1:{free_port()}"), Graph())
    running = asyncio.create_task(ingress.run())
    await asyncio.wait_for(until_taking(ingress, running, 0.1), 5)
    assert not ingress.is_serving()
    assert not running.done()
    ingress.stop()
    await asyncio.wait_for(running, 10)


async def test_one_that_is_stopped_before_it_takes_requests_waits_no_longer() -> None:
    ingress = durable_ingress(settings(f"nats://127.0.0.1:{free_port()}"), Graph())
    running = asyncio.create_task(ingress.run())
    waiting = asyncio.create_task(until_taking(ingress, running, 60))
    ingress.stop()
    await asyncio.wait_for(waiting, 10)
    assert running.done()
