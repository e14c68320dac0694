"""Whoever asks reaches nothing internal: neither by a message, nor by listening."""

import asyncio
import json
import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from bridges.command_line.client import NatsServer, connected
from bridges.command_line.sound.saying import write_wav
from bridges.permissions import User, inbox_prefix, installation_names, jwt_claims, users_for
from bridges.subjects import INBOX, REPLICA_INBOX, SENT_AGAIN, STATUS, SUBJECTS, Direction, Role
from deployments.errors import UnavailableError
from deployments.values.access import NatsAccess, Secret
from tests.end_to_end.command import hearth
from tests.integration.test_needed_rights import ALICE, CLIENTS, OPERATOR, WHOLE, Account, account, remember
from tests.integration.test_permissions import NAMES, SETTINGS, WAIT_S
from tests.nats_accounts import Operator
from tests.nats_client import nats_connected
from tests.servers import nats_server

INNER = {row.narrowed(**NAMES) for row in SUBJECTS if row.direction in (Direction.INTERNAL, Direction.SERVER)}
OF_THE_SERVER = {
    *("$JS.API.>", "$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.DELETE.X", "$JS.ACK.>", "$JS.>"),
    *("$KV.>", "$O.>", "$SYS.>", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SRV.>", "$G.>"),
}
INBOXES = {"_INBOX.>", "_INBOX.*.*", "_INBOX_HEARTH.>", "_INBOX_USER.>", "_INBOX_USER.*.>", "_INBOX_USER.bob.>"}
OWN_INBOXES = {CLIENTS: {"_INBOX.>", "_INBOX.*.*"}}
# What is said to somebody in particular, of which the client of one user may hear nothing.
SAID = {
    row.narrowed(**NAMES) for row in SUBJECTS if row.direction is Direction.ANSWER and Role.USER not in row.subscribers
}
ASKED_OF_OTHERS = {"ai.chat.user.bob.message", "ai.chat.user.bob.login", "ai.chat.request", "ai.voice.request"}
HEARD_BY_OTHERS = {"ai.chat.user.bob.greeting.response", "ai.chat.user.*.greeting.response"}
ASKED = {row.narrowed(**NAMES) for row in SUBJECTS if row.direction is Direction.REQUEST}

# Dead letters are of anybody, and an operator sends them again.
SENT_AGAIN_BY_OPERATORS = {row.wildcard for row in SENT_AGAIN}
READ_BY_OPERATORS = {row.narrowed(**NAMES) for row in SUBJECTS if row.publishers == frozenset({Role.OPERATOR})}
PLAIN = "plain"
WITHOUT_KEPT_REQUESTS = installation_names(SETTINGS)

CLOSED_TO_ALL = INNER | OF_THE_SERVER | INBOXES
TRIED = [
    (user, verb, subject)
    for user, verb, subjects in (
        (CLIENTS, "publish", CLOSED_TO_ALL | SAID),
        (CLIENTS, "subscribe", (CLOSED_TO_ALL | ASKED | {">", "*", "*.>"}) - OWN_INBOXES[CLIENTS]),
        (
            OPERATOR,
            "publish",
            (CLOSED_TO_ALL | SAID | ASKED) - READ_BY_OPERATORS - SENT_AGAIN_BY_OPERATORS - {STATUS.pattern},
        ),
        (OPERATOR, "subscribe", CLOSED_TO_ALL | ASKED | HEARD_BY_OTHERS | {">"}),
        (ALICE, "publish", CLOSED_TO_ALL | SAID | ASKED_OF_OTHERS),
        (ALICE, "subscribe", CLOSED_TO_ALL | ASKED | HEARD_BY_OTHERS | (SAID - INBOXES) | {">"}),
    )
    for subject in sorted(subjects)
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Generator[Account]:
    folder = tmp_path_factory.mktemp("inside")
    accounts = {WHOLE: account(WHOLE, None), PLAIN: account(PLAIN, None, WITHOUT_KEPT_REQUESTS)}
    (folder / "nats.conf").write_text(json.dumps({"accounts": accounts}))
    with nats_server(folder, "-c", str(folder / "nats.conf"), "-js", "-sd", str(folder / "store")) as url:
        yield Account(url.removeprefix("nats://"), WHOLE)


@pytest.fixture
def plain(whole: Account) -> Account:
    """An account of an installation that keeps no requests."""
    return Account(whole.host, PLAIN)


async def attempt(account: Account, user: User, verb: str, subject: str) -> None:
    """Publish or subscribe, and wait to be told that it is not permitted."""
    async with account.client(user) as client, asyncio.timeout(WAIT_S):
        if verb == "publish":
            await client.connection.publish(subject, b"forged")
        else:
            await client.connection.subscribe(subject)
        await asyncio.Event().wait()


@pytest.mark.parametrize(("user", "verb", "subject"), TRIED, ids=lambda part: getattr(part, "name", part))
async def test_what_is_not_for_somebody_is_refused_by_its_name(
    whole: Account, user: User, verb: str, subject: str
) -> None:
    said = subject.replace("*", "x").replace(">", "x.1") if verb == "publish" else subject
    admin, came = await whole.admin(), list[str]()

    async def take(message: Msg) -> None:
        came.append(message.subject)

    await admin.subscribe(said, cb=take)
    await admin.flush()
    with pytest.raises(UnavailableError) as refused:
        await attempt(whole, user, verb, said)
    await admin.flush()
    await admin.close()
    assert f"{'publish on' if verb == 'publish' else 'subscribe to'} {said}:".lower() in refused.value.message.lower()
    assert came == []


async def test_nobody_hears_the_conversations_that_hearth_reads(whole: Account) -> None:
    """The answers of JetStream come to an inbox, which is none that clients may hear."""
    heard: list[bytes] = []

    async def take(message: Msg) -> None:
        heard.append(message.data)

    async with whole.client(CLIENTS) as client:
        await client.connection.subscribe(INBOX.wildcard, cb=take)
        for _ in range(2):
            await client.connection.flush()
        async with whole.part(Role.NATS_INGRESS) as part:
            assert await part.play(remember(part.connection.client)) == ""
        # What comes at last: all that was said before has come, too.
        admin = await whole.admin()
        await admin.publish("_INBOX.x", b"the end")
        await admin.close()
        async with asyncio.timeout(WAIT_S):
            while b"the end" not in heard:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.005)
    assert heard == [b"the end"]


async def test_replicas_have_their_inboxes_where_the_table_says(whole: Account) -> None:
    async with whole.part(Role.PIPELINES) as part:
        assert REPLICA_INBOX.parameters(part.connection.client.new_inbox()) is not None
    plain = await nats_connected(whole.url("admin"))
    assert REPLICA_INBOX.parameters(plain.new_inbox()) is None
    await plain.close()


COMMANDS = [
    (["chat", "Hello?"], "ai.chat.user.operator.message"),
    (["ask", "FILE"], "ai.voice.response."),
    (["say", "Hello.", "--out", "OUT"], "ai.voice.tts.audio."),
    (["listen", "FILE"], "ai.voice.transcription."),
    (["talk", "FILE"], "ai.voice.transcription."),
    (["voices"], "ai.voice.tts.voices.list"),
    (["voices", "--refresh"], "ai.voice.tts.voices.refresh"),
    (["ingest", "TEXT"], "hearth.documents.list"),
    (["documents"], "hearth.documents.list"),
    (["delete", "a.md"], "hearth.documents."),
    (["pipeline", "list"], "hearth.pipelines.list"),
    (["pipeline", "run", "p"], "hearth.pipelines.list"),
]


def as_somebody(account: Account, user: User, folder: Path) -> dict[str, str]:
    """Return the variables of who types commands as a user."""
    return {
        "PATH": os.environ["PATH"],
        "HEARTH_STATE": str(folder),
        "NATS_URL": f"nats://{account.host}",
        "NATS_USER": f"{account.name}-{user.name}",
        "NATS_PASSWORD": "secret",
        "NATS_INBOX_PREFIX": inbox_prefix(user.user_id),
    }


@pytest.mark.parametrize(("command", "subject"), COMMANDS, ids=lambda part: part if isinstance(part, str) else part[0])
def test_a_command_that_is_refused_something_ends_at_once_and_names_it(
    plain: Account, tmp_path: Path, command: list[str], subject: str
) -> None:
    """An operator may ask for the status alone."""
    (tmp_path / "text.md").write_text("# A title\n\nA text.")
    write_wav(tmp_path / "sound.wav", bytes(32_000), 16_000)
    files = {"FILE": "sound.wav", "OUT": "out.wav", "TEXT": "text.md"}
    words = [str(tmp_path / files[word]) if word in files else word for word in command]
    began = time.monotonic()
    done = hearth(as_somebody(plain, OPERATOR, tmp_path), *words)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "does not let us" in said
    assert subject in said
    assert time.monotonic() - began < WAIT_S


def test_a_wrong_inbox_prefix_is_named(whole: Account, tmp_path: Path) -> None:
    environment = as_somebody(whole, ALICE, tmp_path) | {"NATS_INBOX_PREFIX": ""}
    said = " ".join(hearth(environment, "documents").stderr.split())
    assert "does not let us subscribe to _INBOX." in said
    assert "--inbox-prefix or NATS_INBOX_PREFIX" in said


@pytest.mark.parametrize("command", [["chat", "Hello?"], ["documents"], ["pipeline", "run", "p"], ["status"]])
def test_a_client_of_one_user_is_refused_nothing_that_it_asks(
    whole: Account, tmp_path: Path, command: list[str]
) -> None:
    said = " ".join(hearth(as_somebody(whole, ALICE, tmp_path), *command).stderr.split())
    assert "nobody takes requests" in said


async def test_the_claims_of_a_jwt_hold_as_well(tmp_path: Path) -> None:
    operator, file = Operator(), tmp_path / "alice.creds"
    claims = jwt_claims(NAMES, users_for(["alice"]))["alice"]
    file.write_text(operator.credentials({"pub": claims["pub"], "sub": claims["sub"]}))
    (tmp_path / "nats.conf").write_text(operator.configuration())
    with nats_server(tmp_path / "nats", "-c", str(tmp_path / "nats.conf")) as url:
        server = NatsServer(url, NatsAccess(credentials=Secret(file=str(file))), inbox_prefix("alice"))
        async with connected(server) as client:
            with pytest.raises(UnavailableError, match="nobody takes requests"):
                await client.status(WAIT_S)
        for subject in ("ai.chat.user.bob.message", "hearth.audio.interrupt"):
            with pytest.raises(UnavailableError, match=f"publish on {subject}"):
                await publish(server, subject)


async def publish(server: NatsServer, subject: str) -> None:
    async with connected(server) as client, asyncio.timeout(WAIT_S):
        await client.connection.publish(subject)
        await asyncio.Event().wait()
