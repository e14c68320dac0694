"""Connecting to real NATS servers in each way in which they ask who connects."""

import asyncio
import json
import logging
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from bridges.command_line.client import NatsServer, connected
from bridges.nats.connection import LastingConnection
from bridges.nats.refusals import Refusals
from bridges.permissions import USERS, inbox_prefix, installation_names, server_configuration, users_for
from bridges.subjects import Role
from deployments.errors import UnavailableError
from deployments.settings.orchestration import NatsSettings, OrchestrationSettings
from deployments.values.access import NatsAccess, Secret
from tests.nats_accounts import Key, Operator, new_key
from tests.servers import LOOPBACK, free_port, nats_server, program

WAIT_S = 10.0
SECRET = "s3cret-w0rd"


@dataclass(frozen=True)
class Guarded:
    """A server that asks who connects.

    Attributes:
        url: Its address.
        folder: Of its files, `nats.conf` among them.
        access: The settings with which it lets us in.
    """

    url: str
    folder: Path
    access: dict[str, object]

    @property
    def settings(self) -> NatsSettings:
        return NatsSettings.model_validate({"url": self.url, "access": self.access})

    def reconfigure(self, configuration: str) -> None:
        """Have it read another configuration."""
        (self.folder / "nats.conf").write_text(configuration)
        (ports,) = self.folder.glob("nats-server_*.ports")
        os.kill(int(ports.stem.rpartition("_")[2]), signal.SIGHUP)


@contextmanager
def guarded(folder: Path, configuration: str, access: dict[str, object]) -> Generator[Guarded]:
    folder.mkdir(exist_ok=True)
    (folder / "nats.conf").write_text(configuration)
    with nats_server(folder, "-c", str(folder / "nats.conf")) as url:
        yield Guarded(url, folder, access)


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(f"{text}\n")
    return str(folder / name)


def users(password: str) -> str:
    return json.dumps({"authorization": {"user": "hearth", "password": password}})


def nkey_users(*keys: Key) -> str:
    return json.dumps({"authorization": {"users": [{"nkey": key.public} for key in keys]}})


@contextmanager
def with_password_file(folder: Path) -> Generator[Guarded]:
    access: dict[str, object] = {"user": "hearth", "password_file": written(folder, "password", SECRET)}
    with guarded(folder, users(SECRET), access) as server:
        yield server


@contextmanager
def with_password_variable(folder: Path) -> Generator[Guarded]:
    with guarded(folder, users(SECRET), {"user": "hearth", "password_variable": "A_SECRET"}) as server:
        yield server


@contextmanager
def with_token(folder: Path) -> Generator[Guarded]:
    configuration = json.dumps({"authorization": {"token": SECRET}})
    with guarded(folder, configuration, {"token_file": written(folder, "token", SECRET)}) as server:
        yield server


@contextmanager
def with_nkey(folder: Path) -> Generator[Guarded]:
    key = new_key()
    with guarded(folder, nkey_users(key), {"nkey_file": written(folder, "nkey", key.seed)}) as server:
        yield server


@contextmanager
def with_credentials(folder: Path) -> Generator[Guarded]:
    operator = Operator()
    access: dict[str, object] = {"credentials_file": written(folder, "hearth.creds", operator.credentials())}
    with guarded(folder, operator.configuration(), access) as server:
        yield server


@contextmanager
def with_certificates(folder: Path) -> Generator[Guarded]:
    ours, theirs = trustme.CA(), trustme.CA()
    server, client = theirs.issue_cert("nats.example", common_name="nats.example"), ours.issue_cert("hearth.example")
    theirs.cert_pem.write_to_path(folder / "ca.pem")
    ours.cert_pem.write_to_path(folder / "clients.pem")
    server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    files = {"cert_file": "server.pem", "key_file": "server.pem", "ca_file": "clients.pem"}
    tls = {name: str(folder / file) for name, file in files.items()} | {"verify": True}
    access: dict[str, object] = {
        "tls": {
            "ca_file": str(folder / "ca.pem"),
            "certificate_file": str(folder / "client.pem"),
            "key_file": str(folder / "client.key"),
            "server_name": "nats.example",
        }
    }
    with guarded(folder, json.dumps({"tls": tls}), access) as guarded_server:
        yield guarded_server


WAYS = {
    "password in a file": with_password_file,
    "password in a variable": with_password_variable,
    "token": with_token,
    "nkey": with_nkey,
    "credentials": with_credentials,
    "certificates": with_certificates,
}


@pytest.fixture(params=list(WAYS))
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Guarded]:
    monkeypatch.setenv("A_SECRET", SECRET)
    with WAYS[request.param](tmp_path) as server:
        yield server


@asynccontextmanager
async def lasting(settings: NatsSettings) -> AsyncGenerator[LastingConnection]:
    connection = LastingConnection(settings, "test", Refusals(Role.NATS_INGRESS))
    try:
        yield connection
    finally:
        await connection.close()


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what nats-py tells nobody."""
    async with asyncio.timeout(WAIT_S):
        while not happened():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


def is_back(connection: LastingConnection) -> bool:
    return connection.client.stats["reconnects"] > 0 and connection.client.is_connected


async def opened(connection: LastingConnection) -> None:
    assert await asyncio.wait_for(connection.open(asyncio.Event()), WAIT_S)
    await connection.client.flush()


async def test_a_replica_and_the_command_line_are_let_in(server: Guarded) -> None:
    async with lasting(server.settings) as connection:
        await opened(connection)
    async with connected(NatsServer(server.url, server.settings.access.access())) as client:
        await client.connection.flush()


async def test_nobody_in_particular_is_not_let_in(server: Guarded) -> None:
    with pytest.raises(UnavailableError, match=r"does not let us in|do not trust|no connection to"):
        async with connected(server.url):
            pass


async def test_the_secret_is_neither_printed_nor_logged(server: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with lasting(server.settings) as connection:
        await opened(connection)
    secrets = [file.read_text().strip() for file in server.folder.iterdir() if file.suffix in {".creds", ".key", ""}]
    shown = f"{caplog.text}{server.settings!r}{connection.__dict__!r}{server.settings.access.access()!r}"
    assert not [secret for secret in (SECRET, *secrets) if len(secret) > 3 and secret in shown]


async def test_a_password_that_changes_while_connected_is_read_again(tmp_path: Path) -> None:
    with with_password_file(tmp_path) as server:
        async with lasting(server.settings) as connection:
            await opened(connection)
            subscription = await connection.client.subscribe("a.subject")
            written(server.folder, "password", "an0ther")
            server.reconfigure(users("an0ther"))
            await until(lambda: is_back(connection))
            await connection.client.flush()
            connection.check()
            async with connected(NatsServer(server.url, server.settings.access.access())) as client:
                await client.connection.publish("a.subject", b"after")
                await client.connection.flush()
            assert (await subscription.next_msg(timeout=WAIT_S)).data == b"after"


async def test_a_wrong_password_is_tried_until_it_is_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with with_password_file(tmp_path) as server:
        written(server.folder, "password", "wr0ng-w0rd")
        async with lasting(server.settings) as connection:
            opening = asyncio.create_task(opened(connection))
            await until(lambda: "Authorization Violation" in caplog.text)
            written(server.folder, "password", SECRET)
            await opening
    assert "wr0ng-w0rd" not in caplog.text


@pytest.mark.parametrize("kind", ["nkey", "credentials"])
async def test_a_new_key_holds_from_the_next_connection_on(tmp_path: Path, kind: str) -> None:
    operator, old, new = Operator(), new_key(), new_key()
    port = free_port()
    file = tmp_path / "secret"
    before, after = (old.seed, new.seed) if kind == "nkey" else (operator.credentials(), operator.credentials())
    file.write_text(before)
    configuration = nkey_users(old) if kind == "nkey" else operator.configuration()
    changed = nkey_users(new) if kind == "nkey" else operator.configuration()
    settings = NatsSettings.model_validate({"url": f"nats://{LOOPBACK}:{port}", "access": {f"{kind}_file": str(file)}})
    async with lasting(settings) as connection:
        (tmp_path / "nats.conf").write_text(configuration)
        with nats_server(tmp_path / "one", "-c", str(tmp_path / "nats.conf"), "-p", str(port)):
            await opened(connection)
        file.write_text(after)
        (tmp_path / "nats.conf").write_text(changed)
        with nats_server(tmp_path / "two", "-c", str(tmp_path / "nats.conf"), "-p", str(port)):
            await until(lambda: is_back(connection))
            await connection.client.flush()


async def test_an_expired_jwt_ends_the_connection_and_not_the_replica(tmp_path: Path) -> None:
    operator = Operator()
    access: dict[str, object] = {
        "credentials_file": written(tmp_path, "hearth.creds", operator.credentials(lifetime_s=2))
    }
    with guarded(tmp_path, operator.configuration(), access) as server:
        async with lasting(server.settings) as connection:
            await opened(connection)
            written(tmp_path, "hearth.creds", operator.credentials())
            await until(lambda: is_back(connection))
            connection.check()


async def test_a_server_without_tls_learns_nothing_from_who_wants_it(tmp_path: Path) -> None:
    with with_password_file(tmp_path) as server:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        access = {**server.access, "tls": {"ca_file": str(tmp_path / "ca.pem")}}
        settings = NatsSettings.model_validate({"url": server.url, "access": access})
        with pytest.raises(UnavailableError, match="the server offers no TLS"):
            async with connected(NatsServer(server.url, settings.access.access())):
                pass
        with pytest.raises(UnavailableError, match="the server offers no TLS"):
            async with connected(NatsServer(server.url.replace("nats://", "tls://"))):
                pass


@pytest.mark.parametrize("content", [None, "", "no credentials", "-----BEGIN NATS USER JWT-----\nx.y.z\n"])
async def test_credentials_that_cannot_be_used_are_named_by_their_file(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "hearth.creds"
    if content is not None:
        file.write_text(content)
    operator = Operator()
    access: dict[str, object] = {"credentials_file": str(file)}
    with (
        guarded(tmp_path, operator.configuration(), access) as server,
        pytest.raises(UnavailableError, match=str(file)) as raised,
    ):
        async with connected(NatsServer(server.url, server.settings.access.access())):
            pass
    assert "x.y.z" not in raised.value.message


ODD_PASSWORDS = (
    *("123456", "12e4567", "true", "5m", "10k", "1.5", "a b", "a#b", "a//b", "a,b", "a;b", "{x", "[x", "(x", "0x12"),
    *('p"q', "p\\q", "$HEARTH_PASSWORD", "$(HEARTH_PASSWORD)", "2024-01-01T00:00:00Z", "<< x >>", "é€"),
)


async def test_any_password_holds_that_stands_in_its_variable_as_the_permissions_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = users_for([f"u{number}" for number in range(len(ODD_PASSWORDS))])
    names = installation_names(OrchestrationSettings())
    passwords = {user.name: odd for user, odd in zip(users[-len(ODD_PASSWORDS) :], ODD_PASSWORDS, strict=True)}
    for user in users:
        monkeypatch.setenv(user.password_variable, f"'{passwords.get(user.name, SECRET)}'")
    with guarded(tmp_path, server_configuration(names, users), {}) as server:
        for name, password in passwords.items():
            monkeypatch.setenv("A_SECRET", password)
            access = NatsAccess(user=name, password=Secret(variable="A_SECRET"))
            async with connected(NatsServer(server.url, access, inbox_prefix(name))) as client:
                await client.connection.flush()


@pytest.mark.parametrize("password", ["123456", "true", "5m"])
def test_without_quotes_a_password_is_read_as_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """What the printed head says of it."""
    names = installation_names(OrchestrationSettings())
    (tmp_path / "nats.conf").write_text(server_configuration(names))
    for user in USERS:
        monkeypatch.setenv(user.password_variable, password)
    command = [program("nats-server"), "-t", "-c", str(tmp_path / "nats.conf")]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    for user in USERS:
        monkeypatch.setenv(user.password_variable, f"'{password}'")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
