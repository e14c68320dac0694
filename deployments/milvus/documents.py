"""Documents kept in Milvus, chunk by chunk: no chunk of a document is found before the whole document is there.

Each ingestion of a document makes a version. Its chunks are written one batch after the other. One last request then
writes two chunks: the first chunk of the new version, which now says how many chunks there are, and the first chunk of
the version before, which now says that it is not whole. If an ingestion breaks off anywhere, the version before stays
whole and is still found.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, cast

from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, Limit, NotFoundError
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.schema import (
    MAX_NAME_BYTES,
    MAX_TEXT_BYTES,
    check_name,
    chunk_id,
    document_key,
    first_chunk_id,
)
from deployments.values.documents import DocumentVersion, StoredDocument
from deployments.values.embedded_chunks import EmbeddedChunks
from deployments.values.headings import heading_path

logger = logging.getLogger(__name__)

_UPSERT_ROWS = 256
_SHOWN = 200
_FLUSHED_ROWS = 2048
"""Rows that are written to Milvus Lite before they are flushed. Milvus Lite searches rows that are not flushed one by
one: 1,000 of them take 40 ms by meaning and 200 ms by words, ten times longer than flushed ones. But each flush makes
an index of its own."""
_QUIET_S = 1.0
"""After the last write; then what is left is flushed."""
_FLUSH_S = 60.0
_FIRST_CHUNK = [
    "id",
    "document",
    "version",
    "chunk_index",
    "chunks",
    "digest",
    "source",
    "headings",
    "text",
    "vector",
]

_Row = dict[str, Any]


class MilvusDocuments:
    """Writes collections.

    Args:
        connection: To the server.
    """

    def __init__(self, connection: MilvusConnection) -> None:
        self._connection = connection
        self._creating = asyncio.Lock()
        self._unflushed: dict[str, int] = {}
        self._written_at = 0.0
        self._flushing: asyncio.Task[None] | None = None

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None:
        """Make `collection` if it does not exist.

        Raises:
            InvalidRequestError: It is there, and was not made by this version of Hearth or holds vectors of another
                size.
        """
        check_name(collection)
        async with self._creating:
            try:
                fields = await self._connection.fields(call, collection)
            except NotFoundError:
                await self._connection.create(call, collection, dimensions)
                return
        if fields.dimensions != dimensions:
            raise InvalidRequestError(
                f"collection {collection!r} holds vectors of {fields.dimensions} dimensions, "
                f"the embeddings model gives {dimensions}; choose another collection",
                field="collection",
                limit=Limit("dimensions", fields.dimensions, dimensions),
            )
        if not fields.own:
            raise InvalidRequestError(
                f"collection {collection!r} was made by another program and can only be searched; "
                "choose another collection to ingest into",
                field="collection",
            )

    async def write(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> None:
        """Put chunks of a version into a collection that `ensure_collection` saw. They are not found yet.

        Args:
            call: Whose deadline holds.
            collection: Its name.
            document: Whose chunks they are.
            batch: The chunks.
        """
        rows = _rows(document, batch)
        if batch.first_index == 0 and rows:
            # The same version may be there already. It stays whole while it is written again.
            rows[0]["chunks"] = await self._whole_chunks(call, collection, document.version)
        async with self._connection.errors(collection):
            await self._upsert(call, collection, rows)

    async def finish(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> int:
        """Put the last chunks of a version into a collection. From then on this version is found, and no other one.

        Args:
            call: Whose deadline holds.
            collection: Its name.
            document: Whose chunks they are.
            batch: The chunks; none where all were written before.

        Returns:
            Chunks of other versions that are gone.
        """
        rows = _rows(document, batch)
        async with self._connection.errors(collection):
            firsts = await self._first_chunks(call, collection, document.source)
            before = firsts.pop(document.version, None)
            others = list(firsts.values())
            first, *rest = rows if batch.first_index == 0 else (before, *rows)
            if first is None:
                raise NotFoundError(
                    f"the first part of {document.source[:_SHOWN]!r} is gone: start again with the first part",
                    field="position",
                )
            switched = [{**first, "chunks": batch.end}, *({**row, "chunks": 0} for row in others)]
            await self._connection.client().upsert(collection, [*rest, *switched], timeout=call.remaining())
            longer = before is not None and int(before["chunks"]) > batch.end
            removed = await self._remove_rest(call, collection, document, batch.end) if others or longer else 0
            await self._flush_in_time(call, collection, batch.end)
        return removed

    async def delete(self, call: Call, collection: str, source: str) -> int:
        """Remove a document; return how many chunks there were."""
        async with self._connection.errors(collection):
            removed = await self._remove(call, collection, _of_document(source))
            await self._flush_in_time(call, collection, removed)
        return removed

    async def documents(self, call: Call, collection: str, prefix: str, limit: int) -> list[StoredDocument]:
        """Return the whole documents whose key begins with `prefix`, in no particular order, `limit` at most.

        Raises:
            NotFoundError: There is no such collection.
            InvalidRequestError: It is not one of Hearth's own.
        """
        check_name(collection)
        fields = await self._connection.fields(call, collection)
        if not fields.own:
            raise InvalidRequestError(
                f"collection {collection!r} was made by another program: it holds no documents", field="collection"
            )
        condition = f'chunks > 0 and document like "{prefix}%"' if prefix else "chunks > 0"
        names = ["source", "chunks", "digest"]
        async with self._connection.errors(collection):
            rows = await self._query(call, collection, condition, names, limit)
        return [StoredDocument(str(row["source"]), int(row["chunks"]), str(row["digest"])) for row in rows]

    async def check(self, call: Call) -> str:
        """Return the collections there are, as one line; raise `UnavailableError` when Milvus cannot be reached."""
        return await self._connection.check(call)

    async def close(self) -> None:
        """Flush what is not flushed yet, and close the connection."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait([self._flushing])
        await self._flush_all()
        await self._connection.close()

    async def _whole_chunks(self, call: Call, collection: str, version: str) -> int:
        condition = f'id == "{first_chunk_id(version)}"'
        async with self._connection.errors(collection):
            found = await self._query(call, collection, condition, ["chunks"])
        return int(found[0]["chunks"]) if found else 0

    async def _first_chunks(self, call: Call, collection: str, source: str) -> dict[str, _Row]:
        """Return the first chunk of each version of a document, by version."""
        condition = f"{_of_document(source)} and chunk_index == 0"
        rows = await self._query(call, collection, condition, _FIRST_CHUNK)
        return {str(row["version"]): {name: row[name] for name in _FIRST_CHUNK} for row in rows}

    async def _remove_rest(self, call: Call, collection: str, document: DocumentVersion, total: int) -> int:
        rest = f'(version != "{document.version}" or chunk_index >= {total})'
        return await self._remove(call, collection, f"{_of_document(document.source)} and {rest}")

    async def _remove(self, call: Call, collection: str, condition: str) -> int:
        found = await self._query(call, collection, condition, ["id"])
        if found:
            await self._connection.client().delete(collection, filter=condition, timeout=call.remaining())
        return len(found)

    async def _query(
        self, call: Call, collection: str, condition: str, names: list[str], limit: int | None = None
    ) -> list[_Row]:
        bound = {} if limit is None else {"limit": limit}

        async def work() -> Any:
            return await self._connection.client().query(
                collection, filter=condition, output_fields=names, timeout=call.remaining(), **bound
            )

        return cast("list[_Row]", await self._connection.loaded(call, collection, work))

    async def _upsert(self, call: Call, collection: str, rows: Sequence[_Row]) -> None:
        for start in range(0, len(rows), _UPSERT_ROWS):
            batch = list(rows[start : start + _UPSERT_ROWS])
            await self._connection.client().upsert(collection, batch, timeout=call.remaining())

    async def _flush_in_time(self, call: Call, collection: str, rows: int) -> None:
        """Flush a collection of Milvus Lite: now if enough was written, else when nothing was written for a while.

        A Milvus server flushes by itself, and refuses frequent requests to do so.
        """
        if not await self._connection.is_lite(call):
            return
        self._unflushed[collection] = self._unflushed.get(collection, 0) + rows
        self._written_at = time.monotonic()
        if self._unflushed[collection] >= _FLUSHED_ROWS:
            self._unflushed[collection] = 0
            await self._connection.client().flush(collection, timeout=call.remaining())
        elif self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_when_quiet())

    async def _flush_when_quiet(self) -> None:
        missing_s = _QUIET_S
        while missing_s > 0:
            await asyncio.sleep(missing_s)
            missing_s = self._written_at + _QUIET_S - time.monotonic()
        await self._flush_all()

    async def _flush_all(self) -> None:
        waiting = [collection for collection, rows in self._unflushed.items() if rows]
        self._unflushed.clear()
        for collection in waiting:
            try:
                async with self._connection.errors(collection):
                    await self._connection.client().flush(collection, timeout=_FLUSH_S)
            except HearthError as error:
                logger.warning(
                    "collection %r was not flushed, its newest passages are found slowly: %s", collection, error
                )


def _of_document(source: str) -> str:
    return f'document == "{document_key(source)}"'


def _rows(document: DocumentVersion, batch: EmbeddedChunks) -> list[_Row]:
    return [
        {
            "id": chunk_id(document.version, index),
            "document": document_key(document.source),
            "version": document.version,
            "chunk_index": index,
            "chunks": 0,
            "digest": document.digest,
            "source": _cut_bytes(document.source, MAX_NAME_BYTES),
            "headings": _cut_bytes(heading_path(chunk.headings), MAX_NAME_BYTES),
            "text": _cut_bytes(chunk.text, MAX_TEXT_BYTES),
            "vector": vector,
        }
        for index, (chunk, vector) in enumerate(zip(batch.chunks, batch.vectors, strict=True), batch.first_index)
    ]


def _cut_bytes(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")
