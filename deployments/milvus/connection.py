"""The connection to a Milvus server: its client, its errors as ours, and what its collections are made of."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar, cast

import grpc
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException

from deployments.call import Call
from deployments.errors import (
    DeadlineExceededError,
    HearthError,
    NotFoundError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.milvus.schema import CollectionFields, create_collection, read_fields

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

# pymilvus logs a traceback for every error that it also raises.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class MilvusConnection:
    """A Milvus server, used from one event loop.

    Args:
        uri: Such as "http://127.0.0.1:19530".
        token: "user:password" or an API key; empty where the server asks for none.
    """

    def __init__(self, uri: str, *, token: str = "") -> None:
        self.uri = uri
        self._token = token
        self._client: AsyncMilvusClient | None = None
        self._fields: dict[str, tuple[float, CollectionFields]] = {}
        self._is_lite: bool | None = None

    def client(self) -> Any:
        """Return the asynchronous client, whose own types leave most of what it takes and returns open."""
        if self._client is None:
            self._client = AsyncMilvusClient(uri=self.uri, token=self._token, grpc_options=_GRPC_OPTIONS)
        return self._client

    async def fields(self, call: Call, collection: str) -> CollectionFields:
        """Return what `collection` is made of, as read from it within the last minute.

        Raises:
            NotFoundError: There is no such collection.
            InvalidRequestError: It has no vector field or no text field.
        """
        known = self._fields.get(collection)
        if known is not None and time.monotonic() - known[0] < _FIELDS_LIFETIME_S:
            return known[1]
        async with self.errors(collection):
            client, timeout = self.client(), call.remaining()
            description = cast("dict[str, Any]", await client.describe_collection(collection, timeout=timeout))
            indexed = cast("list[str]", await client.list_indexes(collection))
            indexes = [
                cast("dict[str, Any]", await client.describe_index(collection, name, timeout=timeout))
                for name in indexed
            ]
        fields = read_fields(collection, description, indexes)
        self._fields[collection] = (time.monotonic(), fields)
        return fields

    async def create(self, call: Call, collection: str, dimensions: int) -> None:
        """Make a collection of Hearth's own."""
        async with self.errors(collection):
            await asyncio.to_thread(self._create, collection, dimensions, call.remaining())

    async def is_lite(self, call: Call) -> bool:
        """Say whether the server is Milvus Lite, which leaves to its clients what others do by themselves."""
        if self._is_lite is None:
            async with self.errors(""):
                version = str(await self.client().get_server_version(timeout=call.remaining()))
            self._is_lite = "lite" in version
        return self._is_lite

    async def check(self, call: Call) -> str:
        """Return the collections there are, as one line.

        Raises:
            UnavailableError: Milvus cannot be reached.
        """
        async with self.errors(""):
            names = cast("list[str]", await self.client().list_collections(timeout=call.remaining()))
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
    async def errors(self, collection: str) -> AsyncGenerator[None]:
        """Raise what the server and the connection raise as an error of ours, which names the collection."""
        try:
            yield
        except (MilvusException, grpc.RpcError, ConnectionError) as error:
            self._fields.pop(collection, None)
            raise self._translate(error, collection) from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _create(self, collection: str, dimensions: int, timeout: float) -> None:
        # On the synchronous client: the asynchronous one asks for a timestamp, which Milvus Lite cannot give.
        client = MilvusClient(uri=self.uri, token=self._token, timeout=timeout, grpc_options=_GRPC_OPTIONS)
        try:
            create_collection(client, collection, dimensions)
        finally:
            client.close()

    def _translate(self, error: Exception, collection: str) -> HearthError:
        code = error.code if isinstance(error, MilvusException) else _CONNECTION_FAILED
        text = str(getattr(error, "message", "") or type(error).__name__)
        if code == _COLLECTION_NOT_FOUND or "can't find collection" in text:
            return NotFoundError(f"collection {collection!r} does not exist")
        if code == _COLLECTION_NOT_LOADED:
            return UnavailableError(f"collection {collection!r} is being loaded")
        if code == _CONNECTION_FAILED:
            return UnavailableError(f"Milvus at {self.uri} cannot be reached")
        if "timeout" in text.lower() or "DEADLINE_EXCEEDED" in text:
            return DeadlineExceededError(f"Milvus at {self.uri} did not answer in the time given")
        return UpstreamFailedError(f"Milvus failed on collection {collection!r}: {text}")
