"""Replicas that share live sessions over a real NATS server: no Ray, no models."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from nats.aio.client import Client

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.ingress import AudioIngress
from bridges.nats.connection import LastingConnection
from bridges.nats.refusals import Refusals
from bridges.sessions.epochs import SessionWork
from bridges.subjects import Role
from deployments.settings.audio import AudioSettings
from deployments.settings.orchestration import NatsSettings
from tests.conversation.scene import Counted, LoudnessActivity, ReadingTranscription, square_voice
from tests.nats_client import nats_connected
from tests.servers import nats_server

SESSIONS = [f"session-{number}" for number in range(40)]


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with nats_server(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[Client]:
    connection = await nats_connected(nats_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def replica(url: str, name: str) -> AsyncGenerator[tuple[AudioIngress, Client]]:
    """Run a replica, and give the connection that it uses."""
    connection = LastingConnection(NatsSettings(url=url), name, Refusals(Role.AUDIO_INGRESS))
    await connection.open(asyncio.Event())
    ingress = AudioIngress(
        AudioSettings(), ReadingTranscription(), LoudnessActivity(), SessionWork(), Counted(), replica=name
    )
    running = asyncio.create_task(ingress.run())
    await ingress.connect(connection.client)
    try:
        yield ingress, connection.client
    finally:
        ingress.stop()
        await asyncio.wait_for(running, 10)
        await connection.close()


async def send(client: Client, **fields: object) -> None:
    """Send the same message of every session."""
    message = messages_pb2.STTStreamMessage(**fields)  # pyright: ignore[reportArgumentType] - the fields of the message
    for session_id in SESSIONS:
        await client.publish(f"ai.voice.stream.{session_id}", message.SerializeToString())


async def until_heard(client: Client) -> None:
    """Return once the replicas have heard all that was sent: each session's refuses a message that makes no sense."""
    refusals = await client.subscribe(client.new_inbox())
    nonsense = messages_pb2.STTStreamMessage(type="nonsense").SerializeToString()
    for session_id in SESSIONS:
        await client.publish(f"ai.voice.stream.{session_id}", nonsense, reply=refusals.subject)
    for _ in SESSIONS:
        refusal = await refusals.next_msg(timeout=10)
        # The server itself answers, with no data, where nobody listens.
        assert messages_pb2.ErrorResponse.FromString(refusal.data).type == "invalid_request"
    await refusals.unsubscribe()


async def counts_become(expected: tuple[int, ...], *ingresses: AudioIngress) -> None:
    async with asyncio.timeout(15):
        while tuple(one.session_count for one in ingresses) != expected:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_sessions_stay_where_they_are_until_their_replica_leaves_or_dies(nats_url: str, client: Client) -> None:
    async with AsyncExitStack() as running:
        first, leaving = await running.enter_async_context(replica(nats_url, "first"))
        await send(client, type="start", speaker_id="ada")
        await until_heard(client)
        async with replica(nats_url, "second") as (second, _):
            third, connection = await running.enter_async_context(replica(nats_url, "third"))
            await send(client, type="chunk", audio=bytes(640))
            await until_heard(client)
            assert (first.session_count, second.session_count, third.session_count) == (40, 0, 0)
            await first.drain()
            assert first.session_count == 0
            # What it told the others is at the server before what is sent next.
            await leaving.flush()
            await send(client, type="chunk", audio=bytes(640))
            await until_heard(client)
            assert second.session_count + third.session_count == 40
            assert min(second.session_count, third.session_count) > 5
            # It is cut off, as one whose process was killed.
            await connection.close()
            await speak_until_all_are_at(client, second)
            heard = await client.subscribe("ai.voice.transcription.*")
            await send(client, type="chunk", audio=square_voice("good morning") + bytes(64_000))
            speakers: dict[str, str] = {}
            while len(speakers) < len(SESSIONS):
                transcript = messages_pb2.STTTranscription.FromString((await heard.next_msg(timeout=10)).data)
                speakers[transcript.session_id] = transcript.speaker_id
            assert set(speakers.values()) == {"ada"}


async def speak_until_all_are_at(client: Client, ingress: AudioIngress) -> None:
    """Speak silence into all sessions until one replica has them all."""
    async with asyncio.timeout(15):
        while ingress.session_count < len(SESSIONS):
            await send(client, type="chunk", audio=bytes(640))
            await asyncio.sleep(0.1)
