"""Ingestion: documents in, chunks with their vectors in Milvus out."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol
from uuid import uuid4

from deployments.call import Call
from deployments.component_status import replica_status
from deployments.errors import InvalidRequestError, Limit, NotFoundError, RequestEndedError
from deployments.ingestion.chunking import chunk_text, first_heading, title_of
from deployments.services import EmbeddingsService
from deployments.settings.orchestration import MilvusSettings
from deployments.values.documents import (
    CHUNKING,
    Chunk,
    Document,
    DocumentListing,
    DocumentPosition,
    DocumentVersion,
    IngestReport,
    Placement,
    StoredDocument,
)
from deployments.values.embedded_chunks import EmbeddedChunks
from deployments.values.names import document_name
from deployments.values.status import ComponentStatus
from deployments.values.versions import has_same_content, is_version, new_version

_EMBEDDED_TOGETHER = 128
"""Chunks that are embedded at once. The more there are, the less of the model's batch is padding: 768 real chunks took
12 % less time in batches of 128 than in batches of 32, and 14 % less all at once."""
_SHOWN = 200
_LISTED_TOGETHER = 2000
_DIGEST_BYTES = 128
_TITLE_CHARACTERS = 1_000
"""It stands above each chunk, in what is embedded and stored."""
_HEADINGS = 64
_HEADINGS_CHARACTERS = 16_384
"""Of a part's position. What Hearth gives out as `next` is far less: a title and nine headings."""
_PREFIX = re.compile(r"[0-9a-f]{0,32}")


class DocumentStore(Protocol):
    """Where documents are kept."""

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None:
        """Make the collection if it does not exist."""
        ...

    async def newest(self, call: Call, collection: str, source: str) -> str:
        """Return the newest version of a document, whole or not; empty where there is none, or no collection."""
        ...

    async def write(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> None:
        """Put chunks of a version into the collection. They are not found yet."""
        ...

    async def finish(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> Placement:
        """Put the last chunks in. From then on all are found, unless a newer version is whole already."""
        ...

    async def delete(self, call: Call, collection: str, source: str) -> int:
        """Remove a document; return how many chunks there were."""
        ...

    async def documents(self, call: Call, collection: str, prefix: str, limit: int) -> list[StoredDocument]:
        """Return the documents whose key begins with `prefix`, `limit` at most."""
        ...


class Ingestion:
    """Cuts documents into chunks, embeds them and writes them.

    `deployments.services.IngestionService` says what its methods do.
    """

    name = "Ingestion"

    def __init__(self, embeddings: EmbeddingsService, store: DocumentStore, settings: MilvusSettings) -> None:
        self._embeddings = embeddings
        self._store = store
        self._settings = settings
        self._cutting = asyncio.Lock()

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        _check(document)
        document = replace(document, source=document_name(document.source))
        start = document.position
        headings = start.headings
        if not headings and start.chunk_index == 0:
            headings = _title(document)
        # On a thread: a large document takes a second, and others' requests may run in this process. On one at a time:
        # several would keep the interpreter from the event loop.
        async with self._cutting:
            cut = await asyncio.to_thread(
                chunk_text,
                document.text,
                document.format,
                headings=headings,
                page=start.page,
                is_further=bool(start.version),
                more_follows=document.more_follows,
            )
        chunks = cut.chunks
        if not chunks and start.chunk_index == 0 and not document.more_follows:
            raise InvalidRequestError("the document holds no text", field="text")
        version = DocumentVersion(
            document.source, start.version or await self._version(call, document), document.digest
        )
        placement = await self._write(call, document, version, chunks)
        if not has_same_content(placement.current, version.version):
            raise RequestEndedError(
                f"another ingestion of {document.source[:_SHOWN]!r} began later and is in: this one is not"
            )
        following = DocumentPosition(start.chunk_index + len(chunks), cut.headings, version.version, cut.page)
        return IngestReport(len(chunks), following, placement.removed)

    async def delete(self, call: Call, collection: str, source: str) -> int:
        if not source.strip():
            raise InvalidRequestError("no source is named, which the document would be known by", field="source")
        name = collection or self._settings.collection
        removed = await self._store.delete(call, name, source)
        if not removed:
            raise NotFoundError(f"there is no document {source[:_SHOWN]!r} in the collection {name!r}", field="source")
        return removed

    async def documents(self, call: Call, collection: str, prefix: str) -> DocumentListing:
        if not _PREFIX.fullmatch(prefix):
            raise InvalidRequestError(
                f"prefix is {prefix[:_SHOWN]!r}; up to 32 hexadecimal digits were expected", field="prefix"
            )
        name = collection or self._settings.collection
        try:
            found = await self._store.documents(call, name, prefix, _LISTED_TOGETHER + 1)
        except NotFoundError:
            return DocumentListing(exists=False)
        if len(found) > _LISTED_TOGETHER:
            return DocumentListing(too_many=True)
        return DocumentListing(tuple(found))

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        del call
        return (replica_status(self.name, "puts documents in and takes them out", required=False),)

    async def _version(self, call: Call, document: Document) -> str:
        """Return the name of a version of a document that begins now."""
        collection = document.collection or self._settings.collection
        return new_version(_content(document), await self._store.newest(call, collection, document.source))

    async def _write(
        self, call: Call, document: Document, version: DocumentVersion, chunks: Sequence[Chunk]
    ) -> Placement:
        """Embed chunks and write them, batch by batch."""
        collection = document.collection or self._settings.collection
        first = document.position.chunk_index
        for offset in range(0, len(chunks), _EMBEDDED_TOGETHER):
            together = chunks[offset : offset + _EMBEDDED_TOGETHER]
            vectors = await self._embeddings.embed(call, [chunk.embedded_text() for chunk in together])
            await self._store.ensure_collection(call, collection, vectors.shape[1])
            batch = EmbeddedChunks(first + offset, together, vectors)
            if not document.more_follows and batch.end == first + len(chunks):
                return await self._store.finish(call, collection, version, batch)
            await self._store.write(call, collection, version, batch)
        if document.more_follows:
            return Placement(version.version)
        return await self._store.finish(call, collection, version, EmbeddedChunks.none(first))


def _check(document: Document) -> None:
    """Raise `InvalidRequestError` where a document cannot be kept as it is given."""
    if not document.source.strip():
        raise InvalidRequestError("the document has no source to be known by", field="source")
    if (size := len(document.digest.encode())) > _DIGEST_BYTES:
        raise InvalidRequestError(
            f"the digest has more than {_DIGEST_BYTES} bytes",
            field="digest",
            limit=Limit("digest_bytes", _DIGEST_BYTES, size),
        )
    start = document.position
    if start.chunk_index < 0 or (start.version and not is_version(start.version)):
        raise InvalidRequestError(
            f"the position is chunk {start.chunk_index} of version {start.version[:_SHOWN]!r}: "
            "it has to be the `next` of the answer to the part before",
            field="position",
        )
    _check_position("headings", "headings", _HEADINGS, len(start.headings))
    _check_position("headings_characters", "characters", _HEADINGS_CHARACTERS, sum(map(len, start.headings)))


def _check_position(what: str, unit: str, most: int, given: int) -> None:
    # They stand above each chunk of the part.
    if given > most:
        raise InvalidRequestError(
            f"position.headings: {given} {unit} are more than the {most} that are taken",
            field="position",
            limit=Limit(what, most, given),
        )


def _content(document: Document) -> str:
    """Return what names this content of a document: by its digest, or its text where that is all of it."""
    if document.digest:
        content = document.digest
    elif document.more_follows:
        return uuid4().hex
    else:
        content = f"{document.title}\0{document.format}\0{document.text}"
    return hashlib.sha256(f"{document.source}\0{CHUNKING}\0{content}".encode()).hexdigest()


def _title(document: Document) -> tuple[str, ...]:
    """Return the heading path that a document starts with: its title, unless its text begins with one."""
    if title := document.title or title_of(document.text, document.format):
        return (title[:_TITLE_CHARACTERS],)
    if first_heading(document.text, document.format):
        return ()
    return (PurePosixPath(document.source).stem[:_TITLE_CHARACTERS],)
