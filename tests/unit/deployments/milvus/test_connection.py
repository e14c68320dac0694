"""What Milvus says is translated into errors of ours, which say nothing of where it is."""

import logging
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
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
    assert "milvus.token_variable" in line
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


@pytest.mark.parametrize("error", [Refused(grpc.StatusCode.UNAUTHENTICATED), Refused(grpc.StatusCode.UNAVAILABLE)])
async def test_a_new_secret_is_used_once_the_old_one_is_refused(
    tmp_path: Path, made: list[dict[str, Any]], error: Exception
) -> None:
    (tmp_path / "token").write_text("root:one\n")
    milvus = MilvusConnection("https://milvus.test", ServerAccess(Secret(file=str(tmp_path / "token"))))
    first = milvus.client()
    with pytest.raises(HearthError):
        async with milvus.errors("notes"):
            raise error
    assert milvus.client() is first
    (tmp_path / "token").write_text("root:two\n")
    assert milvus.client() is first
    with pytest.raises(HearthError):
        async with milvus.errors("notes"):
            raise error
    milvus.client()
    assert [options["token"] for options in made] == ["root:one", "root:two"]
    await milvus.close()


def test_certificates_are_given_as_pymilvus_takes_them(made: list[dict[str, Any]]) -> None:
    MilvusConnection("https://milvus.test", ServerAccess(tls=Tls(ca_file="ca", server_name="m"))).client()
    MilvusConnection("https://milvus.test", ServerAccess(tls=Tls("ca", "cert", "key"))).client()
    MilvusConnection("http://milvus.test").client()
    one_way, both_ways, none = made
    assert (one_way["secure"], one_way["server_pem_path"], one_way["server_name"]) == (True, "ca", "m")
    assert (both_ways["ca_pem_path"], both_ways["client_pem_path"]) == ("ca", "cert")
    assert both_ways["client_key_path"] == "key"
    assert "secure" not in none
