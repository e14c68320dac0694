"""Two attempts at one request, over a real NATS server: what one has told, the other one does not tell again."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path

import nats.errors
import pytest
from nats.aio.msg import Msg

from bridges.nats.answer_store import AnswerStore, AskerNote, Sent
from bridges.nats.connection import NatsClient
from bridges.nats.once_answer import GivenBackError, KeptRequest, OnceAnswer
from bridges.nats.sender import Sender
from deployments.settings.orchestration import DurableSettings
from tests.nats_client import nats_connected
from tests.servers import nats_server

SUBJECT = "ai.chat.request"


@pytest.fixture
def nats_url(tmp_path: Path) -> Generator[str]:
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "jetstream")) as url:
        yield url


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[NatsClient]:
    connection = await nats_connected(nats_url)
    yield connection
    await connection.close()


@pytest.fixture
async def store(client: NatsClient) -> AnswerStore:
    found = AnswerStore(DurableSettings(storage="memory"), 60.0)
    found.connect(client)
    await found.open()
    return found


def given_out(client: NatsClient, holder: str) -> KeptRequest:
    """Return a request as its stream gives it out for the first time."""
    now = time.monotonic()
    return KeptRequest(Msg(client, SUBJECT, "", b"?"), "digest", holder, 1, 0.0, now, now + 60.0)


def attempt(store: AnswerStore, client: NatsClient, kept: KeptRequest, seconds: float = 10.0) -> OnceAnswer:
    async def nobody(kept: KeptRequest, remaining_s: Callable[[], float]) -> Iterable[AskerNote]:
        return ()

    deadline = time.monotonic() + seconds
    return OnceAnswer(kept, "r1", store, nobody, Sender(client), bool, deadline, go_on=False)


async def test_what_a_killed_server_gives_out_as_if_for_the_first_time_is_not_told_again(
    client: NatsClient, store: AnswerStore
) -> None:
    first, again = (attempt(store, client, given_out(client, "stream.1")) for _ in range(2))
    assert await first.begin()
    assert await first.untold("Yes") == "Yes"
    assert await again.begin()
    assert await again.untold("Yes") == ""


async def test_a_request_that_is_given_back_is_answered_where_it_is_sent_again(
    client: NatsClient, store: AnswerStore
) -> None:
    late = replace(given_out(client, "stream.1"), held_until=0.0)
    first, sent_again = attempt(store, client, late), attempt(store, client, given_out(client, "stream.2"))
    assert await first.begin()
    with pytest.raises(GivenBackError):
        await first.untold("Yes")
    assert await sent_again.begin()
    assert await sent_again.untold("Yes") == "Yes"


async def test_what_was_not_held_while_its_note_was_stored_is_not_told(
    client: NatsClient, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = given_out(client, "stream.1")
    begin_stream = store.begin_stream

    async def late(request: str, sent: Sent, remaining_s: Callable[[], float]) -> bool:
        is_ours = await begin_stream(request, sent, remaining_s)
        kept.held_until = 0.0
        return is_ours

    monkeypatch.setattr(store, "begin_stream", late)
    answer = attempt(store, client, kept)
    assert await answer.begin()
    with pytest.raises(GivenBackError):
        await answer.untold("Yes")


async def test_of_two_attempts_that_know_nothing_of_each_other_one_tells_the_stream_and_one_ends_it(
    client: NatsClient, store: AnswerStore
) -> None:
    attempts = [attempt(store, client, given_out(client, "stream.1")) for _ in range(2)]
    for one in attempts:
        # Before either has told anything.
        assert await one.begin()
    told = [await one.untold("Yes") for one in attempts]
    ends = [await one.may_end_stream() for one in attempts]
    assert sorted(told) == ["", "Yes"]
    assert sorted(ends) == [False, True]


async def test_a_flush_does_not_take_a_lost_connection_for_one_that_has_said_all(tmp_path: Path) -> None:
    lost = asyncio.Event()

    async def disconnected() -> None:
        lost.set()

    with nats_server(tmp_path / "another") as url:
        client = await nats_connected(url, max_reconnect_attempts=-1, disconnected_cb=disconnected)
        await client.flush()
    await asyncio.wait_for(lost.wait(), 10)
    with pytest.raises(nats.errors.FlushTimeoutError):
        await client.flush(1)
    await client.close()
