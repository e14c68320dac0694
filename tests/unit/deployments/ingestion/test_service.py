import hashlib
from collections.abc import Callable

import pytest

from deployments.call import Call
from deployments.errors import InvalidRequestError, Limit, NotFoundError, RequestEndedError, UnavailableError
from deployments.ingestion.service import Ingestion
from deployments.settings.orchestration import MilvusSettings
from deployments.values.documents import (
    Chunk,
    Document,
    DocumentPosition,
    DocumentVersion,
    Placement,
    StoredDocument,
    TextFormat,
)
from deployments.values.embedded_chunks import EmbeddedChunks
from tests.refusals import refused
from tests.unit.services import LengthEmbeddings


class Store:
    """Keeps chunks by document, version and index; those of versions that are whole are found."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[str, str, int], Chunk] = {}
        self.whole: dict[str, DocumentVersion] = {}

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None:
        del call
        assert (collection, dimensions) == ("knowledge_base", 2)

    async def newest(self, call: Call, collection: str, source: str) -> str:
        del call, collection
        return max((version for document, version, _ in self.chunks if document == source), default="")

    async def write(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> None:
        del call, collection
        assert len(batch.chunks) == len(batch.vectors)
        for index, chunk in enumerate(batch.chunks, batch.first_index):
            self.chunks[(document.source, document.version, index)] = chunk

    async def finish(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> Placement:
        await self.write(call, collection, document, batch)
        current = self.whole.get(document.source, document)
        if current.version > document.version:
            return Placement(current.version)
        self.whole[document.source] = document
        removed = self._remove(lambda key: key[0] == document.source and key[1] != document.version)
        return Placement(document.version, removed)

    async def delete(self, call: Call, collection: str, source: str) -> int:
        del call, collection
        self.whole.pop(source, None)
        return self._remove(lambda key: key[0] == source)

    async def documents(self, call: Call, collection: str, prefix: str, limit: int) -> list[StoredDocument]:
        del call, collection
        found = [
            StoredDocument(source, len([key for key in self.chunks if key[0] == source]), version.digest)
            for source, version in self.whole.items()
            if hashlib.sha256(source.encode()).hexdigest().startswith(prefix)
        ]
        return found[:limit]

    def texts(self, source: str) -> list[Chunk]:
        """Return the chunks of a document that are found, in order."""
        version = self.whole[source].version
        return [chunk for key, chunk in sorted(self.chunks.items()) if key[:2] == (source, version)]

    def _remove(self, goes: Callable[[tuple[str, str, int]], bool]) -> int:
        gone = [key for key in self.chunks if goes(key)]
        for key in gone:
            del self.chunks[key]
        return len(gone)


def ingestion(store: Store, embeddings: LengthEmbeddings | None = None) -> Ingestion:
    return Ingestion(embeddings or LengthEmbeddings(), store, MilvusSettings())


def text(paragraphs: int) -> str:
    return "\n\n".join(f"Paragraph {number}. " + "word " * 80 for number in range(paragraphs))


async def test_what_is_embedded_carries_its_heading_path() -> None:
    store, embeddings = Store(), LengthEmbeddings()
    document = Document("guide.md", "# Guide\n\n## Install\n\nRun it.", format=TextFormat.MARKDOWN)
    report = await ingestion(store, embeddings).ingest(Call.within(5.0), document)
    assert embeddings.embedded == ["Guide > Install\nRun it."]
    assert (report.chunks, report.removed, report.next.chunk_index) == (1, 0, 1)
    assert report.next.headings == ("", "Guide", "Install")


@pytest.mark.parametrize(
    ("document", "title"),
    [
        (Document("notes/shopping.txt", "Milk."), "shopping"),
        (Document("notes/shopping.txt", "Milk.", title="To buy"), "To buy"),
        (Document("a.md", "# Food\n\nMilk.", format=TextFormat.MARKDOWN), "Food"),
        (Document("a.md", f"# {'x' * 501}\n\nMilk.", format=TextFormat.MARKDOWN), "a"),
        (Document("a.txt", "Milk.", title="x" * 5000), "x" * 1000),
        (Document("x" * 5000, "Milk."), "x" * 1000),
    ],
)
async def test_a_document_is_known_by_its_title_its_heading_or_its_file_name(document: Document, title: str) -> None:
    store = Store()
    await ingestion(store).ingest(Call.within(5.0), document)
    assert next(iter(store.chunks.values())).headings == (title,)


async def test_ingesting_again_replaces_the_version_before() -> None:
    store = Store()
    await ingestion(store).ingest(Call.within(5.0), Document("a.txt", text(9)))
    report = await ingestion(store).ingest(Call.within(5.0), Document("a.txt", text(2)))
    assert report.removed == 9
    assert len(store.chunks) == 2


async def test_what_began_earlier_and_ends_later_is_told_that_it_is_not_in() -> None:
    store = Store()
    begun = await ingestion(store).ingest(Call.within(5.0), Document("a.txt", text(2), more_follows=True))
    await ingestion(store).ingest(Call.within(5.0), Document("a.txt", text(3)))
    with refused(RequestEndedError) as raised:
        await ingestion(store).ingest(Call.within(5.0), Document("a.txt", "The end.", position=begun.next))
    assert raised.value.message == "another ingestion of 'a.txt' began later and is in: this one is not"
    assert len(store.texts("a.txt")) == 3


async def test_what_was_overtaken_by_the_same_content_is_told_that_it_is_in() -> None:
    store = Store()
    parts = [
        await ingestion(store).ingest(
            Call.within(5.0), Document("a.txt", text(2), more_follows=True, digest="the same")
        )
        for _ in range(2)
    ]
    for begun in reversed(parts):
        last = Document("a.txt", "The end.", position=begun.next, digest="the same")
        report = await ingestion(store).ingest(Call.within(5.0), last)
        assert report.chunks == 1
        assert store.whole["a.txt"].version == parts[1].next.version
    assert len(store.texts("a.txt")) == 3


async def test_a_document_is_not_found_before_its_last_part_is_in() -> None:
    store = Store()
    document = Document("a.txt", text(80), more_follows=True)
    report = await ingestion(store).ingest(Call.within(5.0), document)
    assert report.chunks == len(store.chunks) > 64
    assert not store.whole
    last = await ingestion(store).ingest(Call.within(5.0), Document("a.txt", "", position=report.next))
    assert last.chunks == 0
    assert len(store.texts("a.txt")) == report.chunks


async def test_a_further_part_of_a_document_has_no_front_matter() -> None:
    store = Store()
    record = "---\nid: R-{}\n---\n\nThe record.\n"
    first = Document("a.md", record.format(1), format=TextFormat.MARKDOWN, more_follows=True)
    report = await ingestion(store).ingest(Call.within(5.0), first)
    last = Document("a.md", record.format(2), format=TextFormat.MARKDOWN, position=report.next)
    await ingestion(store).ingest(Call.within(5.0), last)
    stored = " ".join(" ".join((*chunk.headings, chunk.text)) for chunk in store.texts("a.md"))
    assert "R-2" in stored
    assert "R-1" not in stored


async def test_the_documents_are_listed_by_part_of_their_keys_where_they_are_many() -> None:
    store = Store()
    service = ingestion(store)
    store.whole = {f"{number}.txt": DocumentVersion(f"{number}.txt", "v", "d") for number in range(3000)}
    assert (await service.documents(Call.within(5.0), "", "")).too_many
    parts = [await service.documents(Call.within(5.0), "", digit) for digit in "0123456789abcdef"]
    assert {document.source for part in parts for document in part.documents} == set(store.whole)


@pytest.mark.parametrize("prefix", ["g", "A", '0" or chunks > 0 or "', "0" * 33])
async def test_a_prefix_that_is_none_is_refused(prefix: str) -> None:
    with refused(InvalidRequestError, field="prefix"):
        await ingestion(Store()).documents(Call.within(5.0), "", prefix)


async def test_a_document_in_parts_is_the_same_as_in_one() -> None:
    whole, parts = Store(), Store()
    await ingestion(whole).ingest(Call.within(5.0), Document("a.txt", text(6)))
    first = await ingestion(parts).ingest(
        Call.within(5.0), Document("a.txt", "\n\n".join(text(6).split("\n\n")[:3]), more_follows=True)
    )
    rest = "\n\n".join(text(6).split("\n\n")[3:])
    await ingestion(parts).ingest(Call.within(5.0), Document("a.txt", rest, position=first.next))
    assert parts.texts("a.txt") == whole.texts("a.txt")


@pytest.mark.parametrize(
    ("document", "field", "limit"),
    [
        (Document("", "text"), "source", None),
        (Document("  ", "text"), "source", None),
        (Document("a.txt", ""), "text", None),
        (Document("a.md", "![]()\n", format=TextFormat.MARKDOWN), "text", None),
        (Document("a.txt", "text", digest="ü" * 65), "digest", Limit("digest_bytes", 128, 130)),
        (Document("a.txt", "text", position=DocumentPosition(-1)), "position", None),
        (
            Document("a.txt", "text", position=DocumentPosition(1, (), 'x" or chunks > 0 or id == "')),
            "position",
            None,
        ),
        (
            Document("a.txt", "text", position=DocumentPosition(0, ("a",) * 65)),
            "position",
            Limit("headings", 64, 65),
        ),
        (
            Document("a.txt", "text", position=DocumentPosition(0, ("x" * 16_385,))),
            "position",
            Limit("headings_characters", 16_384, 16_385),
        ),
    ],
)
async def test_a_document_that_cannot_be_kept_is_refused(document: Document, field: str, limit: Limit | None) -> None:
    with refused(InvalidRequestError, field=field, limit=limit):
        await ingestion(Store()).ingest(Call.within(5.0), document)


async def test_a_failure_leaves_the_error_to_the_caller() -> None:
    with pytest.raises(UnavailableError):
        await ingestion(Store(), LengthEmbeddings(UnavailableError("gone"))).ingest(
            Call.within(5.0), Document("a.txt", "text")
        )


async def test_a_document_is_taken_out_and_no_other_is() -> None:
    store = Store()
    service = ingestion(store)
    for name in ("a.txt", "b.txt"):
        await service.ingest(Call.within(5.0), Document(name, text(6)))
    chunks = len([key for key in store.chunks if key[0] == "a.txt"])
    assert await service.delete(Call.within(5.0), "", "a.txt") == chunks > 1
    assert {key[0] for key in store.chunks} == {"b.txt"}


async def test_names_are_kept_in_one_unicode_form() -> None:
    store = Store()
    report = await ingestion(store).ingest(Call.within(5.0), Document("Ho\u0308he.txt", text(2)))
    assert report.chunks == 2
    assert set(store.whole) == {"H\u00f6he.txt"}


async def test_what_is_not_there_cannot_be_taken_out() -> None:
    with refused(NotFoundError, field="source"):
        await ingestion(Store()).delete(Call.within(5.0), "notes", "a.txt")
    with refused(InvalidRequestError, field="source"):
        await ingestion(Store()).delete(Call.within(5.0), "", " ")
