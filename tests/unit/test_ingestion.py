from collections.abc import Sequence

import pytest

from deployments.call import Call
from deployments.chunking import Chunk
from deployments.errors import InvalidRequestError, NotFoundError, UnavailableError
from deployments.ingestion import Ingestion
from deployments.settings import MilvusSettings
from deployments.values import Document, TextFormat
from deployments.vectors import Vectors
from tests.unit.services import LengthEmbeddings


class Store:
    """Keeps chunks by document and index."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[str, str, int], Chunk] = {}

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None:
        del call
        assert (collection, dimensions) == ("knowledge_base", 2)

    async def write(
        self, call: Call, collection: str, source: str, chunks: Sequence[Chunk], vectors: Vectors, first_index: int
    ) -> None:
        del call
        assert len(chunks) == len(vectors)
        self.chunks.update({(collection, source, first_index + index): chunk for index, chunk in enumerate(chunks)})

    async def delete_from(self, call: Call, collection: str, source: str, index: int) -> int:
        del call
        gone = [key for key in self.chunks if key[:2] == (collection, source) and key[2] >= index]
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
    assert report.next.headings == ("Guide", "Install")


@pytest.mark.parametrize(
    ("document", "title"),
    [
        (Document("notes/shopping.txt", "Milk."), "shopping"),
        (Document("notes/shopping.txt", "Milk.", title="To buy"), "To buy"),
        (Document("a.md", "# Food\n\nMilk.", format=TextFormat.MARKDOWN), "Food"),
    ],
)
async def test_a_document_is_known_by_its_title_its_heading_or_its_file_name(document: Document, title: str) -> None:
    store = Store()
    await ingestion(store).ingest(Call.within(5.0), document)
    assert next(iter(store.chunks.values())).headings == (title,)


async def test_ingesting_again_replaces_and_what_was_longer_is_gone() -> None:
    store = Store()
    await ingestion(store).ingest(Call.within(5.0), Document("a.txt", text(9)))
    report = await ingestion(store).ingest(Call.within(5.0), Document("a.txt", text(2)))
    assert report.removed == 7
    assert len(store.chunks) == 2


async def test_a_document_in_parts_is_the_same_as_in_one() -> None:
    whole, parts = Store(), Store()
    await ingestion(whole).ingest(Call.within(5.0), Document("a.txt", text(6)))
    first = await ingestion(parts).ingest(
        Call.within(5.0), Document("a.txt", "\n\n".join(text(6).split("\n\n")[:3]), more_follows=True)
    )
    rest = "\n\n".join(text(6).split("\n\n")[3:])
    await ingestion(parts).ingest(Call.within(5.0), Document("a.txt", rest, position=first.next))
    assert parts.chunks == whole.chunks


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (Document("", "text"), "no source"),
        (Document("  ", "text"), "no source"),
        (Document("a.txt", ""), "the document holds no text"),
        (Document("a.md", "![]()\n", format=TextFormat.MARKDOWN), "the document holds no text"),
    ],
)
async def test_a_document_without_a_name_or_text_is_refused(document: Document, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        await ingestion(Store()).ingest(Call.within(5.0), document)


async def test_a_failure_leaves_the_error_to_the_caller() -> None:
    with pytest.raises(UnavailableError, match="gone"):
        await ingestion(Store(), LengthEmbeddings(UnavailableError("gone"))).ingest(
            Call.within(5.0), Document("a.txt", "text")
        )


async def test_a_document_is_taken_out_and_no_other_is() -> None:
    store = Store()
    service = ingestion(store)
    for name in ("a.txt", "b.txt"):
        await service.ingest(Call.within(5.0), Document(name, text(6)))
    chunks = len([key for key in store.chunks if key[1] == "a.txt"])
    assert await service.delete(Call.within(5.0), "", "a.txt") == chunks > 1
    assert {key[1] for key in store.chunks} == {"b.txt"}


async def test_what_is_not_there_cannot_be_taken_out() -> None:
    with pytest.raises(NotFoundError, match=r"no document 'a\.txt' in the collection 'notes'"):
        await ingestion(Store()).delete(Call.within(5.0), "notes", "a.txt")
    with pytest.raises(InvalidRequestError, match="no source"):
        await ingestion(Store()).delete(Call.within(5.0), "", " ")
