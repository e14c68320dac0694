"""Every part of a graph fails once, and its clients are told: real Ray, NATS and Milvus, a model that fails as told."""

import asyncio
import contextlib
import io
import os
import re
import signal
import time
import wave
from collections.abc import AsyncGenerator, Generator
from typing import Any
from uuid import uuid4

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from bridges.command_line.client import HearthClient, connected
from bridges.generated.hearth.v1 import documents_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import HearthError
from tests.end_to_end.conftest import Graph
from tests.end_to_end.second_graph import MAX_IN_FLIGHT, MAX_WAITING, REQUEST_TIMEOUT_S, SecondGraph
from tests.end_to_end.test_speech import Session
from tests.openai_server import TOKENS, openai_server
from tests.servers import RestartableServer, free_port, milvus_server, nats_server, wait_until

MAX_PAYLOAD = 64 << 10
WHOLE = "".join(TOKENS).strip()


@pytest.fixture(scope="module")
def second(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Generator[SecondGraph]:
    """Deploy the graph that these tests break."""
    folder = tmp_path_factory.mktemp("second")
    config = folder / "nats.conf"
    config.write_text(f'max_payload: {MAX_PAYLOAD}\njetstream {{ store_dir: "{folder / "store"}" }}\n')
    nats_port, milvus_port = str(free_port()), free_port()
    broker = RestartableServer(lambda: nats_server(folder / "nats", "-c", str(config), "-p", nats_port))
    milvus = RestartableServer(lambda: milvus_server(folder / "milvus", milvus_port))
    broker.start()
    milvus.start()
    with openai_server() as model:
        deployed = SecondGraph(broker, milvus, model, graph)
        deployed.deploy()
        yield deployed
        deployed.remove()
    milvus.stop()
    broker.stop()


@pytest.fixture
async def client(second: SecondGraph) -> AsyncGenerator[HearthClient]:
    async with connected(second.nats.url) as connection:
        yield connection


@pytest.fixture
async def connection(second: SecondGraph) -> AsyncGenerator[Client]:
    async with await nats.connect(second.nats.url) as connection:
        yield connection


async def ask(client: HearthClient, message: str, **fields: Any) -> tuple[str, messages_pb2.ChatResponse]:
    """Return the text that was streamed, and the response."""
    text = ""
    request = messages_pb2.ChatRequest(message=message, enable_streaming=True, **fields)
    async for item in client.ask(request, 60):
        if isinstance(item, messages_pb2.ChatResponse):
            return text, item
        text += item.content
    raise AssertionError("no response")


async def test_services_in_the_ingress_s_replica_answer_as_those_apart(
    second: SecondGraph, client: HearthClient
) -> None:
    assert set(second.processes()) == {"NatsIngress", "AudioIngress", "LanguageModel"}
    parts = {part.name: part.process_id for part in (await client.status(10)).components}
    assert len({parts[name] for name in ("NatsIngress", "Chat", "Retrieval", "Ingestion")}) == 1
    text, response = await ask(client, "Hello?")
    assert (text, response.response, response.success) == (WHOLE, WHOLE, True)


async def test_a_model_that_fails_before_its_first_token_is_told(client: HearthClient) -> None:
    text, response = await ask(client, "[fail]")
    assert text == response.response == ""
    assert not response.success
    assert "400" in response.error, "the status is no secret"
    assert "the model refuses" not in response.error
    assert "127.0.0.1" not in response.error
    assert (await ask(client, "Still there?"))[1].success


async def test_a_model_that_breaks_off_leaves_its_text_so_far(client: HearthClient) -> None:
    text, response = await ask(client, "[break]")
    assert text == response.response == "one two three"
    assert not response.success
    assert response.error.startswith("the answer broke off: ")
    assert (await ask(client, "Still there?"))[1].success


async def test_a_model_that_says_nothing_is_given_up_at_the_deadline(second: SecondGraph, client: HearthClient) -> None:
    left = second.model.left
    started = time.monotonic()
    _, response = await ask(client, "[silent]")
    assert REQUEST_TIMEOUT_S - 1 < time.monotonic() - started < REQUEST_TIMEOUT_S + 5
    assert not response.success
    assert "time" in response.error
    wait_until("the end of the call to the model", lambda: second.model.left > left, 5)


async def test_an_answer_over_the_server_s_limit_is_cut_and_the_connection_lives(client: HearthClient) -> None:
    text, response = await ask(client, "[long 100]")
    assert response.success
    assert "longer than the NATS server takes" in response.error
    assert len(response.SerializeToString()) <= MAX_PAYLOAD
    assert len(text) == 100 * 500 - 1
    assert text.startswith(response.response)
    assert (await ask(client, "Still there?"))[1].success


async def test_a_speech_over_the_server_s_limit_is_cut_and_says_so(connection: Client) -> None:
    session = await Session(connection).open()
    await session.say(text="This sentence is said again and again. " * 3, stream=False)
    await session.heard.until(lambda: "error" in session.heard.statuses)
    (response,) = session.heard.on("tts.audio", messages_pb2.TTSFullResponse)
    assert MAX_PAYLOAD * 0.9 < response.ByteSize() <= MAX_PAYLOAD
    with wave.open(io.BytesIO(response.audio)) as file:
        assert file.getnframes() * 2 + 44 == len(response.audio)


async def test_a_client_that_vanishes_ends_the_work_of_the_model(second: SecondGraph) -> None:
    left = second.model.left
    vanishing = await nats.connect(second.nats.url)
    chunks = await vanishing.subscribe("ai.chat.response.stream.vanishing")
    request = messages_pb2.ChatRequest(request_id="vanishing", message="[slow 60]", enable_streaming=True)
    await vanishing.publish("ai.chat.request", request.SerializeToString())
    await chunks.next_msg(timeout=10)
    await vanishing.close()
    wait_until("the end of the call to the model", lambda: second.model.left > left, 3)


async def test_a_model_replica_killed_before_the_first_token_is_waited_for_and_costs_that_answer_alone(
    second: SecondGraph, client: HearthClient
) -> None:
    asked = len(second.model.asked)
    before = second.processes()
    started = time.monotonic()
    waiting = asyncio.create_task(ask(client, "[silent]"))
    await asyncio.to_thread(wait_until, "the question", lambda: len(second.model.asked) > asked, 5)
    os.kill(before["LanguageModel"], signal.SIGKILL)
    # The next replica would be asked the same; the request's own time is over before it says a word.
    _, response = await waiting
    assert time.monotonic() - started > REQUEST_TIMEOUT_S - 1
    assert not response.success
    assert "time" in response.error
    await until_answered(client)
    assert second.processes()["NatsIngress"] == before["NatsIngress"]


async def test_more_than_it_can_take_is_refused_at_once_and_the_rest_answered(
    second: SecondGraph, connection: Client
) -> None:
    request = messages_pb2.ChatRequest(message="[slow 20]").SerializeToString()
    asked = [
        asyncio.create_task(connection.request("ai.chat.request", request, timeout=30))
        for _ in range(3 * (MAX_IN_FLIGHT + MAX_WAITING))
    ]
    answers = [messages_pb2.ChatResponse.FromString((await answer).data) for answer in asked]
    refused = [answer for answer in answers if not answer.success]
    assert len(refused) == 2 * (MAX_IN_FLIGHT + MAX_WAITING)
    assert all("try again in 2 s" in answer.error for answer in refused), "by then none of those that wait does so"
    wait_until("the lines of the refused", lambda: _told_as_refused(second.log()) >= len(refused), 20)


def _told_as_refused(log: str) -> int:
    """Return of how many refused requests a log tells: of some in a line each, of the others in sums."""
    lines = re.findall(r'"event": "request", .*"outcome": "overloaded"', log)
    sums = re.findall(r'"event": "requests_refused", .*"outcome": "overloaded", "requests": (\d+)', log)
    return len(lines) + sum(int(number) for number in sums)


async def test_without_milvus_the_model_answers_alone_and_with_it_again_from_documents(
    second: SecondGraph, client: HearthClient
) -> None:
    collection = f"c_{uuid4().hex[:8]}"
    wish: dict[str, Any] = {"enable_rag": True, "collection": collection}
    document = documents_pb2.IngestRequest(source="a.md", text="The gate closes at ten.", collection=collection)
    await client.ingest(document, 30)
    _, response = await ask(client, "When does the gate close?", **wish)
    assert (response.used_rag, list(response.rag_sources)) == (True, ["a.md"])
    second.milvus.stop()
    _, response = await ask(client, "When does the gate close?", **wish)
    assert (response.success, response.used_rag, list(response.rag_sources)) == (True, False, [])
    wait_until("a line of it", lambda: "is answered without retrieval" in second.log(), 20)
    status = await client.status(10)
    assert status.ready, "Milvus is no condition of chat"
    assert not {part.name: part.ready for part in status.components}["Milvus"]
    second.milvus.start()

    async with asyncio.timeout(30):
        while not response.used_rag:
            _, response = await ask(client, "When does the gate close?", **wish)


async def test_a_nats_server_that_restarts_finds_the_graph_again(second: SecondGraph) -> None:
    before = second.processes()
    second.nats.stop()
    second.nats.start()
    async with connected(second.nats.url) as client:
        await until_answered(client)
    assert second.processes() == before


async def until_answered(client: HearthClient) -> None:
    """Ask until an answer comes: nobody may take requests for a moment, or a replica be away."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(HearthError, nats.errors.Error):
                if (await ask(client, "Still there?"))[1].success:
                    return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("subject", ["ai.chat.request", "ai.chat.user.u1.message"])
async def test_what_cannot_be_read_is_answered_on_the_reply_subject(connection: Client, subject: str) -> None:
    reply = await connection.request(subject, b"\xff\xff", timeout=10)
    assert messages_pb2.ErrorResponse.FromString(reply.data).type == "invalid_request"


async def test_a_graph_that_is_taken_away_finishes_what_it_took(second: SecondGraph, connection: Client) -> None:
    """Last, since the graph is away afterwards."""
    asked = len(second.model.asked)
    request = messages_pb2.ChatRequest(message="[slow 40]").SerializeToString()
    waiting = [
        asyncio.create_task(connection.request("ai.chat.request", request, timeout=30)) for _ in range(MAX_IN_FLIGHT)
    ]
    await asyncio.to_thread(wait_until, "the questions", lambda: len(second.model.asked) >= asked + MAX_IN_FLIGHT, 10)
    await asyncio.to_thread(second.remove)
    answers = [messages_pb2.ChatResponse.FromString((await answer).data) for answer in waiting]
    assert [answer.success for answer in answers] == [True] * MAX_IN_FLIGHT
    with pytest.raises(nats.errors.NoRespondersError):
        await connection.request("ai.chat.request", request, timeout=5)
