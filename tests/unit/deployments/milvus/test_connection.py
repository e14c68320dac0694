"""What Milvus says is translated into errors of ours, which say nothing of where it is."""

import logging
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
import trustme
from pymilvus import MilvusException

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
    async with MilvusConnection("http://root:secret@milvus.test:19530").errors("notes"):
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
