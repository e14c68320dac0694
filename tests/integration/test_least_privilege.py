"""Every right that the table of subjects gives is needed, and one that is missing is named by whoever misses it."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.nats import connection as nats_connection
from bridges.nats.ingress import Endpoint, Ingress
from bridges.nats.refusals import Refusals
from bridges.nats.reply import Reply
from bridges.operations.health import HealthServer
from bridges.operations.outcome import Outcome
from bridges.operations.readiness import Reporter, reported
from bridges.permissions import installation_names, permissions
from bridges.requests import REQUESTS
from bridges.subjects import SUBJECTS, Delivery, Direction, Role
from deployments.call import Call
from deployments.errors import HearthError
from deployments.settings.orchestration import HealthSettings, NatsSettings
from deployments.values.status import ComponentStatus
from tests.integration import test_permissions as scenes
from tests.integration.test_permissions import NAMES, SETTINGS, WAIT_S, NoMetrics, Server, concrete
from tests.servers import free_port, nats_server

HEARTH = (Role.NATS_INGRESS, Role.AUDIO_INGRESS, Role.PIPELINES)
INGRESSES = (Role.NATS_INGRESS, Role.AUDIO_INGRESS)
PLAIN = installation_names(SETTINGS)
"""Of an installation that keeps no requests."""
BESIDE_AN_INGRESS = {"ai.voice.stream.*", "hearth.audio.interrupt", "hearth.audio.replicas"}
# When so many runs are unfinished that the server waits for the reader of their list.
SELDOM = {"$JS.FC.KV_hearth_pipelines.>"}
# Whoever comes first makes what is not there, and mends a bucket of runs that has no republish.
BY_WHOEVER_IS_FIRST = {
    "$JS.API.STREAM.CREATE.KV_hearth_conversations",
    "$JS.API.STREAM.CREATE.KV_hearth_pipelines",
    "$JS.API.STREAM.UPDATE.KV_hearth_pipelines",
}

_CONNECT = re.compile(r"(cid:\d+) .*<<- \[CONNECT (\{.*\})\]")
_PUB = re.compile(r"(cid:\d+) .*<<- \[H?PUB (\S+) ")
_SUB = re.compile(r"(cid:\d+) .*<<- \[SUB (\S+) ")


@contextmanager
def traced_server(folder: Path) -> Generator[Server]:
    """Run a server with permissions that writes down every command it gets."""
    folder.mkdir()
    file = folder / "nats.conf"
    file.write_text(scenes.configuration())
    options = ("-c", str(file), "-js", "-sd", str(folder / "store"), "-DV")
    with nats_server(folder / "nats", *options) as url:
        yield Server(url, folder / "nats" / "nats.log")


def used(log: str, role: Role) -> tuple[set[str], set[str]]:
    """Return what a role published on and subscribed to."""
    users = {found[1]: json.loads(found[2]).get("user", "") for found in _CONNECT.finditer(log)}
    mine = {cid for cid, user in users.items() if user == role.name}
    return (
        {found[2] for found in _PUB.finditer(log) if found[1] in mine},
        {found[2] for found in _SUB.finditer(log) if found[1] in mine},
    )


def covers(right: str, subject: str) -> bool:
    """Say whether a right, with NATS wildcards, is one that a subject needs."""
    expression = re.escape(right).replace(r"\*", r"[^.]+").replace(">", ".+")
    return bool(re.fullmatch(expression, subject))


async def play(server: Server, monkeypatch: pytest.MonkeyPatch, *, is_made_before: bool) -> None:
    """Have everything said that the scenes of permissions have."""
    await scenes.test_a_question_and_its_streamed_answer_are_permitted(server, is_made_before)
    await scenes.test_an_operator_finds_the_service(server)
    await scenes.test_a_text_and_its_speech_are_permitted(server)
    await scenes.test_a_conversation_and_an_interruption_are_permitted(server)
    await scenes.test_a_trigger_and_its_statuses_are_permitted(server, monkeypatch, False)


async def test_hearth_has_no_right_in_jetstream_that_it_does_not_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = ""
    for is_made_before in (False, True):
        with traced_server(tmp_path / str(is_made_before)) as server:
            await play(server, monkeypatch, is_made_before=is_made_before)
            assert server.violations == []
            logs += server.log.read_text().replace("cid:", f"cid:{int(is_made_before)}")
    # Those for kept requests are tried line by line in test_needed_rights.
    rights = {(right, role) for role in HEARTH for right in permissions(role, PLAIN).publish if right[0] == "$"}
    needed = {(right, role) for right, role in rights if any(covers(right, one) for one in used(logs, role)[0])}
    assert {right for right, _ in rights} - {right for right, _ in needed} == SELDOM
    assert {right for right, _ in rights - needed} <= SELDOM | BY_WHOEVER_IS_FIRST


@dataclass
class Recording:
    """A handler that notes that it was asked."""

    pattern: str
    asked: set[str]

    async def handle(self, call: Call, request: Any, reply: Reply) -> Outcome:
        self.asked.add(self.pattern)
        return Outcome()

    async def fail(self, request: Any, error: HearthError, reply: Reply) -> None:
        self.asked.add(self.pattern)


@dataclass
class Running:
    """An ingress that runs, and what became of it."""

    asked: set[str] = field(default_factory=set)
    refusals: Refusals = field(default_factory=lambda: Refusals(Role.NATS_INGRESS))


async def nothing_missing(call: Call) -> tuple[ComponentStatus, ...]:
    del call
    return ()


async def keeps_nothing(client: Client) -> None:
    del client


@asynccontextmanager
async def ingress(url: str, role: Role) -> AsyncGenerator[Running]:
    """Run an ingress with everything that it takes."""
    running = Running(refusals=Refusals(role))
    rows = [row for row in REQUESTS if row.taken_by is role and Delivery.QUEUE_GROUP in row.subject.delivery]
    endpoints = [Endpoint(row, Recording(row.subject.pattern, running.asked), WAIT_S) for row in rows]
    served = Ingress(
        NatsSettings(url=url), endpoints, nothing_missing, keeps_nothing, NoMetrics(), refusals=running.refusals
    )
    task = asyncio.create_task(served.run())
    try:
        await asyncio.wait_for(served.wait_until_serving(), WAIT_S)
        yield running
    finally:
        served.stop()
        await asyncio.wait_for(task, WAIT_S)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not happened():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def test_whatever_a_client_may_ask_reaches_its_ingress(tmp_path: Path) -> None:
    with scenes.permitting_server(tmp_path) as server:
        client = await server.connect(Role.CLIENT.name)
        first, second = INGRESSES
        async with (
            ingress(server.url_for(first.name), first) as requests,
            ingress(server.url_for(second.name), second) as audio,
        ):
            taken = [row for row in SUBJECTS if Delivery.QUEUE_GROUP in row.delivery and Role.CLIENT in row.publishers]
            for row in taken:
                await client.publish(concrete(row), b"")
            await until(lambda: {row.pattern for row in taken} <= requests.asked | audio.asked)
        await client.close()
        assert server.violations == []


async def test_whatever_is_said_to_clients_reaches_them(tmp_path: Path) -> None:
    with scenes.permitting_server(tmp_path) as server:
        client = await server.connect(Role.CLIENT.name)
        came: set[tuple[str, str]] = set()

        async def hear(message: Msg) -> None:
            came.add((message.subject, message.data.decode()))

        for right in permissions(Role.CLIENT, NAMES).subscribe:
            await client.subscribe(right, cb=hear)
        await client.flush()
        said: set[tuple[str, str]] = set()
        for role in HEARTH:
            speaker = await server.connect(role.name)
            for row in SUBJECTS:
                if row.direction is Direction.ANSWER and role in row.publishers and Role.CLIENT in row.subscribers:
                    said.add((concrete(row), role.name))
                    await speaker.publish(concrete(row), role.name.encode())
            await speaker.flush()
            await speaker.close()
        await until(lambda: said <= came)
        await client.close()
        assert server.violations == []


def configuration_without(missing: dict[str, str], role: Role) -> str:
    """Return a server's configuration with users of a role that lack one subscription each.

    Args:
        missing: The subscription by the user's name; empty for none.
        role: That has it.
    """
    may = permissions(role, NAMES)
    users = [
        {
            "user": name,
            "password": "secret",
            "permissions": {
                "publish": list(may.publish),
                "subscribe": [right for right in may.subscribe if right != one],
            },
        }
        for name, one in missing.items()
    ]
    return json.dumps({"authorization": {"users": users}})


@pytest.mark.parametrize("role", INGRESSES)
async def test_an_ingress_names_the_subscription_that_it_is_refused(tmp_path: Path, role: Role) -> None:
    # What the ingress itself subscribes to; live audio, and what keeps requests, have rights of their own.
    rights = [right for right in permissions(role, PLAIN).subscribe if right not in BESIDE_AN_INGRESS]
    missing = {f"user-{at}": right for at, right in enumerate(rights)}
    (tmp_path / "nats.conf").write_text(configuration_without(missing, role))
    with nats_server(tmp_path / "nats", "-c", str(tmp_path / "nats.conf")) as url:
        for user, right in missing.items():
            async with ingress(url.replace("nats://", f"nats://{user}:secret@"), role) as running:
                refused = running.refusals.subscriptions
                assert refused, right
                assert all(one == right or covers(right, one) for one in refused)
                assert all(one in running.refusals.check() for one in refused)


async def test_ready_names_what_is_refused_and_is_ready_once_it_is_permitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_connection, "_ASK_AGAIN_S", 0.05)
    role, file, port = Role.NATS_INGRESS, tmp_path / "nats.conf", free_port()
    file.write_text(configuration_without({"hearth": "ai.chat.request"}, role))
    with nats_server(tmp_path / "nats", "-c", str(file)) as url:
        async with ingress(url.replace("nats://", "nats://hearth:secret@"), role) as running:
            reporters = [Reporter("NATS", running.refusals, required=True)]
            health = HealthServer(
                HealthSettings(port=port),
                lambda: None,
                lambda: True,
                lambda: False,
                lambda call: reported(reporters, call),
            )
            await health.start()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as probe:
                refused = await probe.get("/ready")
                file.write_text(configuration_without({"hearth": ""}, role))
                (ports,) = (tmp_path / "nats").glob("*.ports")
                os.kill(int(ports.stem.rpartition("_")[2]), signal.SIGHUP)
                await until(lambda: not running.refusals.check())
                permitted = await probe.get("/ready")
            await health.stop()
    assert refused.status_code == 503
    assert refused.json()["components"]["NATS"]["detail"] == (
        "the server does not let NatsIngress subscribe to ai.chat.request"
    )
    assert permitted.status_code == 200
