"""Documents kept in Milvus, chunk by chunk: no chunk of a document is found before the whole document is there.

Each ingestion of a document makes a version, whose name sorts behind those that began earlier. Its chunks are written
one batch after the other. The last request also writes the version's first chunk, which then says how many chunks there
are: from then on the version is whole. Readers take the newest version that is whole. Whoever has made a version whole
looks for a newer one that is whole. If there is none, older versions are deleted; if there is one, the own version is.

Milvus has no transactions, and several processes write. This holds nevertheless:

* The newest version that is whole is never deleted, except by a deletion of the document.
* Readers never take two versions of a document.
* If an ingestion breaks off anywhere, readers take the version before, or the new one. What is left over is not found,
  and goes with the next ingestion of the document or its deletion.
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
    CollectionFields,
    check_name,
    chunk_id,
    current_versions,
    document_key,
    first_chunk_id,
    in_list,
)
from deployments.values.documents import Chunk, DocumentVersion, Placement, StoredDocument
from deployments.values.embedded_chunks import EmbeddedChunks
from deployments.values.headings import heading_path, page_name
from deployments.values.names import forms_of

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
_COLUMNS = ("id", "document", "version", "chunk_index", "chunks", "digest", "source", "headings", "text", "vector")
"""Of every collection of Hearth's own."""

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
        fields = await self._connection.fields(call, collection)
        async with self._connection.errors(call, collection):
            await self._upsert(call, collection, _rows(document, batch, fields))

    async def newest(self, call: Call, collection: str, source: str) -> str:
        """Return the newest version of a document, whole or not; empty where there is none.

        Also empty where there is no such collection, or it is not one of Hearth's own.
        """
        check_name(collection)
        try:
            fields = await self._connection.fields(call, collection)
        except NotFoundError:
            return ""
        if not fields.own:
            return ""
        async with self._connection.errors(call, collection):
            firsts = await self._query(call, collection, f"{_of_document(source)} and chunk_index == 0", ["version"])
        return max((str(first["version"]) for first in firsts), default="")

    async def finish(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> Placement:
        """Put the last chunks of a version into a collection. From then on it is found, and no earlier one.

        If a version that began later is whole by then, that one stays, and nothing of this one is left.

        Args:
            call: Whose deadline holds.
            collection: Its name.
            document: Whose chunks they are.
            batch: The chunks; none where all were written before.

        Raises:
            NotFoundError: The chunks that were written before are gone: the document was deleted meanwhile.
        """
        fields = await self._connection.fields(call, collection)
        async with self._connection.errors(call, collection):
            is_whole = await self._complete(call, collection, document, batch, fields)
            current = await self._current(call, collection, document.source)
            if current > document.version or not is_whole:
                await self._remove(call, collection, _of_version(document))
            if current > document.version:
                return Placement(current)
            if not is_whole:
                raise NotFoundError(
                    f"the first part of {document.source[:_SHOWN]!r} is gone: start again with the first part",
                    field="position",
                )
            earlier = f'{_of_document(document.source)} and version < "{document.version}"'
            removed = await self._remove(call, collection, earlier)
            await self._flush_in_time(call, collection, batch.end)
        return Placement(document.version, removed)

    async def delete(self, call: Call, collection: str, source: str) -> int:
        """Remove a document; return how many chunks there were."""
        async with self._connection.errors(call, collection):
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
        names = ["document", "version", "source", "chunks", "digest"]
        async with self._connection.errors(call, collection):
            rows = await self._query(call, collection, condition, names, limit)
        current = current_versions(rows)
        return [
            StoredDocument(str(row["source"]), int(row["chunks"]), str(row["digest"]))
            for row in rows
            if row["version"] == current[row["document"]]
        ]

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

    async def _complete(
        self,
        call: Call,
        collection: str,
        document: DocumentVersion,
        batch: EmbeddedChunks,
        fields: CollectionFields,
    ) -> bool:
        """Write the last chunks of a version, and with them that it is whole; say whether it is.

        It is not where a deletion, or a newer version, has taken out what was written before.
        """
        rows = _rows(document, batch, fields)
        columns = [*_COLUMNS, *([fields.page] if fields.page else [])]
        if batch.first_index:
            first_chunk = f'id == "{first_chunk_id(document.version)}"'
            rows = [*await self._query(call, collection, first_chunk, columns), *rows]
            if len(rows) == len(batch.chunks):
                return False
        first, *rest = rows
        whole = {**{name: first[name] for name in columns}, "chunks": batch.end}
        await self._connection.client().upsert(collection, [*rest, whole], timeout=call.remaining())
        if not batch.first_index:
            return True
        # The chunks before may have gone after the first one was read.
        (counted,) = await self._query(call, collection, _of_version(document), ["count(*)"])
        return int(counted["count(*)"]) == batch.end

    async def _current(self, call: Call, collection: str, source: str) -> str:
        """Return the version of a document that is found; empty where there is none."""
        condition = f"{_of_document(source)} and chunk_index == 0 and chunks > 0"
        rows = await self._query(call, collection, condition, ["document", "version"])
        return max((str(row["version"]) for row in rows), default="")

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
                collection,
                filter=condition,
                output_fields=names,
                timeout=call.remaining(),
                # What others have written a moment ago decides.
                consistency_level="Strong",
                **bound,
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
                call = Call.within(_FLUSH_S)
                async with self._connection.errors(call, collection):
                    await self._connection.client().flush(collection, timeout=call.remaining())
            except HearthError as error:
                logger.warning(
                    "collection %r was not flushed, its newest passages are found slowly: %s", collection, error
                )


def _of_document(source: str) -> str:
    """Return the condition for the rows of a document, in whichever Unicode form its name was stored."""
    keys = [document_key(form) for form in forms_of(source)]
    return f"document in {in_list(keys)}" if len(keys) > 1 else f'document == "{keys[0]}"'


def _of_version(document: DocumentVersion) -> str:
    return f'{_of_document(document.source)} and version == "{document.version}"'


def _rows(document: DocumentVersion, batch: EmbeddedChunks, fields: CollectionFields) -> list[_Row]:
    return [
        {
            "id": chunk_id(document.version, index),
            "document": document_key(document.source),
            "version": document.version,
            "chunk_index": index,
            "chunks": 0,
            "digest": document.digest,
            "source": _cut_bytes(document.source, MAX_NAME_BYTES),
            **_place(chunk, fields),
            "text": _cut_bytes(chunk.text, MAX_TEXT_BYTES),
            "vector": vector,
        }
        for index, (chunk, vector) in enumerate(zip(batch.chunks, batch.vectors, strict=True), batch.first_index)
    ]


def _place(chunk: Chunk, fields: CollectionFields) -> _Row:
    """Return the columns that say where a chunk stands. Without one for pages, its page stands with its headings."""
    headings = chunk.headings
    if chunk.page and not fields.page:
        *above, last = headings if len(headings) > 1 else (*headings, "")
        headings = (*above, ", ".join(part for part in (last, page_name(chunk.page)) if part))
    row: _Row = {"headings": _cut_bytes(heading_path(headings), MAX_NAME_BYTES)}
    return {**row, fields.page: chunk.page} if fields.page else row


def _cut_bytes(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")
