"""Ingestion: documents in, chunks with their vectors in Milvus out."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Protocol

from deployments.call import Call
from deployments.chunking import Chunk, chunk_text, first_heading
from deployments.errors import InvalidRequestError, NotFoundError
from deployments.services import Embeddings
from deployments.settings import MilvusSettings
from deployments.status import replica_status
from deployments.values import ComponentStatus, Document, DocumentPosition, IngestReport
from deployments.vectors import Vectors

_EMBEDDED_TOGETHER = 32
_SHOWN = 200


class ChunkStore(Protocol):
    """Where chunks are written."""

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None:
        """Make the collection if it is not there."""
        ...

    async def write(
        self,
        call: Call,
        collection: str,
        source: str,
        chunks: Sequence[Chunk],
        vectors: Vectors,
        first_index: int,
    ) -> None:
        """Put the chunks of a document into the collection, replacing those with the same index."""
        ...

    async def delete_from(self, call: Call, collection: str, source: str, index: int) -> int:
        """Remove the chunks of a document from `index` on; return how many there were."""
        ...


class Ingestion:
    """Cuts documents into chunks, embeds them and writes them."""

    name = "Ingestion"

    def __init__(self, embeddings: Embeddings, store: ChunkStore, settings: MilvusSettings) -> None:
        self._embeddings = embeddings
        self._store = store
        self._settings = settings

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        """Put a document, or a part of one, into its collection.

        Chunks have ids made from the document's source and their place in it, so ingesting the same source again
        replaces it; what an earlier, longer version left behind is removed with the last part.

        Raises:
            InvalidRequestError: The document has no source or no text, or the collection is not Hearth's.
            HearthError: What embedding or writing raised.
        """
        if not document.source.strip():
            raise InvalidRequestError("the document has no source to be known by")
        start = document.position
        headings = start.headings
        if not headings and start.chunk_index == 0:
            headings = _title(document)
        chunks, at_end = chunk_text(document.text, document.format, headings=headings)
        if not chunks and start.chunk_index == 0 and not document.more_follows:
            raise InvalidRequestError("the document holds no text")
        collection = document.collection or self._settings.collection
        for offset in range(0, len(chunks), _EMBEDDED_TOGETHER):
            batch = chunks[offset : offset + _EMBEDDED_TOGETHER]
            vectors = await self._embeddings.embed(call, [_embedded_text(chunk) for chunk in batch])
            await self._store.ensure_collection(call, collection, vectors.shape[1])
            await self._store.write(call, collection, document.source, batch, vectors, start.chunk_index + offset)
        following = start.chunk_index + len(chunks)
        removed = 0
        if not document.more_follows:
            removed = await self._store.delete_from(call, collection, document.source, following)
        return IngestReport(len(chunks), DocumentPosition(following, at_end), removed)

    async def delete(self, call: Call, collection: str, source: str) -> int:
        """Take a document out of a collection; return how many chunks it had.

        Args:
            call: Whose deadline holds.
            collection: Its collection; empty for the configured default.
            source: What it was ingested under.

        Raises:
            NotFoundError: The collection, or the document in it, is not there.
            HearthError: What the store raised.
        """
        if not source.strip():
            raise InvalidRequestError("no source is named, which the document would be known by")
        name = collection or self._settings.collection
        removed = await self._store.delete_from(call, name, source, 0)
        if not removed:
            raise NotFoundError(f"there is no document {source[:_SHOWN]!r} in the collection {name!r}")
        return removed

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how ingestion is."""
        del call
        return (replica_status(self.name, "text, Markdown", required=False),)


def _title(document: Document) -> tuple[str, ...]:
    """Return the heading path that a document starts with: its title, unless its text begins with one."""
    if document.title:
        return (document.title,)
    if first_heading(document.text, document.format):
        return ()
    return (PurePosixPath(document.source).stem,)


def _embedded_text(chunk: Chunk) -> str:
    return f"{' > '.join(chunk.headings)}\n{chunk.text}" if chunk.headings else chunk.text
