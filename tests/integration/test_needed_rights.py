"""Take one line of the permissions away, and something fails: whoever misses it names its subject at once.

The cases are the lines themselves, of every user that `hearth permissions nats` prints. So a new line that nothing
needs, or that nobody here uses, fails.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from bridges.command_line.client import HearthClient, NatsServer, connected
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.answer_store import AnswerStore
from bridges.nats.connection import LastingConnection
from bridges.nats.conversation_memory import ConversationMemory, Owner
from bridges.nats.ingress import Ingress
from bridges.nats.refusals import Refusals
from bridges.nats.sender import Sender
from bridges.permissions import User, inbox_prefix, user_permissions, users_for
from bridges.pipelines import intake as pipeline_intake
from bridges.pipelines.intake import PipelineIntake
from bridges.pipelines.replica_group import PipelineReplicas
from bridges.pipelines.run_store import PipelineRuns
from bridges.subjects import (
    ASKER_VALUE,
    AUDIO_INTERRUPT,
    AUDIO_REPLICAS,
    AUDIO_STREAM,
    PIPELINE_REPLICAS,
    PIPELINE_TRIGGER,
    REPLICA_INBOX,
    REQUESTS_CONSUMER,
    SUBJECTS,
    Role,
    Subject,
)
from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.settings.orchestration import NatsSettings
from deployments.values.language import Exchange
from deployments.values.pipelines import PipelineReport, PipelineTrigger, Run, RunStatus, TriggerReceipt
from tests.integration.durable_process import Graph, durable_ingress
from tests.integration.test_least_privilege import HEARTH, covers, ingress, until
from tests.integration.test_permissions import EVERYTHING, NAMES, SETTINGS, WAIT_S, audio_ingress
from tests.kept_by_others import make_what_is_kept
from tests.nats_client import nats_connected
from tests.servers import nats_server

GRAPH, CLIENTS, OPERATOR, ALICE = users_for(["alice"])
EVERYBODY = (GRAPH, CLIENTS, OPERATOR, ALICE)
ADMIN = "admin"
WHOLE = "whole"
EXCHANGE = Exchange("question", "answer")
LARGE = "x" * 400_000
KEEPING = EVERYTHING.model_copy(
    update={
        "nats": NatsSettings.model_validate(
            {"durable": {"rows": ["chat-message", "greeting"], "storage": "memory", "broken_stream": "continue"}}
        )
    }
)


@dataclass(frozen=True)
class Line:
    """A line of a user's permissions.

    Attributes:
        user: Whose.
        verb: "publish" or "subscribe".
        right: The subject, with wildcards.
    """

    user: User
    verb: str
    right: str

    def __str__(self) -> str:
        return f"{self.user.name} {self.verb} {self.right}"

    @property
    def row(self) -> Subject:
        """The row that it was made from."""
        names = NAMES | {"user_id": self.user.user_id} if self.user.user_id else NAMES
        (row,) = [one for one in SUBJECTS if self._has(one) and one.narrowed(**names) == self.right]
        return row

    def _has(self, row: Subject) -> bool:
        roles = row.publishers if self.verb == "publish" else row.subscribers
        return bool(roles & set(self.user.roles))


def lines() -> list[Line]:
    return [
        Line(user, verb, right)
        for user in EVERYBODY
        for verb, subjects in user_permissions(user, NAMES).items()
        for right in subjects["allow"]
    ]


LINES = lines()
OUTSIDE = [line for line in LINES if line.user is not GRAPH]
HEARD = [line for line in LINES if line.user is GRAPH and line.verb == "subscribe"]
SAID = [line for line in LINES if line.user is GRAPH and line.verb == "publish" and line.right[0] != "$"]
KEPT = [line for line in LINES if line.user is GRAPH and line.verb == "publish" and line.right[0] == "$"]


@dataclass(frozen=True)
class Account:
    """An account of the server, with a user for everybody, and perhaps one line less for one of them."""

    host: str
    name: str

    def url(self, user: str) -> str:
        return f"nats://{self.name}-{user}:secret@{self.host}"

    async def admin(self) -> Client:
        return await nats_connected(self.url(ADMIN))

    @asynccontextmanager
    async def client(self, user: User) -> AsyncGenerator[HearthClient]:
        prefix = inbox_prefix(user.user_id) if user.user_id else ""
        async with connected(NatsServer(self.url(user.name), inbox_prefix=prefix)) as client:
            yield client

    @asynccontextmanager
    async def part(self, role: Role) -> AsyncGenerator["Part"]:
        """Connect as a part of Hearth does."""
        refusals = Refusals(role)
        connection = LastingConnection(NatsSettings(url=self.url(GRAPH.name)), "test", refusals)
        try:
            await connection.open(asyncio.Event())
            yield Part(connection, refusals)
        finally:
            await connection.close()


@dataclass(frozen=True)
class Part:
    """A part of Hearth that is connected."""

    connection: LastingConnection
    refusals: Refusals

    async def play(self, scene: Awaitable[None]) -> str:
        """Return what was refused while something was done, and done it is where that is nothing."""
        playing = asyncio.ensure_future(scene)
        try:
            async with asyncio.timeout(WAIT_S):
                while not playing.done() and not self.refusals.check():  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.005)
                if playing.done():
                    playing.result()
                    await self.connection.client.flush()
        finally:
            playing.cancel()
            await asyncio.wait([playing])
        return self.refusals.check()


def account(name: str, missing: Line | None, names: Mapping[str, str] = NAMES) -> dict[str, Any]:
    """Return an account as the server's configuration has it."""
    users: list[dict[str, Any]] = [{"user": f"{name}-{ADMIN}", "password": "secret"}]
    for user in EVERYBODY:
        may = user_permissions(user, names)
        if missing and missing.user is user:
            may[missing.verb] = {"allow": [one for one in may[missing.verb]["allow"] if one != missing.right]}
        users.append({"user": f"{name}-{user.name}", "password": "secret", "permissions": may})
    return {"jetstream": "enabled", "users": users}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Run a server with an account for each line that is taken away; give its host and port."""
    folder = tmp_path_factory.mktemp("rights")
    names: dict[str, Line | None] = {WHOLE: None}
    for setting in SETTINGS_BEFORE:
        names |= {f"{scene}{setting}": None for scene in SCENES}
        names |= {f"{at}{setting}": line for at, line in enumerate(LINES) if line in KEPT or not setting}
    (folder / "nats.conf").write_text(
        json.dumps({"accounts": {name: account(name, one) for name, one in names.items()}})
    )
    options = ("-c", str(folder / "nats.conf"), "-js", "-sd", str(folder / "store"))
    with nats_server(folder / "nats", *options) as url:
        yield url.removeprefix("nats://")


def reduced(host: str, line: Line, before: str = "") -> Account:
    return Account(host, f"{LINES.index(line)}{before}")


def concrete(line: Line) -> str:
    return line.right.replace("*", "x").replace(">", "x.1")


async def speak(client: Client, subject: str, came: asyncio.Event) -> None:
    await client.publish(subject, b"")
    await came.wait()


@asynccontextmanager
async def heard(account: Account, subject: str) -> AsyncGenerator[asyncio.Event]:
    """Have an event set by the next message on a subject, for somebody who may hear everything."""
    admin, came = await account.admin(), asyncio.Event()

    async def take(message: Msg) -> None:
        del message
        came.set()

    try:
        await admin.subscribe(subject, cb=take)
        await admin.flush()
        yield came
    finally:
        await admin.close()


async def use_outside(account: Account, line: Line) -> None:
    """Ask on the line's subject, or be told something on it."""
    subject = concrete(line)
    if line.verb == "publish":
        async with heard(account, subject) as came, account.client(line.user) as client:
            async with asyncio.timeout(WAIT_S):
                await speak(client.connection, subject, came)
        return
    admin = await account.admin()
    try:
        async with account.client(line.user) as client, asyncio.timeout(WAIT_S):
            subscription = await client.connection.subscribe(subject)
            for _ in range(2):
                # nats-py sends the first PING past the subscription.
                await client.connection.flush()
            await admin.publish(subject, b"")
            await subscription.next_msg(timeout=WAIT_S)
    finally:
        await admin.close()


@pytest.mark.parametrize("line", OUTSIDE, ids=str)
async def test_who_asks_cannot_do_without_a_line(host: str, line: Line) -> None:
    await use_outside(Account(host, WHOLE), line)
    with pytest.raises(UnavailableError) as refused:
        await use_outside(reduced(host, line), line)
    verb = "publish on" if line.verb == "publish" else "subscribe to"
    assert f"does not let us {verb} {concrete(line)}:".lower() in refused.value.message.lower()


async def listen_to(account: Account, row: Subject) -> str:
    """Have the part of Hearth that reads a row do so; return what it was refused."""
    role = next(iter(sorted(row.subscribers & set(HEARTH))))
    if row in BESIDE_AN_INGRESS or row is REPLICA_INBOX:
        async with account.part(role) as part:
            return await part.play(BESIDE_AN_INGRESS.get(row, remember)(part.connection.client))
    async with ingress(account.url(GRAPH.name), role) as running:
        return running.refusals.check()


async def hear_live_audio(client: Any) -> None:
    await audio_ingress("one", ConversationMemory(SETTINGS.memory)).connect(client)


async def hear_pipeline_replicas(client: Any) -> None:
    await PipelineReplicas("one").connect(client)


async def remember(client: Any) -> None:
    """Keep a turn of a conversation, and read it again."""
    memory = ConversationMemory(SETTINGS.memory)
    await memory.connect(client)
    await memory.remember(Owner("u1"), EXCHANGE)
    assert await memory.recall(Owner("u1")) == (EXCHANGE,)


async def hear_reply_subjects(client: Any) -> None:
    store = AnswerStore(KEEPING.nats.durable, 60.0)
    store.connect(client)
    await store.hear_askers(lambda request, note: None)


BESIDE_AN_INGRESS: dict[Subject, Callable[[Any], Awaitable[None]]] = {
    ASKER_VALUE: hear_reply_subjects,
    AUDIO_STREAM: hear_live_audio,
    AUDIO_REPLICAS: hear_live_audio,
    AUDIO_INTERRUPT: hear_live_audio,
    PIPELINE_REPLICAS: hear_pipeline_replicas,
}


@pytest.mark.parametrize("line", HEARD, ids=str)
async def test_hearth_is_not_ready_without_a_line_that_it_listens_on(host: str, line: Line) -> None:
    assert await listen_to(Account(host, WHOLE), line.row) == ""
    refused = await listen_to(reduced(host, line), line.row)
    assert refused.startswith("the server does not let ")
    assert any(covers(line.right, word.rstrip(",")) or word.rstrip(",") == line.right for word in refused.split())


@pytest.mark.parametrize("line", SAID, ids=str)
async def test_hearth_is_not_ready_once_it_may_not_say_what_it_has_to(host: str, line: Line) -> None:
    subject = concrete(line)
    role = next(iter(sorted(line.row.publishers & set(HEARTH))))
    for account, refused in ((Account(host, WHOLE), ""), (reduced(host, line), f"publish on {subject}")):
        async with heard(account, subject) as came, account.part(role) as part:

            async def say(part: Part = part, came: asyncio.Event = came) -> None:
                await Sender(part.connection.client).send(subject, messages_pb2.ErrorResponse())
                await came.wait()

            assert (await part.play(say())).endswith(refused)
            assert came.is_set() == (not refused)


async def keep_conversations(account: Account, role: Role) -> str:
    async with account.part(role) as part:
        return await part.play(remember(part.connection.client))


async def keep_runs(account: Account, role: Role) -> str:
    async with account.part(role) as part:
        return await part.play(follow_runs(part.connection.client))


async def follow_runs(client: Client) -> None:
    """Accept runs, so large that a list of them does not fit what waits for its reader, and tell their statuses."""
    runs = PipelineRuns(SETTINGS.pipelines)
    runs.connect(client)
    for number in range(8):
        name = f"r{number}"
        kept = await runs.accept(Run(name, "p", "argo", "w", {"x": LARGE}, "", "one", 1.5, 1e12))
        await runs.publish(kept, PipelineReport(name, RunStatus.SUBMITTED, "p", "argo", "w-1"))
    assert len(await runs.unfinished()) == 8
    assert not await runs.refuse(PipelineReport("r0", RunStatus.ERROR, "p", error="none"))


@dataclass
class Taken:
    """Takes triggers, of which nobody knows anything."""

    triggers: list[str] = field(default_factory=list)

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        del call
        self.triggers.append(trigger.request_id)
        return TriggerReceipt(None)

    async def is_known(self, request_id: str) -> bool:
        del request_id
        return False

    async def refuse(self, report: PipelineReport) -> bool:
        del report
        return True


async def keep_triggers(account: Account, role: Role) -> str:
    admin = await account.admin()
    try:
        async with account.part(role) as part:
            return await part.play(take_up_a_trigger(part.connection.client, admin))
    finally:
        await admin.close()


async def take_up_a_trigger(client: Client, admin: Client) -> None:
    """Take a trigger that no ingress took, and have the stream forget it."""
    taken, stream = Taken(), admin.jetstream()
    taking = asyncio.ensure_future(PipelineIntake(SETTINGS.pipelines, taken, taken).run(client))
    try:
        while not await consumers(admin):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        request = messages_pb2.PipelineTrigger(request_id="r1", pipeline="p")
        await admin.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString())
        await until(lambda: taken.triggers == ["r1"])
        while (await stream.stream_info(SETTINGS.pipelines.stream)).state.messages:  # noqa: ASYNC110 - nor this
            await asyncio.sleep(0.01)
    finally:
        taking.cancel()
        await asyncio.wait([taking])


async def consumers(admin: Client) -> int:
    try:
        return (await admin.jetstream().stream_info(SETTINGS.pipelines.stream)).state.consumer_count
    except NotFoundError:
        return 0


async def keep_requests(account: Account, role: Role) -> str:
    """Answer requests that a stream keeps: one without an id, and one that is sent twice."""
    refusals = Refusals(role)
    settings = KEEPING.nats.model_copy(update={"url": account.url(GRAPH.name)})
    ingress, admin = durable_ingress(settings, Graph(0.0), refusals=refusals), await account.admin()
    running = asyncio.ensure_future(ingress.run())
    asking = asyncio.ensure_future(ask_what_is_kept(ingress, admin))
    try:
        await until(lambda: asking.done() or bool(refusals.check()))
        return refusals.check()
    finally:
        asking.cancel()
        ingress.stop()
        await asyncio.wait([asking])
        # One that waits for what it was refused takes its time to stop.
        running.cancel()
        await asyncio.wait([running])
        await admin.close()


async def ask_what_is_kept(ingress: Ingress, admin: Client) -> None:
    await ingress.wait_until_serving()
    greeting = messages_pb2.GreetingRequest(user_id="ada").SerializeToString()
    question = messages_pb2.ChatRequest(request_id="1", message="Open?", enable_streaming=True).SerializeToString()
    await admin.request("ai.chat.user.ada.greeting.request", greeting, timeout=WAIT_S)
    for _ in range(2):
        await admin.request("ai.chat.user.ada.message", question, timeout=WAIT_S)
    for stream in (KEEPING.nats.durable.stream, "OTHERS"):
        await settled(admin, stream)


async def settled(admin: Client, stream: str) -> None:
    """Return once everything that a stream gave out was acknowledged; at once where it is not there."""
    with contextlib.suppress(NotFoundError):
        while (await admin.jetstream().consumer_info(stream, REQUESTS_CONSUMER)).num_ack_pending:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


async def made_by_others(account: Account) -> None:
    await make_what_is_kept(await account.admin(), KEEPING)


async def nothing_before(account: Account) -> None:
    del account


SETTINGS_BEFORE: dict[str, Callable[[Account], Awaitable[None]]] = {"": nothing_before, "-made": made_by_others}
SCENES: dict[str, Callable[[Account, Role], Awaitable[str]]] = {
    "conversations_bucket": keep_conversations,
    "runs_bucket": keep_runs,
    "triggers_stream": keep_triggers,
    "requests_stream": keep_requests,
}
AS_INGRESS = {"conversations_bucket", "requests_stream"}


def scene_of(row: Subject) -> str:
    if row.tokens & {"answers_bucket", "dead_stream"} or row.needs:
        return "requests_stream"
    (scene,) = row.tokens & SCENES.keys()
    return scene


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_intake, "_GRACE_S", 0.0)
    monkeypatch.setattr(pipeline_intake, "_FETCH_S", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("before", SETTINGS_BEFORE)
@pytest.mark.parametrize("scene", SCENES)
async def test_hearth_keeps_things_with_all_of_its_lines(host: str, scene: str, before: str) -> None:
    account = Account(host, f"{scene}{before}")
    await SETTINGS_BEFORE[before](account)
    role = Role.NATS_INGRESS if scene in AS_INGRESS else Role.PIPELINES
    assert await SCENES[scene](account, role) == ""


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("line", KEPT, ids=str)
async def test_hearth_is_not_ready_where_it_lacks_a_line_to_keep_things(host: str, line: Line) -> None:
    scene = scene_of(line.row)
    role = next(iter(sorted(line.row.publishers & set(HEARTH), reverse=True)))
    refused = ""
    for before, prepare in SETTINGS_BEFORE.items():
        account = reduced(host, line, before)
        await prepare(account)
        refused = refused or await SCENES[scene](account, role)
    assert any(covers(line.right.lower(), word.lower()) for word in refused.replace(",", "").split())
