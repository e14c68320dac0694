"""Requests and their answers through a NATS server that permits each role what the table of subjects gives it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from bridges.command_line.client import NatsServer, connected
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.chat import ChatHandler
from bridges.handlers.pipelines import NO_PIPELINES, PipelineHandler
from bridges.handlers.speech import SpeechHandler
from bridges.live.conversation import ConversationParts
from bridges.live.ingress import AudioIngress
from bridges.nats.connection import NatsClient
from bridges.nats.conversation_memory import ConversationMemory, Owner
from bridges.nats.ingress import Endpoint, Handler, Ingress
from bridges.nats.trust import Trust
from bridges.operations.outcome import Outcome
from bridges.permissions import inbox_prefix, installation_names, permissions
from bridges.pipelines import intake as pipeline_intake
from bridges.pipelines.replica import PipelineReplica
from bridges.pipelines.run_store import PipelineRuns
from bridges.requests import REQUESTS
from bridges.sessions.epochs import SessionWork
from bridges.sessions.turn_log import TurnRecords
from bridges.subjects import (
    AUDIO_STREAM,
    CHAT_MESSAGE,
    CHAT_RESPONSE,
    CHAT_STREAM,
    CONVERSATION_TEXT,
    CONVERSATION_TURN,
    DISCOVERY_BY_NAME,
    INBOX,
    PIPELINE_STATUS,
    PIPELINE_TRIGGER,
    REPLICA_INBOX,
    SPEECH_AUDIO,
    SPEECH_REQUEST,
    SPEECH_STATUS,
    SUBJECTS,
    TRANSCRIPTION,
    Role,
    Subject,
    subject_for,
)
from deployments.call import Call
from deployments.chat.service import Chat
from deployments.settings.orchestration import NatsSettings, OrchestrationSettings
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.status import ComponentStatus
from tests.conversation.scene import (
    Counted,
    LoudnessActivity,
    ReadingTranscription,
    ScriptedVoice,
    SlowSpeech,
    square_voice,
)
from tests.kept_by_others import make_what_is_kept
from tests.nats_client import nats_connected
from tests.servers import nats_server
from tests.unit.services import ScriptedModel, ScriptedRetrieval
from tests.workflow_engines.argo import ArgoServer
from tests.workflow_engines.engine_server import serving
from tests.workflow_engines.follower import Followed, follow

WAIT_S = 10.0
SETTINGS = OrchestrationSettings.model_validate({"audio": {"enabled": True}})
EVERYTHING = OrchestrationSettings.model_validate({"nats": {"durable": {"rows": ["chat-message"]}}})
NAMES = installation_names(EVERYTHING)
USERS = (Role.CLIENT, Role.USER, Role.OPERATOR, Role.NATS_INGRESS, Role.AUDIO_INGRESS, Role.PIPELINES)
OF_ONE_USER = {Role.USER: "alice", Role.OPERATOR: "operator"}
ADMIN = "admin"
INBOX_PREFIXES = {
    **{role.name: inbox_prefix(user_id) for role, user_id in OF_ONE_USER.items()},
    **dict.fromkeys((Role.NATS_INGRESS.name, Role.AUDIO_INGRESS.name, Role.PIPELINES.name), REPLICA_INBOX.inbox_prefix),
}
SILENCE = bytes(2 * 16_000)


def configuration() -> str:
    """Return a server's configuration, as JSON: a user for each role, and one that may do anything."""
    users = [
        {
            "user": role.name,
            "password": "secret",
            "permissions": {"publish": list(may.publish), "subscribe": list(may.subscribe)},
        }
        for role in USERS
        for may in [permissions(role, NAMES | ({"user_id": OF_ONE_USER[role]} if role in OF_ONE_USER else {}))]
    ]
    return json.dumps({"authorization": {"users": [*users, {"user": ADMIN, "password": "secret"}]}})


@dataclass(frozen=True)
class Server:
    """A server with permissions.

    Attributes:
        url: Its address, without a user.
        log: The file that it writes to.
    """

    url: str
    log: Path

    def url_for(self, user: str) -> str:
        return self.url.replace("nats://", f"nats://{user}:secret@")

    @property
    def violations(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if "Violation" in line]

    async def connect(self, user: str) -> NatsClient:
        async def ignore(_: Exception) -> None:
            """What the server denies stands in its log."""

        prefix = INBOX_PREFIXES.get(user, INBOX.inbox_prefix)
        return await nats_connected(self.url_for(user), error_cb=ignore, inbox_prefix=prefix)


@contextmanager
def permitting_server(folder: Path) -> Generator[Server]:
    file = folder / "nats.conf"
    file.write_text(configuration())
    with nats_server(folder / "nats", "-c", str(file), "-js", "-sd", str(folder / "store")) as url:
        yield Server(url, folder / "nats" / "nats.log")


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    """Run a server; at the end nobody has tried what is not permitted."""
    with permitting_server(tmp_path) as server:
        yield server
        assert server.violations == []


@pytest.fixture
def refusing_server(tmp_path: Path) -> Generator[Server]:
    with permitting_server(tmp_path) as server:
        yield server


@dataclass
class NoMetrics:
    """Counts nothing."""

    def ended(self, subject: str, outcome: Outcome, seconds: float) -> None: ...

    def refused(self, subject: str, outcome: Outcome, number: int) -> None: ...

    def open(self, in_flight: int, waiting: int) -> None: ...


@asynccontextmanager
async def ingress(
    server: Server, role: Role, handlers: dict[str, Handler], kept: ConversationMemory | PipelineRuns | None = None
) -> AsyncGenerator[None]:
    """Run an ingress of a role for as long as the block lasts."""

    async def components(call: Call) -> tuple[ComponentStatus, ...]:
        return ()

    async def connect(client: Client) -> None:
        match kept:
            case ConversationMemory():
                await kept.connect(client)
            case PipelineRuns():
                kept.connect(client)
            case None:
                pass

    rows = [Endpoint(row, handlers[row.name], WAIT_S) for row in REQUESTS if row.name in handlers]
    running_ingress = Ingress(NatsSettings(url=server.url_for(role.name)), rows, components, connect, NoMetrics())
    running = asyncio.create_task(running_ingress.run())
    try:
        await asyncio.wait_for(running_ingress.wait_until_serving(), WAIT_S)
        yield
    finally:
        running_ingress.stop()
        await asyncio.wait_for(running, WAIT_S)


async def heard(client: Client, *rows: Subject, **tokens: str) -> list[Subscription]:
    subscriptions = [await client.subscribe(subject_for(row, **tokens)) for row in rows]
    await client.flush()
    return subscriptions


async def next_of(subscription: Subscription) -> bytes:
    return (await subscription.next_msg(timeout=WAIT_S)).data


@pytest.mark.parametrize("is_made_before", [False, True], ids=["a new server", "made by others before"])
async def test_a_question_and_its_streamed_answer_are_permitted(server: Server, is_made_before: bool) -> None:
    if is_made_before:
        await make_what_is_kept(await server.connect(ADMIN), SETTINGS)
    retrieval, memory = ScriptedRetrieval(), ConversationMemory(SETTINGS.memory)
    handler = ChatHandler(Chat(ScriptedModel(), retrieval), None, memory, Trust())
    async with ingress(server, Role.NATS_INGRESS, {"chat-message": handler}, memory):
        client = await server.connect(Role.CLIENT.name)
        stream, final = await heard(client, CHAT_STREAM, CHAT_RESPONSE, request_id="r-1")
        request = messages_pb2.ChatRequest(request_id="r-1", message="Hi", enable_streaming=True)
        subject = subject_for(CHAT_MESSAGE, user_id="u1")
        reply = await client.request(subject, request.SerializeToString(), timeout=WAIT_S)
        assert messages_pb2.ChatStreamChunk.FromString(await next_of(stream)).content == "Hello"
        assert await next_of(final) == reply.data
        assert messages_pb2.ChatResponse.FromString(reply.data).success
        assert [turn.question for turn in await memory.recall(Owner("u1"))] == ["Hi"]
        await client.close()


async def test_a_client_of_one_user_gets_the_whole_answer_in_its_inbox(server: Server) -> None:
    memory = ConversationMemory(SETTINGS.memory)
    handler = ChatHandler(Chat(ScriptedModel(), ScriptedRetrieval()), None, memory, Trust())
    prefix = inbox_prefix(OF_ONE_USER[Role.USER])
    async with (
        ingress(server, Role.NATS_INGRESS, {"chat-message": handler}, memory),
        connected(NatsServer(server.url_for(Role.USER.name), inbox_prefix=prefix)) as client,
    ):
        request = messages_pb2.ChatRequest(message="Hi", enable_streaming=True, user_id="somebody else")
        items = [item async for item in client.ask(request, WAIT_S)]
        assert [(type(item), getattr(item, "user_id", "")) for item in items] == [(messages_pb2.ChatResponse, "alice")]
        assert [turn.question for turn in await memory.recall(Owner("alice"))] == ["Hi"]


async def test_an_operator_finds_the_service(server: Server) -> None:
    async with ingress(server, Role.NATS_INGRESS, {}):
        operator = await server.connect(Role.OPERATOR.name)
        found = await operator.request(subject_for(DISCOVERY_BY_NAME, verb="PING"), timeout=WAIT_S)
        assert json.loads(found.data)["name"] == "hearth"
        await operator.close()


async def test_a_text_and_its_speech_are_permitted(server: Server) -> None:
    handler = SpeechHandler(SlowSpeech(word_s=0), SessionWork(), SETTINGS.speech)
    async with ingress(server, Role.AUDIO_INGRESS, {"speech-request": handler}):
        client = await server.connect(Role.CLIENT.name)
        audio, status = await heard(client, SPEECH_AUDIO, SPEECH_STATUS, session_id="s")
        request = messages_pb2.TTSRequest(text="Hello.", stream=True)
        subject = subject_for(SPEECH_REQUEST, session_id="s")
        reply = await client.request(subject, request.SerializeToString(), timeout=WAIT_S)
        assert messages_pb2.TTSStatus.FromString(reply.data).status == "completed"
        assert messages_pb2.TTSAudioChunk.FromString(await next_of(audio)).audio
        assert messages_pb2.TTSStatus.FromString(await next_of(status)).status == "processing"
        await client.close()


def audio_ingress(replica: str, memory: ConversationMemory) -> AudioIngress:
    """Return what listens to live audio and answers."""
    work, records = SessionWork(), TurnRecords(SETTINGS.turns, with_text=False)
    parts = ConversationParts(SETTINGS.audio.conversation, 32_768, ScriptedVoice(), work, memory, records)
    transcription = ReadingTranscription(0.0, (0.0,))
    return AudioIngress(SETTINGS.audio, transcription, LoudnessActivity(), work, Counted(), parts, replica)


@asynccontextmanager
async def listening(server: Server, replica: str) -> AsyncGenerator[None]:
    """Run a replica that listens to live audio and answers."""
    memory = ConversationMemory(SETTINGS.memory)
    audio = audio_ingress(replica, memory)
    connection = await server.connect(Role.AUDIO_INGRESS.name)
    await memory.connect(connection)
    running = asyncio.create_task(audio.run())
    await audio.connect(connection)
    try:
        yield
    finally:
        audio.stop()
        await asyncio.wait_for(running, WAIT_S)
        await connection.close()


async def test_a_conversation_and_an_interruption_are_permitted(server: Server) -> None:
    async with listening(server, "one"), listening(server, "two"):
        client = await server.connect(Role.CLIENT.name)
        rows = (TRANSCRIPTION, SPEECH_AUDIO, CONVERSATION_TEXT, CONVERSATION_TURN)
        words, sound, text, turns = await heard(client, *rows, session_id="s")
        start = messages_pb2.STTStreamMessage(
            type="start", user_id="u1", conversation=conversation_pb2.ConversationRequest()
        )
        question = messages_pb2.STTStreamMessage(type="chunk", audio=square_voice("when does it open") + SILENCE)
        interruption = messages_pb2.STTStreamMessage(type="chunk", audio=square_voice("stop that please now"))
        for message in (start, question):
            await client.publish(subject_for(AUDIO_STREAM, session_id="s"), message.SerializeToString())
        assert messages_pb2.ChatStreamChunk.FromString(await next_of(text)).content
        assert messages_pb2.TTSAudioChunk.FromString(await next_of(sound)).audio
        await client.publish(subject_for(AUDIO_STREAM, session_id="s"), interruption.SerializeToString())
        async with asyncio.timeout(WAIT_S):
            while messages_pb2.STTInterrupt.FromString(await next_of(words)).type != "interrupt":
                pass
        assert conversation_pb2.TurnRecord.FromString(await next_of(turns)).turn == 1
        await client.close()


@pytest.mark.parametrize("is_made_before", [False, True], ids=["a new server", "made by others before"])
async def test_a_trigger_and_its_statuses_are_permitted(
    server: Server, monkeypatch: pytest.MonkeyPatch, is_made_before: bool
) -> None:
    monkeypatch.setattr(pipeline_intake, "_GRACE_S", 0.0)
    monkeypatch.setattr(pipeline_intake, "_FETCH_S", 0.1)
    if is_made_before:
        await make_what_is_kept(await server.connect(ADMIN), SETTINGS)
    with serving(ArgoServer("document-ingestion")) as argo:
        settings = PipelinesSettings.model_validate(
            {
                "argo": {"kind": "argo-server", "url": argo.url, "watch_idle_s": 5},
                "table": {"document-ingestion": {"engine": "argo"}},
            }
        )
        client = await server.connect(Role.CLIENT.name)
        nats = NatsSettings(url=server.url_for(Role.PIPELINES.name))
        replica, runs = PipelineReplica(settings, nats), PipelineRuns(settings)
        running = asyncio.create_task(replica.run())
        handler = PipelineHandler(replica.service, runs)
        async with ingress(server, Role.NATS_INGRESS, {"pipeline-trigger": handler}, runs):
            followed = await triggered(client, "r-1", "document-ingestion")
            await followed.until_word("submitted")
            argo.set_phase(argo.names[0], "Succeeded")
            await followed.until_word("succeeded")
            refused = await triggered(client, "r2", "no-such-pipeline")
            await refused.until_word("error")
        # Now that no ingress takes it, the stream has it.
        late = await triggered(client, "late", "document-ingestion")
        await late.until_word("submitted")
        replica.stop()
        await asyncio.wait_for(running, 2 * WAIT_S)
        await client.close()


async def test_a_refusal_of_an_ingress_alone_is_permitted(server: Server) -> None:
    await make_what_is_kept(await server.connect(ADMIN), SETTINGS)
    runs = PipelineRuns(SETTINGS.pipelines)
    async with ingress(server, Role.NATS_INGRESS, {"pipeline-trigger": PipelineHandler(None, runs)}, runs):
        client = await server.connect(Role.CLIENT.name)
        refused = await triggered(client, "r1", "document-ingestion")
        assert (await refused.until_word("error")).error == NO_PIPELINES
        await client.close()


async def triggered(client: Client, request_id: str, pipeline: str) -> Followed:
    followed = await follow(client, subject_for(PIPELINE_STATUS, request_id=request_id))
    request = messages_pb2.PipelineTrigger(request_id=request_id, pipeline=pipeline)
    inbox = client.new_inbox()
    await client.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString(), reply=inbox)
    return followed


def concrete(row: Subject) -> str:
    return row.narrowed(**NAMES).replace("*", "x").replace(">", "x")


async def test_a_client_may_not_publish_what_only_hearth_says(refusing_server: Server) -> None:
    denied = [concrete(row) for row in SUBJECTS if Role.CLIENT not in row.publishers]
    admin, client = await refusing_server.connect(ADMIN), await refusing_server.connect(Role.CLIENT.name)
    came: list[str] = []

    async def heard_by_admin(message: Msg) -> None:
        came.append(message.subject)

    for subject in denied:
        await admin.subscribe(subject, cb=heard_by_admin)
    await admin.flush()
    for subject in denied:
        await client.publish(subject, b"forged")
    await client.flush()
    await admin.flush()
    assert came == []
    assert all(any(f'Subject "{subject}"' in line for line in refusing_server.violations) for subject in denied)
    await client.close()
    await admin.close()


async def test_a_client_may_not_hear_what_is_not_for_it(refusing_server: Server) -> None:
    denied = [row.narrowed(**NAMES) for row in SUBJECTS if Role.CLIENT not in row.subscribers]
    admin, client = await refusing_server.connect(ADMIN), await refusing_server.connect(Role.CLIENT.name)
    came: list[str] = []

    async def heard_by_client(message: Msg) -> None:
        came.append(message.subject)

    for subject in (*denied, ">"):
        await client.subscribe(subject, cb=heard_by_client)
    await client.flush()
    spoken: Sequence[str] = [concrete(row) for row in SUBJECTS if Role.CLIENT not in row.subscribers]
    for subject in spoken:
        await admin.publish(subject, b"")
    await admin.publish(concrete(INBOX), b"")
    await admin.flush()
    await client.flush()
    assert came == []
    violations = refusing_server.violations
    assert all(any(f'Subject "{subject}"' in line for line in violations) for subject in (*denied, ">"))
    await client.close()
    await admin.close()
