"""Every message of a session reaches one replica, once and in order, over a real NATS server: no Ray, no models."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from zlib import crc32

import pytest
from nats.aio.client import Client

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.dispatch import Dispatch
from bridges.live.handover import SessionHandover
from bridges.live.recent_messages import RecentMessage, RecentMessages
from bridges.live.replicas import AudioReplicas
from bridges.nats.askers import Arrival
from bridges.nats.connection import NatsClient
from bridges.nats.ownership import SessionOwners
from bridges.sessions.epochs import SessionWork
from tests.nats_client import nats_connected
from tests.servers import nats_server

NAMES = ("a", "b", "c", "d")
SESSIONS = 40
CHUNK_S = 0.02


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with nats_server(tmp_path_factory.mktemp("nats")) as url:
        yield url


@dataclass
class Heard:
    """What replicas heard of each session, in the order in which they heard it: by whom, and which number."""

    messages: dict[str, list[tuple[str, int]]] = field(default_factory=dict[str, list[tuple[str, int]]])

    def numbers(self, session_id: str) -> list[int]:
        return [number for _, number in self.messages.get(session_id, [])]

    def replicas(self, session_id: str) -> list[str]:
        """Return who heard the session, each once, in order."""
        return list(dict.fromkeys(name for name, _ in self.messages.get(session_id, [])))


@dataclass
class Taken:
    """How many messages of a session were heard, and the last one."""

    count: int = 0
    last: bytes = b""


@dataclass
class Listening:
    """A replica that opens a session by its first message, and remembers what it hears."""

    name: str
    heard: Heard
    open: dict[str, Taken] = field(default_factory=dict[str, Taken])

    async def hear(self, message: Arrival) -> None:
        self.take(message.subject.rsplit(".", 1)[-1], message.data)

    def take(self, session_id: str, payload: bytes) -> None:
        step = messages_pb2.STTStreamMessage.FromString(payload)
        taken = self.open.setdefault(session_id, Taken())
        taken.count += 1
        taken.last = payload
        if step.type == "end":
            del self.open[session_id]
        self.heard.messages.setdefault(session_id, []).append((self.name, int(step.speaker_id)))

    def go_on(self, known: SessionHandover, recent: Sequence[RecentMessage]) -> None:
        """Go on where another replica was, as far as that is known: all that it heard is done."""
        self.open[known.session_id] = Taken()
        for message in recent:
            if not message.was_taken:
                self.take(known.session_id, message.data)

    def generation(self, session_id: str) -> int:
        return 0

    @property
    def session_ids(self) -> AbstractSet[str]:
        return self.open.keys()

    def handovers(self) -> list[SessionHandover]:
        return [found for name in self.open if (found := self.handover(name)) is not None]

    def handover(self, session_id: str) -> SessionHandover | None:
        if (one := self.open.get(session_id)) is None:
            return None
        return SessionHandover(session_id, settled=one.count, taken=one.count, last_taken=crc32(one.last))

    def moved(self, session_id: str) -> None:
        del self.open[session_id]

    def began_elsewhere(self, session_id: str) -> None: ...


@dataclass
class Replica:
    """One of those that share the sessions.

    Attributes:
        listening: What it hears.
        dispatch: Under test.
        replicas: What it knows of the others.
        client: Its connection.
        running: Its tasks.
    """

    listening: Listening
    dispatch: Dispatch
    replicas: AudioReplicas
    client: NatsClient
    running: list[asyncio.Task[None]]

    async def leave(self) -> None:
        """Leave as an ingress does that is drained."""
        await self.dispatch.leave()
        await self.stop()
        await self.dispatch.close()
        await self.replicas.leave()
        await self.client.flush()
        self.listening.open.clear()

    async def stop(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.wait(self.running)

    async def kill(self) -> None:
        """Be gone, as one whose process was killed."""
        await self.stop()
        await self.client.close()


@asynccontextmanager
async def replica(url: str, name: str, heard: Heard) -> AsyncGenerator[Replica]:
    client = await nats_connected(url)
    recent = RecentMessages(30.0, 64 << 20)
    replicas = AudioReplicas(name, SessionWork(), 30.0, recent)
    listening = Listening(name, heard)
    dispatch = Dispatch(name, replicas, listening, listening.hear, recent)

    def take_over(known: SessionHandover) -> None:
        listening.go_on(known, dispatch.go_on_with(known.session_id))

    await dispatch.connect(client)
    await replicas.connect(client, listening, take_over)
    works = (replicas.run(), replicas.watch(), dispatch.run(), dispatch.succeed())
    running = [asyncio.create_task(work) for work in works]
    await replicas.join()
    await dispatch.take_early()
    one = Replica(listening, dispatch, replicas, client, running)
    try:
        yield one
    finally:
        await one.stop()
        if not client.is_closed:
            await client.close()


async def one_hears_all(*replicas: Replica) -> None:
    """Return when one replica alone hears all sessions."""
    async with asyncio.timeout(15):
        while sum(one.dispatch.hears_all for one in replicas) != 1:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


def message(number: int, kind: str = "chunk", audio: bytes = b"") -> bytes:
    return messages_pb2.STTStreamMessage(type=kind, speaker_id=str(number), audio=audio).SerializeToString()


class Speaker:
    """Speaks into sessions; their messages are numbered.

    Args:
        client: Its connection.
        prefix: Of the ids of its sessions.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._next = 0
        self._is_done = False
        self.sessions = [f"{prefix}-{number}" for number in range(SESSIONS)]

    @property
    def sent(self) -> list[int]:
        return list(range(self._next))

    async def burst(self, count: int) -> None:
        """Send messages of all sessions, one session after the other, as fast as may be."""
        for session_id in self.sessions:
            for number in range(self._next, self._next + count):
                kind = "chunk" if number else "start"
                await self._client.publish(f"ai.voice.stream.{session_id}", message(number, kind, bytes(640)))
        self._next += count
        await self._client.flush()

    async def speak(self, seconds: float) -> None:
        """Send a message of each session again and again, as microphones do."""
        for _ in range(round(seconds / CHUNK_S)):
            for session_id in self.sessions:
                await self._client.publish(f"ai.voice.stream.{session_id}", message(self._next, "chunk", bytes(640)))
            self._next += 1
            await asyncio.sleep(CHUNK_S)

    @asynccontextmanager
    async def speaking(self) -> AsyncGenerator[None]:
        """Speak for as long as the block lasts, and half a second more."""
        speaking = asyncio.create_task(self._speak_on())
        try:
            yield
        finally:
            self._is_done = True
            await speaking

    async def _speak_on(self) -> None:
        self._is_done = False
        while not self._is_done:
            await self.speak(0.5)

    async def until_heard(self, heard: Heard) -> None:
        """Return once the last message of each session was heard."""
        async with asyncio.timeout(5):
            while any(self.sent[-1] not in heard.numbers(one) for one in self.sessions):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.02)


@asynccontextmanager
async def four(url: str, heard: Heard) -> AsyncGenerator[list[Replica]]:
    async with AsyncExitStack() as running:
        started = [running.enter_async_context(replica(url, name, heard)) for name in NAMES]
        yield list(await asyncio.gather(*started))


async def test_each_message_is_heard_once_and_in_order_at_one_replica(nats_url: str) -> None:
    heard = Heard()
    async with four(nats_url, heard) as replicas, await nats_connected(nats_url) as connection:
        await one_hears_all(*replicas)
        client = Speaker(connection, "whole")
        await client.burst(50)
        await client.speak(1.0)
        await client.burst(20)
        await client.until_heard(heard)
        assert {tuple(heard.numbers(one)) for one in client.sessions} == {tuple(client.sent)}
        shares = Counter(name for one in client.sessions for name in heard.replicas(one))
        # Nobody's session was heard by two, and everybody has some.
        assert (sum(shares.values()), set(shares)) == (SESSIONS, set(NAMES))


async def test_a_replica_that_is_no_dispatcher_receives_its_own_sessions_only(nats_url: str) -> None:
    heard = Heard()
    async with four(nats_url, heard) as replicas, await nats_connected(nats_url) as connection:
        await one_hears_all(*replicas)
        client = Speaker(connection, "own")
        await client.burst(1)
        await client.speak(0.5)
        before = {one.listening.name: one.client.stats["in_msgs"] for one in replicas}
        await client.speak(1.0)
        for one in replicas:
            if not one.dispatch.hears_all:
                received = one.client.stats["in_msgs"] - before[one.listening.name]
                share = len(one.listening.open) / SESSIONS
                # What replicas tell each other is some messages more.
                assert received < share * 1.0 / CHUNK_S * SESSIONS + 60


async def test_no_message_is_lost_when_a_replica_with_more_right_comes(nats_url: str) -> None:
    heard = Heard()
    async with AsyncExitStack() as running:
        early = [await running.enter_async_context(replica(nats_url, name, heard)) for name in ordered(NAMES)[1:]]
        connection = await running.enter_async_context(await nats_connected(nats_url))
        await one_hears_all(*early)
        client = Speaker(connection, "comes")
        await client.burst(3)
        async with client.speaking():
            late = await running.enter_async_context(replica(nats_url, ordered(NAMES)[0], heard))
            await one_hears_all(late, *early)
        await client.until_heard(heard)
        assert [one.dispatch.hears_all for one in (late, *early)] == [True, False, False, False]
        assert {tuple(heard.numbers(one)) for one in client.sessions} == {tuple(client.sent)}
        assert not late.listening.open
        young = Speaker(connection, "young")
        await young.burst(20)
        await young.until_heard(heard)
        assert {tuple(heard.numbers(one)) for one in young.sessions} == {tuple(young.sent)}
        assert late.listening.open


def ordered(names: tuple[str, ...]) -> list[str]:
    """Return replicas, that with the most right to be the dispatcher first."""
    found: list[str] = []
    while rest := [name for name in names if name not in found]:
        owners = SessionOwners(rest[0])
        for name in rest[1:]:
            owners.heard(name, 0.0)
        found.append(owners.owner_of(""))
    return found


@pytest.mark.parametrize("how", ["leaves", "is killed"])
async def test_when_the_dispatcher_goes_no_session_loses_anything(nats_url: str, how: str) -> None:
    heard = Heard()
    async with four(nats_url, heard) as replicas, await nats_connected(nats_url) as connection:
        await one_hears_all(*replicas)
        dispatcher = next(one for one in replicas if one.dispatch.hears_all)
        others = [one for one in replicas if one is not dispatcher]
        client = Speaker(connection, how.replace(" ", "-"))
        await client.burst(3)
        await client.speak(0.5)
        its_own = set(dispatcher.listening.open)
        async with client.speaking():
            await (dispatcher.leave() if how == "leaves" else dispatcher.kill())
            await one_hears_all(*others)
        await client.until_heard(heard)
        for one in client.sessions:
            numbers = heard.numbers(one)
            if one in its_own and how == "is killed":
                # What it had heard and had not told is heard again.
                gone_back = [at for at, (before, after) in enumerate(pairwise(numbers)) if after <= before]
                assert len(gone_back) <= 1
                numbers = sorted(set(numbers))
            assert numbers == client.sent, one
