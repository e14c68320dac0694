"""Passages in Milvus: searching collections whoever made them, and writing collections of Hearth's own."""

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
from pymilvus import AsyncMilvusClient, DataType, MilvusClient, MilvusException

from deployments.call import Call
from deployments.chunking import Chunk
from deployments.errors import (
    DeadlineExceededError,
    HearthError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.values import Passage
from deployments.vectors import Vectors

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TEXT_NAMES = ("text", "content", "page_content", "chunk", "chunk_text", "passage", "body", "document")
_SOURCE_NAMES = (
    "source",
    "file_path",
    "path",
    "file_name",
    "filename",
    "file",
    "url",
    "uri",
    "document_name",
    "title",
)
_HEADINGS_NAMES = ("headings", "heading", "section")
_VECTOR_TYPES = (DataType.FLOAT_VECTOR, DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR)
_METADATA_NAMES = ("metadata", "meta")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")
_FIELDS_LIFETIME_S = 60.0
_MAX_TEXT_BYTES = 65_535
_MAX_NAME_BYTES = 4_096
_UPSERT_ROWS = 256
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


@dataclass(frozen=True, slots=True)
class CollectionFields:
    """What a collection is made of, as read from it.

    Attributes:
        vector: Field that is searched.
        dimensions: Size of its vectors.
        metric: COSINE, IP or L2.
        text: Field that holds the passage.
        source: Field that holds where the passage is from; empty where there is none.
        headings: Field that holds where in the document it stands; empty where there is none.
        metadata: JSON field in which a source may be found; empty where there is none.
    """

    vector: str
    dimensions: int
    metric: str
    text: str
    source: str
    headings: str
    metadata: str

    def output(self) -> list[str]:
        """Return the fields to ask for: named one by one, or Milvus Lite returns the vectors too."""
        return [name for name in (self.text, self.source, self.headings, self.metadata) if name]


class VectorStore:
    """A Milvus server, used from one event loop.

    Args:
        uri: Such as "http://127.0.0.1:19530".
        token: "user:password" or an API key; empty where the server asks for none.
        passage_characters: Longer passages are cut to this many characters.
    """

    def __init__(self, uri: str, *, token: str = "", passage_characters: int = 2000) -> None:
        self.uri = uri
        self._token = token
        self._passage_characters = passage_characters
        self._client: AsyncMilvusClient | None = None
        self._fields: dict[str, tuple[float, CollectionFields]] = {}
        self._writing = asyncio.Lock()

    async def search(self, call: Call, collection: str, vector: Vectors, limit: int) -> list[Passage]:
        """Return the passages nearest to `vector`, best first.

        The score is the collection's own: cosine or inner product, or the distance with its sign turned (L2), so
        that higher is better in each.

        Args:
            collection: Its name.
            vector: Shape (dimensions,).
            limit: Passages at most.

        Raises:
            NotFoundError: There is no such collection.
            InvalidRequestError: The name cannot be one, or the collection's vectors have another size.
            UnavailableError: Milvus cannot be reached, or is loading the collection.
        """
        _check_name(collection)
        fields = await self.fields(call, collection)
        if fields.dimensions != vector.shape[-1]:
            raise InvalidRequestError(
                f"collection {collection!r} holds vectors of {fields.dimensions} dimensions, "
                f"the embeddings model gives {vector.shape[-1]}: it was made with another model"
            )
        async with self._errors(collection):
            found = await self._loaded(call, collection, lambda: self._search(call, collection, vector, limit, fields))
        return [self._passage(hit, fields) for hit in found]

    async def fields(self, call: Call, collection: str) -> CollectionFields:
        """Return what `collection` is made of, as read from it within the last minute.

        Raises:
            NotFoundError: There is no such collection.
            InvalidRequestError: It has no vector field or no text field.
        """
        known = self._fields.get(collection)
        if known is not None and time.monotonic() - known[0] < _FIELDS_LIFETIME_S:
            return known[1]
        async with self._errors(collection):
            client = self._connected()
            timeout = call.remaining()
            description = cast("dict[str, Any]", await client.describe_collection(collection, timeout=timeout))
            indexed = cast("list[str]", await client.list_indexes(collection))
            indexes = [
                cast("dict[str, Any]", await client.describe_index(collection, name, timeout=timeout))
                for name in indexed
            ]
        fields = read_fields(collection, description, indexes)
        self._fields[collection] = (time.monotonic(), fields)
        return fields

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None:
        """Make `collection` if it is not there.

        Raises:
            InvalidRequestError: It is there, and was not made by Hearth or holds vectors of another size.
        """
        _check_name(collection)
        async with self._writing:
            try:
                fields = await self.fields(call, collection)
            except NotFoundError:
                async with self._errors(collection):
                    await asyncio.to_thread(self._create, collection, dimensions, call.remaining())
                return
        if fields.dimensions != dimensions:
            raise InvalidRequestError(
                f"collection {collection!r} holds vectors of {fields.dimensions} dimensions, "
                f"the embeddings model gives {dimensions}; choose another collection"
            )
        if (fields.vector, fields.text, fields.source, fields.headings) != (
            "vector",
            "text",
            "source",
            "headings",
        ):
            raise InvalidRequestError(
                f"collection {collection!r} was made by another program and can only be searched; "
                "choose another collection to ingest into"
            )

    async def write(
        self,
        call: Call,
        collection: str,
        source: str,
        chunks: Sequence[Chunk],
        vectors: Vectors,
        first_index: int,
    ) -> None:
        """Put the chunks of a document into a collection that `ensure_collection` saw.

        A chunk that is there under the same document and index is replaced.

        Args:
            source: Names the document.
            chunks: In order.
            vectors: One row for each chunk.
            first_index: Index of the first chunk in the document.
        """
        document = document_key(source)
        rows = [
            {
                "id": f"{document}-{index:06d}",
                "document": document,
                "chunk_index": index,
                "source": _cut_bytes(source, _MAX_NAME_BYTES),
                "headings": _cut_bytes(" > ".join(chunk.headings), _MAX_NAME_BYTES),
                "text": _cut_bytes(chunk.text, _MAX_TEXT_BYTES),
                "vector": vector,
            }
            for index, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True), first_index)
        ]
        async with self._errors(collection):
            for start in range(0, len(rows), _UPSERT_ROWS):
                batch = rows[start : start + _UPSERT_ROWS]
                await self._connected().upsert(collection, batch, timeout=call.remaining())

    async def delete_from(self, call: Call, collection: str, source: str, index: int) -> int:
        """Remove the chunks of a document from `index` on; return how many there were."""
        condition = f'document == "{document_key(source)}" and chunk_index >= {index}'
        async with self._errors(collection):
            client = self._connected()
            removed = await self._loaded(call, collection, lambda: self._delete(call, collection, condition))
            # Rows that are not flushed yet are searched one by one in Milvus Lite, ten times slower.
            await client.flush(collection, timeout=call.remaining())
        return removed

    async def check(self, call: Call) -> str:
        """Return the collections there are, as one line.

        Raises:
            UnavailableError: Milvus cannot be reached.
        """
        async with self._errors(""):
            names = await self._connected().list_collections(timeout=call.remaining())
        return f"{self.uri}, collections: {', '.join(sorted(names)) or 'none'}"

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _connected(self) -> AsyncMilvusClient:
        if self._client is None:
            self._client = AsyncMilvusClient(uri=self.uri, token=self._token, grpc_options=_GRPC_OPTIONS)
        return self._client

    async def _delete(self, call: Call, collection: str, condition: str) -> int:
        client = cast("Any", self._connected())
        found = await client.query(collection, filter=condition, output_fields=["id"], timeout=call.remaining())
        if found:
            await client.delete(collection, filter=condition, timeout=call.remaining())
        return len(found)

    async def _search(
        self, call: Call, collection: str, vector: Vectors, limit: int, fields: CollectionFields
    ) -> list[dict[str, Any]]:
        found = await cast("Any", self._connected()).search(
            collection,
            data=[vector.tolist()],
            limit=limit,
            anns_field=fields.vector,
            output_fields=fields.output(),
            search_params={"metric_type": fields.metric},
            timeout=call.remaining(),
        )
        sign = -1.0 if fields.metric == "L2" else 1.0
        return [
            {"score": sign * float(hit["distance"]), **cast("dict[str, Any]", hit["entity"])}
            for hit in cast("list[dict[str, Any]]", found[0])
        ]

    async def _loaded(self, call: Call, collection: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs a loaded collection, loading it first where the server had not: after a restart it has not."""
        try:
            return await work()
        except MilvusException as error:
            if error.code != _COLLECTION_NOT_LOADED:
                raise
        await self._connected().load_collection(collection, timeout=call.remaining())
        return await work()

    def _passage(self, hit: Mapping[str, Any], fields: CollectionFields) -> Passage:
        metadata: object = hit.get(fields.metadata) if fields.metadata else None
        source = str(hit.get(fields.source) or "") if fields.source else ""
        if not source and isinstance(metadata, dict):
            values = cast("dict[str, object]", metadata)
            source = next((str(values[name]) for name in _SOURCE_NAMES if values.get(name)), "")
        return Passage(
            text=str(hit.get(fields.text) or "")[: self._passage_characters],
            source=source,
            headings=str(hit.get(fields.headings) or "") if fields.headings else "",
            score=float(hit["score"]),
        )

    def _create(self, collection: str, dimensions: int, timeout: float) -> None:
        """Make a collection of Hearth's own.

        On the synchronous client: the asynchronous one asks for a timestamp, which Milvus Lite cannot give.
        """
        client = MilvusClient(uri=self.uri, token=self._token, timeout=timeout, grpc_options=_GRPC_OPTIONS)
        try:
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
            schema.add_field("document", DataType.VARCHAR, max_length=64)
            schema.add_field("chunk_index", DataType.INT64)
            schema.add_field("source", DataType.VARCHAR, max_length=_MAX_NAME_BYTES)
            schema.add_field("headings", DataType.VARCHAR, max_length=_MAX_NAME_BYTES)
            schema.add_field("text", DataType.VARCHAR, max_length=_MAX_TEXT_BYTES)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
            index = client.prepare_index_params()
            index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 128})
            client.create_collection(collection, schema=schema, index_params=index)
        finally:
            client.close()

    @contextlib.asynccontextmanager
    async def _errors(self, collection: str) -> AsyncGenerator[None]:
        try:
            yield
        except (MilvusException, grpc.RpcError, ConnectionError) as error:
            self._fields.pop(collection, None)
            raise self._translate(error, collection) from error

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


def document_key(source: str) -> str:
    """Return the stable key of a document, made from what names it: 32 hexadecimal digits."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def read_fields(
    collection: str, description: Mapping[str, Any], indexes: Sequence[Mapping[str, Any]]
) -> CollectionFields:
    """Read what a collection is made of out of Milvus's own description.

    The vector field is the first dense one that has an index; the text field is the one with a usual name, else
    the longest string field that is not the key.

    Raises:
        InvalidRequestError: It has no dense vector field or no text field.
    """
    entries = cast("list[dict[str, Any]]", description["fields"])
    metrics = {str(index.get("field_name")): str(index.get("metric_type", "")) for index in indexes}
    vectors = [entry for entry in entries if entry["type"] in _VECTOR_TYPES]
    vectors.sort(key=lambda entry: entry["name"] not in metrics)
    if not vectors:
        raise InvalidRequestError(f"collection {collection!r} has no dense vector field to search")
    strings = {str(entry["name"]): entry for entry in entries if entry["type"] == DataType.VARCHAR}
    lengths = {
        name: int(entry["params"].get("max_length", 0))
        for name, entry in strings.items()
        if not entry.get("is_primary")
    }
    dynamic = bool(description.get("enable_dynamic_field"))
    text = _first_of(_TEXT_NAMES, strings) or max(lengths, key=lambda name: lengths[name], default="")
    if not text and not dynamic:
        raise InvalidRequestError(f"collection {collection!r} has no text field to answer from")
    json_fields = [str(entry["name"]) for entry in entries if entry["type"] == DataType.JSON]
    vector = vectors[0]
    return CollectionFields(
        vector=str(vector["name"]),
        dimensions=int(vector["params"]["dim"]),
        metric=metrics.get(str(vector["name"])) or "COSINE",
        text=text or "text",
        source=_first_of(_SOURCE_NAMES, strings) or ("source" if dynamic else ""),
        headings=_first_of(_HEADINGS_NAMES, strings),
        metadata=_first_of(_METADATA_NAMES, json_fields),
    )


def _first_of(names: Sequence[str], there: Mapping[str, object] | Sequence[str]) -> str:
    return next((name for name in names if name in there), "")


def _check_name(collection: str) -> None:
    if not _NAME.match(collection):
        raise InvalidRequestError(
            f"{collection[:64]!r} cannot name a collection: letters, digits and underscores, not a digit first"
        )


def _cut_bytes(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")
