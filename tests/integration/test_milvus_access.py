"""A real Milvus that asks for a login and for certificates, as Milvus Lite does not."""

import logging
import os
import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient, MilvusException

from deployments.call import Call
from deployments.errors import BackEnd, HearthError, UnavailableError, UpstreamFailedError
from deployments.milvus.connection import MilvusConnection
from deployments.settings.orchestration import MilvusSettings
from tests.certificates import Certificates, MountedSecret
from tests.refusals import refused
from tests.servers import LOOPBACK, free_port, running, wait_until

PACKAGE = "milvus==2.3.5"
"""A whole Milvus in one process, for tests; it is not installed with Hearth, but fetched once."""

NAME = "milvus.test"
PASSWORD = "s3cret-w0rd"
OTHER_PASSWORD = "an0ther-w0rd"
BACK_END = BackEnd("Milvus")
BOTH_SIDES = "2"


@dataclass(frozen=True)
class Guarded:
    """A server that asks who comes.

    Attributes:
        uri: Its address.
        certificates: Whose authority it trusts, and is trusted by.
        tls: The settings with which it lets us in.
    """

    uri: str
    certificates: Certificates
    tls: dict[str, str]

    def change_password(self, old: str, new: str) -> None:
        with closing(self.client(old)) as client:
            client.update_password("root", old, new)

    def client(self, password: str) -> Any:
        files = {"ca_pem_path": "ca_file", "client_pem_path": "certificate_file", "client_key_path": "key_file"}
        given = {name: self.tls[setting] for name, setting in files.items()}
        return MilvusClient(uri=self.uri, token=f"root:{password}", secure=True, server_name=NAME, timeout=5, **given)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Guarded]:
    folder = tmp_path_factory.mktemp("milvus")
    certificates = Certificates.of(folder / "certificates")
    certificate, key = certificates.issue("server", NAME)
    own_certificate, own_key = certificates.issue("hearth.test")
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "these tests need uv, which fetches Milvus"
    port = free_port()
    command = [uv, "tool", "run", "--quiet", "--from", PACKAGE, "milvus-server", "--data", str(folder / "data")]
    command += ["--proxy-port", str(port), "--authorization-enabled", "true", "--tls-mode", BOTH_SIDES]
    command += ["--server-pem-path", certificate, "--server-key-path", key, "--ca-pem-path", certificates.ca_file]
    tls = {
        "ca_file": certificates.ca_file,
        "certificate_file": own_certificate,
        "key_file": own_key,
        "server_name": NAME,
    }
    guarded = Guarded(f"https://{LOOPBACK}:{port}", certificates, tls)
    with running(command, folder / "milvus.log"):
        wait_until("Milvus", lambda: _lets_in(guarded))
        guarded.change_password("Milvus", PASSWORD)
        yield guarded


def _lets_in(server: Guarded) -> bool:
    try:
        server.client("Milvus").close()
    except MilvusException:
        return False
    return True


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@asynccontextmanager
async def connected(server: Guarded, **given: Any) -> AsyncGenerator[MilvusConnection]:
    settings = MilvusSettings.model_validate({"uri": server.uri, "tls": server.tls, **given})
    connection = MilvusConnection(settings.uri, settings.access())
    try:
        yield connection
    finally:
        await connection.close()


async def check(connection: MilvusConnection) -> str:
    return await connection.check(Call.within(5.0, "test"))


async def ask(connection: MilvusConnection) -> None:
    async with connection.errors(Call.within(5.0), "notes"):
        await connection.client().has_collection("notes", timeout=5.0)


async def test_a_secret_out_of_a_file_and_certificates_let_us_in(server: Guarded, tmp_path: Path) -> None:
    secret = MountedSecret(tmp_path / "secret", f"root:{PASSWORD}\n")
    async with connected(server, token_file=secret.file) as connection:
        assert await check(connection) == f"{server.uri}, collections: none"
        await ask(connection)


async def test_a_secret_out_of_a_variable_or_the_uri_lets_us_in(
    server: Guarded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(server, uri=server.uri.replace("://", f"://root:{PASSWORD}@")) as connection:
        assert PASSWORD not in await check(connection)
    monkeypatch.setenv("MILVUS_TOKEN", f"root:{PASSWORD}\n")
    async with connected(server) as connection:
        await check(connection)
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("token", ["root:wr0ng-w0rd", "an-api-key-w0rd", ""])
async def test_who_is_not_let_in_is_not_ready_and_told_where_to_look(
    server: Guarded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", token)
    async with connected(server) as connection:
        with refused(UnavailableError, back_end=BACK_END) as raised:
            await check(connection)
        with refused(UpstreamFailedError, retryable=False, back_end=BACK_END) as told:
            await ask(connection)
    assert "look at milvus.token_variable (MILVUS_TOKEN)" in raised.value.message
    assert "look at milvus.token_variable (MILVUS_TOKEN)" in caplog.text
    assert "w0rd" not in f"{caplog.text}{raised.value!r}{told.value!r}"


async def test_a_new_password_is_taken_and_the_old_one_is_refused(server: Guarded, tmp_path: Path) -> None:
    secret = MountedSecret(tmp_path / "secret", f"root:{PASSWORD}")
    async with connected(server, token_file=secret.file) as connection:
        await ask(connection)
        server.change_password(PASSWORD, OTHER_PASSWORD)
        try:
            with refused(UpstreamFailedError, retryable=False):
                await ask(connection)
            secret.put(f"root:{OTHER_PASSWORD}")
            await ask(connection)
            await check(connection)
        finally:
            server.change_password(OTHER_PASSWORD, PASSWORD)


@pytest.mark.parametrize("wrong", ["authority", "name", "no certificate", "expired", "stranger"])
async def test_where_one_side_does_not_trust_the_other_the_settings_are_named(
    server: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", f"root:{PASSWORD}")
    stranger = Certificates.of(tmp_path / "stranger")
    certificate, key = stranger.issue("hearth.test")
    expired = server.certificates.issue("late.test", expired=True)
    tls: dict[str, dict[str, str]] = {
        "authority": server.tls | {"ca_file": stranger.ca_file},
        "name": server.tls | {"server_name": "other.test"},
        "no certificate": {"ca_file": server.certificates.ca_file, "server_name": NAME},
        "expired": server.tls | {"certificate_file": expired[0], "key_file": expired[1]},
        "stranger": server.tls | {"certificate_file": certificate, "key_file": key},
    }
    async with connected(server, tls=tls[wrong]) as connection:
        with refused(UnavailableError, back_end=BACK_END) as raised:
            await check(connection)
        with refused(UnavailableError, retryable=True, back_end=BACK_END):
            await ask(connection)
    assert "look at milvus.tls" in raised.value.message
    assert PASSWORD not in f"{caplog.text}{raised.value!r}"


async def test_a_certificate_that_was_renewed_is_used_from_the_next_call_on(
    server: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", f"root:{PASSWORD}")
    own = Certificates(tmp_path, server.certificates.authority)
    certificate, key = own.issue("hearth.test", expired=True)
    async with connected(server, tls=server.tls | {"certificate_file": certificate, "key_file": key}) as connection:
        with pytest.raises(HearthError):
            await check(connection)
        own.issue("hearth.test")
        await check(connection)
