"""Conversations in a real NATS key-value bucket."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from nats.aio.client import Client
from nats.js.api import KeyValueConfig

from bridges.nats import conversation_memory
from bridges.nats.conversation_memory import ConversationMemory, Owner
from deployments.settings.orchestration import MemorySettings
from deployments.values.language import Exchange
from tests.nats_client import nats_connected
from tests.servers import free_port, nats_server


@pytest.fixture(scope="module")
def jetstream_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("jetstream")
    with nats_server(folder, "-js", "-sd", str(folder / "store")) as url:
        yield url


@pytest.fixture
async def client(jetstream_url: str) -> AsyncGenerator[Client]:
    async with await nats_connected(jetstream_url) as connection:
        yield connection


async def memory(client: Client, **settings: object) -> ConversationMemory:
    """Return a memory of its own."""
    made = ConversationMemory(MemorySettings.model_validate({"bucket": f"test_{uuid4().hex}", **settings}))
    await made.connect(client)
    return made


def turn(number: int) -> Exchange:
    return Exchange(f"question {number}", f"answer {number}")


async def test_what_was_said_is_recalled_in_its_order(client: Client) -> None:
    conversations = await memory(client)
    assert await conversations.recall(Owner("u1")) == ()
    for number in range(3):
        await conversations.remember(Owner("u1"), turn(number))
    assert await conversations.recall(Owner("u1")) == (turn(0), turn(1), turn(2))


async def test_only_the_last_turns_are_kept_and_long_ones_are_cut(client: Client) -> None:
    conversations = await memory(client, turns=2, turn_characters=10)
    for number in range(5):
        await conversations.remember(Owner("u1"), turn(number))
    assert await conversations.recall(Owner("u1")) == (
        Exchange("question 3", "answer 3"),
        Exchange("question 4", "answer 4"),
    )
    await conversations.remember(Owner("u1"), Exchange("ü" * 100, "火" * 100))
    assert (await conversations.recall(Owner("u1")))[-1] == Exchange("ü" * 10, "火" * 10)


@pytest.mark.parametrize("user_id", ["a b", "a.b", "*", ">", "ü", "x" * 5000, "../x", "$KV", "\x00"])
async def test_users_of_any_id_have_conversations_of_their_own(client: Client, user_id: str) -> None:
    conversations = await memory(client)
    await conversations.remember(Owner(user_id), turn(1))
    assert await conversations.recall(Owner(user_id)) == (turn(1),)
    assert await conversations.recall(Owner("somebody else")) == ()


async def test_a_user_without_an_id_has_none(client: Client) -> None:
    conversations = await memory(client)
    await conversations.remember(Owner(""), turn(1))
    assert await conversations.recall(Owner("")) == ()


async def test_two_answers_at_once_are_both_remembered(client: Client) -> None:
    conversations = await memory(client)
    await asyncio.gather(*(conversations.remember(Owner("u1"), turn(number)) for number in range(2)))
    assert set(await conversations.recall(Owner("u1"))) == {turn(0), turn(1)}


async def test_another_replica_recalls_the_same_and_the_bucket_forgets_by_itself(client: Client) -> None:
    settings = MemorySettings(bucket="shared", lifetime_s=120)
    one, other = ConversationMemory(settings), ConversationMemory(settings)
    await one.connect(client)
    await other.connect(client)
    await one.remember(Owner("u1"), turn(1))
    assert await other.recall(Owner("u1")) == (turn(1),)
    info = await client.jetstream().stream_info("KV_shared")
    assert info.config.max_age == 120


async def test_what_cannot_be_read_is_forgotten(client: Client) -> None:
    conversations = await memory(client, bucket="damaged")
    await conversations.remember(Owner("u1"), turn(1))
    bucket = await client.jetstream().key_value("damaged")
    (key,) = await bucket.keys()
    await bucket.put(key, b"not json")
    assert await conversations.recall(Owner("u1")) == ()
    await conversations.remember(Owner("u1"), turn(2))
    assert await conversations.recall(Owner("u1")) == (turn(2),)


async def test_off_nothing_is_kept(client: Client) -> None:
    conversations = await memory(client, enabled=False)
    await conversations.remember(Owner("u1"), turn(1))
    assert await conversations.recall(Owner("u1")) == ()


async def test_a_server_without_jetstream_costs_the_memory_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    with nats_server(tmp_path_factory.mktemp("core")) as url:
        async with await nats_connected(url) as plain:
            async with asyncio.timeout(10):
                conversations = await memory(plain)
            await conversations.remember(Owner("u1"), turn(1))
            assert await conversations.recall(Owner("u1")) == ()
    assert "conversations are not remembered" in caplog.text


async def connected_for_good(url: str) -> tuple[Client, asyncio.Event]:
    """Connect as an ingress does; return what is set when the connection is there again."""
    again = asyncio.Event()

    async def reconnected() -> None:
        again.set()

    async def ignore(_: Exception) -> None: ...

    options = {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.1}
    return await nats_connected(url, error_cb=ignore, reconnected_cb=reconnected, **options), again


async def test_jetstream_may_come_later_than_the_ingress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_memory, "_OPENED_EVERY_S", 0.0)
    port, store = str(free_port()), ("-js", "-sd", str(tmp_path / "store"))
    with nats_server(tmp_path / "core", "-p", port) as url:
        connection, again = await connected_for_good(url)
        conversations = await memory(connection)
        await conversations.remember(Owner("u1"), turn(1))
    with nats_server(tmp_path / "jetstream", "-p", port, *store):
        await asyncio.wait_for(again.wait(), 10)
        await conversations.remember(Owner("u1"), turn(2))
        assert await conversations.recall(Owner("u1")) == (turn(2),)
        await connection.close()


async def test_a_store_that_comes_back_empty_is_begun_anew(tmp_path: Path) -> None:
    port = str(free_port())
    with nats_server(tmp_path / "before", "-p", port, "-js", "-sd", str(tmp_path / "first")) as url:
        connection, again = await connected_for_good(url)
        conversations = await memory(connection)
        await conversations.remember(Owner("u1"), turn(1))
    with nats_server(tmp_path / "after", "-p", port, "-js", "-sd", str(tmp_path / "second")):
        await asyncio.wait_for(again.wait(), 10)
        assert await conversations.recall(Owner("u1")) == ()
        await conversations.remember(Owner("u1"), turn(2))
        await conversations.remember(Owner("u1"), turn(3))
        assert await conversations.recall(Owner("u1")) == (turn(2), turn(3))
        await connection.close()


@pytest.mark.parametrize("direct", [False, True], ids=["usual reads", "direct reads"])
async def test_a_bucket_that_is_deleted_is_begun_anew(client: Client, direct: bool) -> None:
    name = f"test_{uuid4().hex}"
    await client.jetstream().create_key_value(KeyValueConfig(bucket=name, direct=direct))
    conversations = await memory(client, bucket=name)
    await conversations.remember(Owner("u1"), turn(1))
    await client.jetstream().delete_stream(f"KV_{name}")
    assert await conversations.recall(Owner("u1")) == ()
    await conversations.remember(Owner("u1"), turn(2))
    assert await conversations.recall(Owner("u1")) == (turn(2),)


async def test_a_bucket_that_is_full_costs_the_memory_and_nothing_else(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"test_{uuid4().hex}"
    await client.jetstream().create_key_value(KeyValueConfig(bucket=name, max_bytes=600))
    conversations = await memory(client, bucket=name)
    for user in ("u1", "u2", "u3"):
        await conversations.remember(Owner(user), Exchange("q" * 100, "a" * 100))
    assert await conversations.recall(Owner("u1"))
    assert await conversations.recall(Owner("u3")) == ()
    assert "could not be remembered" in caplog.text


def server_in(folder: Path) -> psutil.Process:
    (ports,) = folder.glob("nats-server_*.ports")
    return psutil.Process(int(ports.stem.rpartition("_")[2]))


async def test_one_answer_waits_for_a_bucket_that_is_slow_and_those_after_it_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_memory, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(conversation_memory, "_REST_S", 60.0)
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as url:
        connection = await nats_connected(url)
        conversations = await memory(connection)
        await conversations.remember(Owner("u1"), turn(1))
        server = server_in(tmp_path)
        server.suspend()
        try:
            began = time.monotonic()
            for number in range(50):
                assert await conversations.recall(Owner("u1")) == ()
                await conversations.remember(Owner("u1"), turn(number))
            assert time.monotonic() - began < 1.0
        finally:
            server.resume()
        monkeypatch.setattr(conversations, "_rests_until", 0.0)
        assert await conversations.recall(Owner("u1")) == (turn(1),)
        await connection.close()


async def test_a_session_s_conversation_is_no_user_s(client: Client) -> None:
    conversations = await memory(client)
    await conversations.remember(Owner(session_id="s1"), turn(1))
    assert await conversations.recall(Owner(session_id="s1")) == (turn(1),)
    for user in ("s1", "session:s1", "session-s1"):
        assert await conversations.recall(Owner(user)) == ()


async def test_a_server_that_went_away_does_not_hold_an_answer_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("gone")

    async def ignore(_: Exception) -> None: ...

    with nats_server(folder, "-js", "-sd", str(folder / "store")) as url:
        connection = await nats_connected(url, error_cb=ignore)
        conversations = await memory(connection)
    async with asyncio.timeout(5):
        assert await conversations.recall(Owner("u1")) == ()
        await conversations.remember(Owner("u1"), turn(1))
    with suppress(OSError):
        await connection.close()
