"""What Milvus says is translated into errors of ours, which say nothing of where it is."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
import trustme
from pymilvus import MilvusClient, MilvusException

from deployments.call import Call
from deployments.errors import (
    BackEnd,
    DeadlineExceededError,
    HearthError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.milvus import connection as connection_module
from deployments.milvus.connection import MilvusConnection
from deployments.values.access import Secret, ServerAccess, Tls
from tests.refusals import refused

MILVUS = BackEnd("Milvus")


class Refused(grpc.RpcError):
    """An answer of gRPC itself."""

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__()
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._status.name


def unreachable_because(cause: Exception) -> MilvusException:
    error = MilvusException(2, "Fail connecting to server on milvus.test:19530, illegal connection params")
    error.__cause__ = cause
    return error


async def fails_with(error: Exception) -> None:
    async with MilvusConnection("http://root:secret@milvus.test:19530").errors(Call.within(5.0), "notes"):
        raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MilvusException(2, "Fail connecting to server on milvus.test:19530"), UnavailableError),
        (Refused(grpc.StatusCode.UNAVAILABLE), UnavailableError),
        (ConnectionResetError("milvus.test"), UnavailableError),
        (MilvusException(8, "rate limit exceeded at milvus.test"), OverloadedError),
        (MilvusException(1, "Retry timeout: 0.5s, milvus.test"), DeadlineExceededError),
        (MilvusException(65535, "a segment of milvus.test is broken"), UpstreamFailedError),
    ],
)
async def test_what_may_pass_may_be_tried_again(error: Exception, kind: type[HearthError]) -> None:
    with refused(kind, retryable=True, back_end=MILVUS) as raised:
        await fails_with(error)
    assert "milvus.test" not in raised.value.message
    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    "error",
    [
        MilvusException(1400, "not authenticated"),
        MilvusException(1401, "privilege not permitted"),
        Refused(grpc.StatusCode.UNAUTHENTICATED),
        Refused(grpc.StatusCode.PERMISSION_DENIED),
        unreachable_because(Refused(grpc.StatusCode.UNAUTHENTICATED)),
    ],
)
async def test_a_login_that_is_refused_is_the_operator_s_to_mend(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with refused(UpstreamFailedError, retryable=False, back_end=MILVUS):
        await fails_with(error)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "milvus.token_file or milvus.token_variable" in line
    assert "http://milvus.test:19530" in line
    assert "secret" not in line


async def test_a_collection_that_is_not_there_is_the_client_s() -> None:
    with refused(NotFoundError, field="collection", back_end=None):
        await fails_with(MilvusException(100, "collection not found"))
    with refused(UnavailableError, field="collection", retryable=True):
        await fails_with(MilvusException(101, "collection not loaded"))


class Client:
    """A client that notes what it was made with."""

    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        self.made.append(options)

    async def close(self) -> None: ...


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(connection_module, "AsyncMilvusClient", Client)
    monkeypatch.setattr(Client, "made", [])
    return Client.made


async def test_a_new_secret_is_used_once_its_file_has_changed(tmp_path: Path, made: list[dict[str, Any]]) -> None:
    # As Kubernetes renews a Secret: the file stays a link to one in a folder that is another one then.
    for version, token in (("one", "root:one"), ("two", "root:two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(f"{token}\n")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "token").symlink_to("..data/token")
    milvus = MilvusConnection("https://milvus.test", ServerAccess(Secret(file=str(tmp_path / "token"))))
    first = milvus.client()
    assert milvus.client() is first
    (tmp_path / "..data_tmp").symlink_to("two")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    second = milvus.client()
    assert milvus.client() is second
    assert [options["token"] for options in made] == ["root:one", "root:two"]
    await milvus.close()


def test_a_secret_that_cannot_be_read_is_named_by_its_setting(
    tmp_path: Path, made: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    access = ServerAccess(Secret(file=str(tmp_path / "token")), setting="milvus.token")
    with pytest.raises(UnavailableError, match=r"^milvus\.token_file cannot be read: No such file") as raised:
        MilvusConnection("https://milvus.test", access).client()
    assert str(tmp_path) not in raised.value.message
    assert str(tmp_path) in caplog.text
    assert not made


@pytest.mark.parametrize(("variable", "token"), [(None, "root:p@ss"), (" \n", "root:p@ss"), ("api-key\n", "api-key")])
def test_a_user_and_password_in_the_uri_count_where_no_token_is_given(
    made: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, variable: str | None, token: str
) -> None:
    if variable is not None:
        monkeypatch.setenv("A_TOKEN", variable)
    milvus = MilvusConnection("https://root:p%40ss@milvus.test", ServerAccess(Secret(variable="A_TOKEN")))
    milvus.client()
    assert [(options["uri"], options["token"]) for options in made] == [("https://milvus.test", token)]
    assert milvus.uri == "https://milvus.test"


def test_certificates_are_given_as_pymilvus_takes_them(tmp_path: Path, made: list[dict[str, Any]]) -> None:
    authority = trustme.CA()
    ours = authority.issue_cert("hearth.test")
    ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
    authority.cert_pem.write_to_path(ca)
    ours.cert_chain_pems[0].write_to_path(cert)
    ours.private_key_pem.write_to_path(key)
    MilvusConnection("https://milvus.test", ServerAccess(tls=Tls(ca_file=ca, server_name="m"))).client()
    MilvusConnection("https://milvus.test", ServerAccess(tls=Tls(ca, cert, key))).client()
    MilvusConnection("http://milvus.test").client()
    one_way, both_ways, none = made
    assert (one_way["secure"], one_way["server_pem_path"], one_way["server_name"]) == (True, ca, "m")
    assert (both_ways["ca_pem_path"], both_ways["client_pem_path"]) == (ca, cert)
    assert both_ways["client_key_path"] == key
    assert "secure" not in none


def test_a_certificate_that_cannot_be_used_is_named_by_its_settings(
    tmp_path: Path, made: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    access = ServerAccess(tls=Tls(str(tmp_path / "ca.pem")), tls_setting="milvus.tls")
    with pytest.raises(UnavailableError, match=r"^a certificate of milvus\.tls cannot be used$"):
        MilvusConnection("https://milvus.test", access).client()
    assert str(tmp_path / "ca.pem") in caplog.text
    assert not made


@pytest.fixture
async def silent_uri() -> AsyncGenerator[str]:
    """A server that takes connections and says nothing."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in writers:
        writer.close()
    server.close()


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda milvus, call: milvus.check(call), id="check"),
        pytest.param(lambda milvus, call: milvus.is_lite(call), id="is_lite"),
        pytest.param(lambda milvus, call: milvus.fields(call, "notes"), id="fields"),
        pytest.param(lambda milvus, call: milvus.create(call, "notes", 4), id="create"),
    ],
)
async def test_a_server_that_says_nothing_takes_no_more_than_the_time_of_the_call(
    silent_uri: str, ask: Callable[[MilvusConnection, Call], Awaitable[object]]
) -> None:
    milvus = MilvusConnection(silent_uri)
    began = time.monotonic()
    with pytest.raises((DeadlineExceededError, UnavailableError)):
        await ask(milvus, Call.within(0.2))
    assert time.monotonic() - began < 2
    await milvus.close()


class Stuck:
    """A client of a server that hangs when it is asked for the names of the indexes."""

    def __init__(self, **_: Any) -> None:
        self.timeouts: dict[str, float] = {}

    async def describe_collection(self, _: str, **options: float) -> dict[str, Any]:
        self.timeouts["describe_collection"] = options["timeout"]
        return {}

    async def list_indexes(self, _: str, **options: float) -> list[str]:
        self.timeouts["list_indexes"] = options["timeout"]
        await asyncio.Event().wait()
        return []


async def test_each_question_about_a_collection_has_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "AsyncMilvusClient", Stuck)
    milvus = MilvusConnection("http://milvus.test")
    client = milvus.client()
    with refused(DeadlineExceededError, retryable=True, back_end=MILVUS):
        await milvus.fields(Call.within(0.1), "notes")
    assert set(client.timeouts) == {"describe_collection", "list_indexes"}
    assert all(0 < timeout <= 0.1 for timeout in client.timeouts.values())


class Noting:
    """A synchronous client that notes how long each of its calls may take."""

    timeouts: ClassVar[dict[str, float | None]] = {}

    def __init__(self, timeout: float | None = None, **_: Any) -> None:
        self.timeouts["connect"] = timeout
        self.create_schema = MilvusClient.create_schema
        self.prepare_index_params = MilvusClient.prepare_index_params

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        def call(*_: Any, timeout: float | None = None, **__: Any) -> dict[str, Any]:
            self.timeouts[name] = timeout
            return {}

        return call

    def close(self) -> None: ...


async def test_each_step_of_making_a_collection_has_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MilvusClient", Noting)
    monkeypatch.setattr(Noting, "timeouts", {})
    await MilvusConnection("http://milvus.test").create(Call.within(5.0), "notes", 4)
    steps = {"connect", "describe_collection", "drop_collection"}
    assert set(Noting.timeouts) == steps | {"create_collection", "create_index", "load_collection"}
    assert all(timeout is not None and 0 < timeout <= 5 for timeout in Noting.timeouts.values())
