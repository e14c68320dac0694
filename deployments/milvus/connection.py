"""The connection to a Milvus server: its client, its errors as ours, and what its collections are made of."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar, cast

import grpc
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException

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
from deployments.milvus.schema import CollectionFields, create_collection, read_fields
from deployments.values.access import ServerAccess, ServerUrl

T = TypeVar("T")

_FIELDS_LIFETIME_S = 60.0
_GRPC_OPTIONS = {
    # pymilvus pings every 10 s, which a gRPC server takes for an attack unless told otherwise: Milvus Lite then closes
    # the connection under the next call.
    "grpc.keepalive_time_ms": 300_000,
    "grpc.keepalive_permit_without_calls": 0,
    # After a server was away, the next attempt comes within a second and not after up to two minutes.
    "grpc.max_reconnect_backoff_ms": 1_000,
}

# What Milvus means by the codes of its exceptions.
_CONNECTION_FAILED = 2
_COLLECTION_NOT_FOUND = 100
_COLLECTION_NOT_LOADED = 101
_OVERLOADED = {4, 8, 12}
"""Too many requests, a rate limit, and too few resources: what the server itself says may be tried again."""
_NOT_ALLOWED = {1400, 1401}
_NOT_ALLOWED_GRPC = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_BACK_END = BackEnd("Milvus")
_OF_TLS = re.compile(r"\bTSI_|\bSSL|handshake|certificate|Hostname Verification", re.IGNORECASE)
"""How gRPC says that one of the two sides does not trust the other. Where the server does not trust us, it is told so
only behind the handshake."""
_NOBODY = ServerAccess(setting="milvus.token", tls_setting="milvus.tls", url_setting="milvus.uri")

logger = logging.getLogger(__name__)

# pymilvus logs a traceback for every error that it also raises.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class MilvusConnection:
    """A Milvus server, used from one event loop.

    A server that does not let us in, or forbids what is asked of it, is for the operator to mend: an
    `UpstreamFailedError` that is not retryable. Errors name neither the server's address nor what it said. Both are
    logged. Once the secret or a certificate has changed, the next call is made with the new one.

    Args:
        uri: Such as "http://127.0.0.1:19530". A user and password in it count where `access` has no secret.
        access: "user:password" or an API key, and how the server is known.
    """

    def __init__(self, uri: str, access: ServerAccess | None = None) -> None:
        # Milvus Lite may be a file.
        self._url = ServerUrl.parse(uri) if "://" in uri else ServerUrl(uri)
        self.uri = self._url.address
        self._access = access or _NOBODY
        self._stamp: tuple[object, ...] = ()
        self._client: AsyncMilvusClient | None = None
        self._retired: list[AsyncMilvusClient] = []
        self._fields: dict[str, tuple[float, CollectionFields]] = {}
        self._is_lite: bool | None = None

    def client(self) -> Any:
        """Return the asynchronous client, whose own types leave most of what it takes and returns open."""
        stamp = self._access.stamp()
        if self._client is not None and stamp == self._stamp:
            return self._client
        options = self._options()
        if self._client is not None:
            logger.info("Milvus at %s is connected to with what has changed", self.uri)
            # Others may be waiting for an answer by it.
            self._retired.append(self._client)
        self._client = AsyncMilvusClient(uri=self.uri, grpc_options=_GRPC_OPTIONS, **options)
        self._stamp = stamp
        return self._client

    def _options(self) -> dict[str, Any]:
        """Return who connects, and how the server is known, as pymilvus takes it."""
        tls = self._access.tls
        options: dict[str, Any] = {"token": self._token()}
        if tls:
            self._check_certificates()
            # Dedicated, or pymilvus would go on with the channel of the certificates that there were before.
            options |= {"secure": True, "server_name": tls.server_name, "dedicated": True}
        if tls.certificate_file:
            files = {
                "ca_pem_path": tls.ca_file,
                "client_pem_path": tls.certificate_file,
                "client_key_path": tls.key_file,
            }
            return options | files
        return options | {"server_pem_path": tls.ca_file} if tls.ca_file else options

    def _token(self) -> str:
        try:
            token = self._access.current_token()
        except UnavailableError as error:
            logger.warning("%s: %s", error.message, self._access.token)
            raise
        url = self._url
        return token or (f"{url.user}:{url.password}" if url.password else url.user)

    def _check_certificates(self) -> None:
        # Of a file that it cannot use, gRPC says nothing but that there is no connection.
        try:
            self._access.tls_context()
        except UnavailableError as error:
            logger.warning("%s: %s", error.message, error.__cause__)
            raise

    async def fields(self, call: Call, collection: str) -> CollectionFields:
        """Return what `collection` is made of, as read from it within the last minute.

        Raises:
            NotFoundError: There is no such collection.
            InvalidRequestError: It has no vector field or no text field.
        """
        known = self._fields.get(collection)
        if known is not None and time.monotonic() - known[0] < _FIELDS_LIFETIME_S:
            return known[1]
        async with self.errors(call, collection):
            client = self.client()
            description = cast("dict[str, Any]", await client.describe_collection(collection, timeout=call.remaining()))
            indexed = cast("list[str]", await client.list_indexes(collection, timeout=call.remaining()))
            indexes = [
                cast("dict[str, Any]", await client.describe_index(collection, name, timeout=call.remaining()))
                for name in indexed
            ]
        fields = read_fields(collection, description, indexes)
        self._fields[collection] = (time.monotonic(), fields)
        return fields

    async def create(self, call: Call, collection: str, dimensions: int) -> None:
        """Make a collection of Hearth's own."""
        async with self.errors(call, collection):
            await asyncio.to_thread(self._create, call, collection, dimensions)

    async def is_lite(self, call: Call) -> bool:
        """Say whether the server is Milvus Lite, which leaves to its clients what others do by themselves."""
        if self._is_lite is None:
            async with self.errors(call, ""):
                version = str(await self.client().get_server_version(timeout=call.remaining()))
            self._is_lite = "lite" in version
        return self._is_lite

    async def check(self, call: Call) -> str:
        """Return the collections there are, as one line.

        Raises:
            UnavailableError: Milvus cannot be reached, or does not let us in; then the message says where to look.
        """
        try:
            async with self.errors(call, ""):
                names = cast("list[str]", await self.client().list_collections(timeout=call.remaining()))
        except UpstreamFailedError as error:
            if error.retryable:
                raise
            raise UnavailableError(
                f"Milvus does not let Hearth in; look at {self._place()}", back_end=_BACK_END
            ) from error
        return f"{self.uri}, collections: {', '.join(sorted(names)) or 'none'}"

    async def loaded(self, call: Call, collection: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs a loaded collection, loading it first where the server had not: after a restart it has not."""
        try:
            return await work()
        except MilvusException as error:
            if error.code != _COLLECTION_NOT_LOADED:
                raise
        await self.client().load_collection(collection, timeout=call.remaining())
        return await work()

    @contextlib.asynccontextmanager
    async def errors(self, call: Call, collection: str) -> AsyncGenerator[None]:
        """Raise what the server and the connection raise as an error of ours, which names the collection.

        What is done in it ends with the call's time: pymilvus takes as long as it likes to connect.
        """
        try:
            async with asyncio.timeout(call.remaining()):
                yield
        except TimeoutError as error:
            self._fields.pop(collection, None)
            raise _not_in_time() from error
        except (MilvusException, grpc.RpcError, ConnectionError) as error:
            self._fields.pop(collection, None)
            raise self._translate(error, collection) from error

    async def close(self) -> None:
        for client in (*self._retired, self._client):
            if client is not None:
                await client.close()

    def _create(self, call: Call, collection: str, dimensions: int) -> None:
        # On the synchronous client: the asynchronous one asks for a timestamp, which Milvus Lite cannot give.
        client = MilvusClient(uri=self.uri, timeout=call.remaining(), grpc_options=_GRPC_OPTIONS, **self._options())
        try:
            create_collection(call, client, collection, dimensions)
        finally:
            client.close()

    def _translate(self, error: Exception, collection: str) -> HearthError:
        code = error.code if isinstance(error, MilvusException) else _CONNECTION_FAILED
        text = str(getattr(error, "message", "") or type(error).__name__)
        if code == _COLLECTION_NOT_FOUND or "can't find collection" in text:
            return NotFoundError(f"collection {collection!r} does not exist", field="collection")
        if code == _COLLECTION_NOT_LOADED:
            return UnavailableError(f"collection {collection!r} is being loaded", field="collection")
        details = _grpc_details(error)
        logger.info("Milvus at %s failed on collection %r, code %s: %s %s", self.uri, collection, code, text, details)
        if code in _NOT_ALLOWED or _grpc_status(error) in _NOT_ALLOWED_GRPC:
            return self._not_allowed()
        if code == _CONNECTION_FAILED and _OF_TLS.search(details):
            return UnavailableError(
                f"Milvus cannot be reached by TLS; look at {self._access.tls_setting}", back_end=_BACK_END
            )
        return _failure(code, text)

    def _place(self) -> str:
        """Return where an operator finds who we are to Milvus."""
        place = self._access.token_place
        return f"{place}, or the user in {self._access.url_setting}" if self._url.user else place

    def _not_allowed(self) -> UpstreamFailedError:
        place = self._place()
        logger.error("Milvus at %s does not let us in, or forbids what we ask: look at %s", self.uri, place)
        return UpstreamFailedError(
            "Milvus does not allow what Hearth asks of it; only the operator can mend that",
            retryable=False,
            back_end=_BACK_END,
        )


def _failure(code: object, text: str) -> HearthError:
    if code in _OVERLOADED:
        return OverloadedError("Milvus has too much to do", back_end=_BACK_END)
    if code == _CONNECTION_FAILED:
        return UnavailableError("Milvus cannot be reached", back_end=_BACK_END)
    if "timeout" in text.lower() or "DEADLINE_EXCEEDED" in text:
        return _not_in_time()
    return UpstreamFailedError("Milvus failed", back_end=_BACK_END)


def _not_in_time() -> DeadlineExceededError:
    return DeadlineExceededError("Milvus did not answer in the time given", back_end=_BACK_END)


def _grpc_status(error: BaseException) -> grpc.StatusCode | None:
    found = _of_grpc(error)
    return cast("grpc.StatusCode | None", found.code()) if found else None


def _grpc_details(error: BaseException) -> str:
    found = _of_grpc(error)
    return str(found.details() or "") if found else ""


def _of_grpc(error: BaseException) -> Any:
    """Return the error of gRPC that an error is or comes from: for pymilvus, a refused login is a failed connection."""
    return next((found for found in (error, error.__cause__) if isinstance(found, grpc.RpcError)), None)
