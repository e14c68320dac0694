"""Clients that put documents into one collection at once, or take them out, through two ingestions on one Milvus."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import pytest
from pymilvus import MilvusClient

from deployments.call import Call
from deployments.errors import NotFoundError, RequestEndedError
from deployments.ingestion.service import Ingestion
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.documents import MilvusDocuments
from deployments.milvus.passages import MilvusPassages
from deployments.settings.orchestration import MilvusSettings
from deployments.values.documents import Document, IngestReport
from tests.integration.ingestion_process import HashedEmbeddings, embedded

_DOCUMENTS = 15
_CLIENTS = 3
_PARAGRAPHS = 3


@dataclass(frozen=True)
class Site:
    """Two ingestions, as two replicas have them, and what is found.

    Attributes:
        uri: Of Milvus.
        collection: That all use.
        ingestions: Each with a connection of its own.
        passages: What questions find.
    """

    uri: str
    collection: str
    ingestions: tuple[Ingestion, Ingestion]
    passages: MilvusPassages

    async def ingest(self, client: int, source: str, text: str, digest: str = "") -> IngestReport:
        """Put a document in through one of the ingestions."""
        document = Document(source, text, digest=digest)
        return await self.ingestions[client % 2].ingest(Call.within(60.0), document)

    async def found(self, sources: int) -> dict[str, set[str]]:
        """Return what is found of each document."""
        (vector,) = embedded(["anything"])
        found: dict[str, set[str]] = {}
        limit = 2 * sources * _PARAGRAPHS * _CLIENTS
        for passage in await self.passages.search(Call.within(20.0), self.collection, "", vector, limit):
            found.setdefault(passage.source, set()).add(passage.text)
        return found

    async def listed(self) -> dict[str, int]:
        """Return how many chunks each document has that is listed."""
        listing = await self.ingestions[0].documents(Call.within(20.0), "", "")
        assert len({document.source for document in listing.documents}) == len(listing.documents)
        return {document.source: document.chunks for document in listing.documents}

    def rows(self) -> list[dict[str, Any]]:
        """Return all that is stored, found or not."""
        client = MilvusClient(uri=self.uri)
        try:
            return cast("list[dict[str, Any]]", client.query(self.collection, "chunk_index >= 0", ["source", "text"]))
        finally:
            client.close()


@asynccontextmanager
async def site_of(uri: str) -> AsyncGenerator[Site]:
    collection = f"test_{uuid4().hex}"
    settings = MilvusSettings(collection=collection)
    stores = [MilvusDocuments(MilvusConnection(uri)) for _ in range(2)]
    first, second = (Ingestion(HashedEmbeddings(), store, settings) for store in stores)
    passages = MilvusPassages(MilvusConnection(uri))
    yield Site(uri, collection, (first, second), passages)
    for store in stores:
        await store.close()
    await passages.close()


@pytest.fixture
async def site(milvus_uri: str) -> AsyncGenerator[Site]:
    async with site_of(milvus_uri) as made:
        # So that all find the collection there.
        await made.ingest(0, "first.txt", "The first document.")
        yield made


def source_of(number: int) -> str:
    return f"{number}.txt"


def paragraphs(number: int, client: int) -> list[str]:
    return [f"Document {number} of client {client}, paragraph {at}. " + "word " * 70 for at in range(_PARAGRAPHS)]


def text_of(number: int, client: int) -> str:
    return "\n\n".join(paragraphs(number, client))


def chunks_of(number: int, client: int) -> set[str]:
    return {paragraph.strip() for paragraph in paragraphs(number, client)}


async def test_of_clients_that_ingest_one_source_at_once_one_wins_whole_and_all_are_told_the_truth(site: Site) -> None:
    made = [(number, client) for number in range(_DOCUMENTS) for client in range(_CLIENTS)]
    replies = dict(
        zip(
            made,
            await asyncio.gather(
                *(site.ingest(client, source_of(number), text_of(number, client)) for number, client in made),
                return_exceptions=True,
            ),
            strict=True,
        )
    )
    found = await site.found(_DOCUMENTS + 1)
    for number in range(_DOCUMENTS):
        stored = {client for client in range(_CLIENTS) if isinstance(replies[number, client], IngestReport)}
        refused = {client for client in range(_CLIENTS) if isinstance(replies[number, client], RequestEndedError)}
        (winner,) = [client for client in range(_CLIENTS) if found[source_of(number)] == chunks_of(number, client)]
        assert winner in stored
        assert stored | refused == set(range(_CLIENTS)), replies
    assert await site.listed() == {"first.txt": 1, **{source_of(number): _PARAGRAPHS for number in range(_DOCUMENTS)}}
    assert len(site.rows()) == 1 + _DOCUMENTS * _PARAGRAPHS, "nothing of those that lost is left"


async def test_clients_that_ingest_the_same_text_at_once_are_all_told_that_it_is_in(site: Site) -> None:
    numbers = range(_DOCUMENTS)
    replies = await asyncio.gather(
        *(
            site.ingest(client, source_of(number), text_of(number, 0), digest=f"digest {number}")
            for number in numbers
            for client in range(_CLIENTS)
        )
    )
    assert {reply.chunks for reply in replies} == {_PARAGRAPHS}
    found = await site.found(_DOCUMENTS + 1)
    assert all(found[source_of(number)] == chunks_of(number, 0) for number in numbers)
    assert len(site.rows()) == 1 + _DOCUMENTS * _PARAGRAPHS


async def test_a_document_that_is_deleted_while_it_is_ingested_is_there_whole_or_not_at_all(site: Site) -> None:
    for number in range(_DOCUMENTS):
        await site.ingest(0, source_of(number), text_of(number, 0))

    async def delete(number: int) -> int:
        return await site.ingestions[1].delete(Call.within(60.0), "", source_of(number))

    numbers = range(_DOCUMENTS)
    replies = await asyncio.gather(
        *(site.ingest(0, source_of(number), text_of(number, 1)) for number in numbers),
        *(delete(number) for number in numbers),
        return_exceptions=True,
    )
    found, listed = await site.found(_DOCUMENTS + 1), await site.listed()
    for number in numbers:
        ingested, deleted = replies[number], replies[_DOCUMENTS + number]
        assert isinstance(ingested, IngestReport), ingested
        assert not isinstance(deleted, BaseException), deleted
        there = found.get(source_of(number), set())
        assert there in (set(), chunks_of(number, 1)), "of the text before nothing is left"
        assert listed.get(source_of(number), 0) == len(there)


async def test_readers_never_find_two_versions_of_a_document(site: Site) -> None:
    await site.ingest(0, "a.txt", text_of(0, 0))
    generations = {frozenset(chunks_of(0, client)) for client in range(12)}
    done = asyncio.Event()

    async def write() -> None:
        for client in range(1, 12):
            await site.ingest(client, "a.txt", text_of(0, client))
        done.set()

    async def read() -> int:
        seen = 0
        while not done.is_set():
            there = (await site.found(2))["a.txt"]
            assert frozenset(there) in generations
            seen += 1
        return seen

    _, *reads = await asyncio.gather(write(), read(), read())
    assert all(reads)


async def test_what_was_begun_before_a_deletion_does_not_come_back(site: Site) -> None:
    begun = await site.ingestions[0].ingest(Call.within(20.0), Document("a.txt", text_of(0, 0), more_follows=True))
    assert await site.ingestions[1].delete(Call.within(20.0), "", "a.txt") == _PARAGRAPHS
    with pytest.raises(NotFoundError):
        await site.ingestions[0].ingest(Call.within(20.0), Document("a.txt", text_of(1, 0), position=begun.next))
    assert "a.txt" not in await site.found(2)
    assert "a.txt" not in await site.listed()
    with pytest.raises(NotFoundError):
        await site.ingestions[1].delete(Call.within(20.0), "", "a.txt")
    await site.ingest(0, "a.txt", text_of(0, 1))
    assert (await site.found(2))["a.txt"] == chunks_of(0, 1)
