"""Passages and documents in a real Milvus: collections of Hearth's own, and of others."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from unicodedata import normalize
from uuid import uuid4

import numpy as np
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from deployments.call import Call
from deployments.errors import (
    BackEnd,
    DeadlineExceededError,
    InvalidRequestError,
    Limit,
    NotFoundError,
    UnavailableError,
)
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.documents import MilvusDocuments
from deployments.milvus.passages import MilvusPassages
from deployments.values.documents import Chunk, DocumentVersion, Placement, StoredDocument
from deployments.values.embedded_chunks import EmbeddedChunks
from deployments.values.retrieval import Citation, Passage
from deployments.values.versions import new_version
from tests.refusals import refused
from tests.servers import free_port, milvus_server

DIMENSIONS = 4
AXES = np.eye(DIMENSIONS, dtype=np.float32)


@dataclass(frozen=True)
class Store:
    """Both sides of one server.

    Attributes:
        passages: Searches by meaning alone, so that what is expected can be read off the vectors.
        documents: Writes.
    """

    passages: MilvusPassages
    documents: MilvusDocuments

    @classmethod
    def at(cls, uri: str) -> "Store":
        return cls(MilvusPassages(MilvusConnection(uri)), MilvusDocuments(MilvusConnection(uri)))

    async def close(self) -> None:
        await self.passages.close()
        await self.documents.close()

    async def search(self, collection: str, vector: Any, limit: int, call: Call | None = None) -> list[Passage]:
        return await self.passages.search(call or within(), collection, "words", vector, limit)

    async def found(self, collection: str) -> list[str]:
        """Return the texts of all passages that are found, sorted."""
        return sorted(passage.text for passage in await self.search(collection, AXES[0], 100))


def within(seconds: float = 20.0) -> Call:
    return Call.within(seconds, "test")


@pytest.fixture
async def store(milvus_uri: str) -> AsyncGenerator[Store]:
    made = Store.at(milvus_uri)
    yield made
    await made.close()


@pytest.fixture
def collection() -> str:
    return f"test_{uuid4().hex}"


def version_of(source: str, texts: Sequence[str]) -> DocumentVersion:
    """Return a version that begins now."""
    content = hashlib.sha256(f"{source} {texts}".encode()).hexdigest()
    return DocumentVersion(source, new_version(content), f"digest of {texts[0][:20]}")


def batch(texts: Sequence[str], first_index: int = 0) -> EmbeddedChunks:
    """Return texts as chunks, each nearest to the axis of its index."""
    chunks = [Chunk(text, ("Title", text.upper())) for text in texts]
    axes = [index % DIMENSIONS for index in range(first_index, first_index + len(texts))]
    return EmbeddedChunks(first_index, chunks, AXES[axes])


async def write(store: Store, collection: str, source: str, texts: list[str]) -> int:
    """Write a document at once; return how many chunks of the version before are gone."""
    await store.documents.ensure_collection(within(), collection, DIMENSIONS)
    document = version_of(source, texts)
    return (await store.documents.finish(within(), collection, document, batch(texts))).removed


async def begin(store: Store, collection: str, source: str, texts: list[str]) -> DocumentVersion:
    """Write a document's chunks, of which more are to come."""
    await store.documents.ensure_collection(within(), collection, DIMENSIONS)
    document = version_of(source, texts)
    await store.documents.write(within(), collection, document, batch(texts))
    return document


async def test_what_is_written_is_found_by_its_vector(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["one", "two", "three"])
    found = await store.search(collection, AXES[1], 2)
    assert found[0].text == "two"
    assert found[0].source == "a.md"
    assert found[0].headings == "Title > TWO"
    assert found[0].score == pytest.approx(1.0, abs=1e-4)
    assert len(found) == 2
    assert found[0].score > found[1].score


async def test_writing_again_replaces_the_version_before(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["one", "two", "three"])
    await write(store, collection, "b.md", ["other"])
    assert await write(store, collection, "a.md", ["new"]) == 3
    assert await store.found(collection) == ["new", "other"]


@pytest.mark.parametrize("before", ["NFC", "NFD"])
async def test_a_name_is_the_same_in_any_unicode_form(
    store: Store, collection: str, before: Literal["NFC", "NFD"]
) -> None:
    """Also where it was stored as it came, before names were kept in one form."""
    composed, apart = (normalize(form, "höhe.md") for form in ("NFC", "NFD"))
    await write(store, collection, normalize(before, "höhe.md"), ["one"])
    assert await write(store, collection, composed, ["two"]) == 1
    assert await store.found(collection) == ["two"]
    assert await store.documents.delete(within(), collection, apart) == 1
    await write(store, collection, normalize(before, "höhe.md"), ["three"])
    assert await store.documents.delete(within(), collection, composed) == 1


async def test_a_part_that_is_sent_twice_is_there_once(store: Store, collection: str) -> None:
    document = await begin(store, collection, "a.md", ["one", "two"])
    for _ in range(2):
        await store.documents.write(within(), collection, document, batch(["three"], 2))
    for _ in range(2):
        placed = await store.documents.finish(within(), collection, document, batch(["four"], 3))
        assert placed == Placement(document.version)
    assert await store.found(collection) == ["four", "one", "three", "two"]


async def test_a_document_is_found_when_its_last_chunk_is_in_and_not_before(store: Store, collection: str) -> None:
    await write(store, collection, "b.md", ["other"])
    document = await begin(store, collection, "a.md", ["one", "two"])
    assert await store.found(collection) == ["other"]
    await store.documents.finish(within(), collection, document, batch(["three"], 2))
    assert await store.found(collection) == ["one", "other", "three", "two"]


async def test_the_version_before_answers_until_the_next_is_whole(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["old one", "old two"])
    document = await begin(store, collection, "a.md", ["new one", "new two", "new three"])
    assert await store.found(collection) == ["old one", "old two"]
    assert await store.documents.finish(within(), collection, document, batch([], 3)) == Placement(document.version, 2)
    assert await store.found(collection) == ["new one", "new three", "new two"]


async def test_what_was_broken_off_goes_with_the_next_version(store: Store, collection: str) -> None:
    await begin(store, collection, "a.md", [f"lost {number}" for number in range(50)])
    assert await write(store, collection, "a.md", ["whole"]) == 50
    assert await store.found(collection) == ["whole"]


async def test_what_was_broken_off_is_searched_past(store: Store, collection: str) -> None:
    """However many chunks of it are nearer to the question than anything whole."""
    await write(store, collection, "b.md", ["far", "farther"])
    await begin(store, collection, "a.md", [f"near {number}" for number in range(200)])
    found = await store.search(collection, AXES[0], 3)
    assert sorted(passage.text for passage in found) == ["far", "farther"]


async def test_what_began_earlier_does_not_replace_what_began_later(store: Store, collection: str) -> None:
    early = await begin(store, collection, "a.md", ["early one", "early two"])
    late = version_of("a.md", ["late"])
    await store.documents.finish(within(), collection, late, batch(["late"]))
    placed = await store.documents.finish(within(), collection, early, batch(["early three"], 2))
    assert placed == Placement(late.version)
    assert await store.found(collection) == ["late"]
    assert await store.documents.delete(within(), collection, "a.md") == 1, "nothing of the other is left"


async def test_a_version_is_newer_than_those_that_clocks_ahead_have_named(store: Store, collection: str) -> None:
    tomorrow = f"t{time.time_ns() + 86_400 * 10**9:016x}{'0' * 15}"
    await store.documents.ensure_collection(within(), collection, DIMENSIONS)
    ahead = DocumentVersion("a.md", tomorrow)
    await store.documents.finish(within(), collection, ahead, batch(["ahead"]))
    newest = await store.documents.newest(within(), collection, "a.md")
    assert newest == tomorrow
    document = DocumentVersion("a.md", new_version("f" * 32, newest))
    await store.documents.finish(within(), collection, document, batch(["next"]))
    assert await store.found(collection) == ["next"]


async def test_a_version_as_it_was_named_before_is_replaced(store: Store, collection: str) -> None:
    await store.documents.ensure_collection(within(), collection, DIMENSIONS)
    before = DocumentVersion("a.md", "f" * 32)
    await store.documents.finish(within(), collection, before, batch(["old one", "old two"]))
    assert await store.found(collection) == ["old one", "old two"]
    assert await write(store, collection, "a.md", ["new"]) == 2
    assert await store.found(collection) == ["new"]


async def test_of_two_whole_versions_only_the_newer_is_there(milvus_uri: str, store: Store, collection: str) -> None:
    """As where a process was killed before it deleted the older one."""
    await write(store, collection, "b.md", ["other"])
    old, new = version_of("a.md", ["old"]), version_of("a.md", ["new"])
    await store.documents.finish(within(), collection, new, batch(["new one", "new two"]))
    await store.documents.write(within(), collection, old, batch(["old"]))
    client = MilvusClient(uri=milvus_uri)
    (row,) = cast("list[dict[str, Any]]", client.query(collection, f'version == "{old.version}"', ["*"]))
    client.upsert(collection, {**{name: value for name, value in row.items() if name != "keywords"}, "chunks": 1})
    client.close()
    assert await store.found(collection) == ["new one", "new two", "other"]
    listed = await store.documents.documents(within(), collection, "", 10)
    assert sorted((one.source, one.chunks) for one in listed) == [("a.md", 2), ("b.md", 1)]
    assert await write(store, collection, "a.md", ["newest"]) == 3


async def test_a_document_whose_first_part_is_gone_is_not_finished(store: Store, collection: str) -> None:
    await write(store, collection, "b.md", ["other"])
    lost = version_of("a.md", ["lost"])
    with refused(NotFoundError, field="position"):
        await store.documents.finish(within(), collection, lost, batch(["last"], 7))
    assert await store.found(collection) == ["other"]


async def test_the_documents_that_are_whole_are_listed(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["one", "two"])
    await write(store, collection, "b.md", ["other"])
    await begin(store, collection, "c.md", ["half"])
    documents = await store.documents.documents(within(), collection, "", 10)
    assert set(documents) == {
        StoredDocument("a.md", 2, "digest of one"),
        StoredDocument("b.md", 1, "digest of other"),
    }
    key = hashlib.sha256(b"b.md").hexdigest()[:3]
    assert await store.documents.documents(within(), collection, key, 10) == [
        StoredDocument("b.md", 1, "digest of other")
    ]
    assert len(await store.documents.documents(within(), collection, "", 1)) == 1


async def test_a_document_is_removed_whole_or_half(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["one", "two"])
    await write(store, collection, "b.md", ["other"])
    await begin(store, collection, "c.md", ["half"])
    assert await store.documents.delete(within(), collection, "a.md") == 2
    assert await store.documents.delete(within(), collection, "c.md") == 1
    assert await store.documents.delete(within(), collection, "none.md") == 0
    assert await store.found(collection) == ["other"]


async def test_a_passage_knows_its_page(store: Store, collection: str) -> None:
    await store.documents.ensure_collection(within(), collection, DIMENSIONS)
    chunks = [Chunk("one", ("Pump", "Oil"), 12), Chunk("two", ("Pump",), 13), Chunk("three", ("Pump", "Filter"))]
    document = version_of("pump.pdf", ["one", "two", "three"])
    await store.documents.write(within(), collection, document, EmbeddedChunks(0, chunks[:1], AXES[:1]))
    await store.documents.finish(within(), collection, document, EmbeddedChunks(1, chunks[1:], AXES[1:3]))
    found = {passage.text: passage for passage in await store.search(collection, AXES[0], 3)}
    assert [found[text].page for text in ("one", "two", "three")] == [12, 13, 0]
    assert found["one"].citation == Citation("pump.pdf", "Oil", 12)


async def test_a_collection_of_before_has_no_pages_and_keeps_them_with_the_headings(
    milvus_uri: str, store: Store, collection: str
) -> None:
    make_collection_of_before(milvus_uri, collection)
    chunks = [Chunk("one", ("Pump", "Oil"), 12), Chunk("two", ("Pump",), 13), Chunk("three", ("Pump", "Filter"))]
    document = version_of("pump.pdf", ["one", "two", "three"])
    await store.documents.ensure_collection(within(), collection, DIMENSIONS)
    await store.documents.finish(within(), collection, document, EmbeddedChunks(0, chunks, AXES[:3]))
    found = {passage.text: passage.citation.text for passage in await store.search(collection, AXES[0], 4)}
    assert found == {
        "old": "old.md (There)",
        "one": "pump.pdf (Oil, page 12)",
        "two": "pump.pdf (page 13)",
        "three": "pump.pdf (Filter)",
    }
    assert await write(store, collection, "old.md", ["new"]) == 1


async def test_words_find_what_the_vector_does_not(milvus_uri: str, store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["the pump", "the filter", "the error E-17", "the tank"])
    hybrid = MilvusPassages(MilvusConnection(milvus_uri), keyword_weight=0.6)
    (best, *_) = await hybrid.search(within(), collection, "What does E-17 mean?", AXES[0], 4)
    assert best.text == "the error E-17"
    (nearest, *_) = await hybrid.search(within(), collection, "zzz", AXES[1], 4)
    assert nearest.text == "the filter", "where no word is shared, meaning alone decides"
    await hybrid.close()


async def test_texts_in_any_script_and_with_quotes_come_back_as_they_were(store: Store, collection: str) -> None:
    text = "Ünïcode 火事 \"double\" 'single' \\ back\n{curly} % _"
    source = 'we"ird/päth\\x.md'
    await write(store, collection, source, [text])
    (found,) = await store.search(collection, AXES[0], 1)
    assert (found.text, found.source) == (text, source)
    await write(store, collection, source, ["replaced"])
    assert len(await store.search(collection, AXES[0], 5)) == 1


async def test_long_passages_are_bounded(milvus_uri: str, store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["x" * 100_000])
    short = MilvusPassages(MilvusConnection(milvus_uri), passage_characters=50)
    (found,) = await short.search(within(), collection, "words", AXES[0], 1)
    assert found.text == "x" * 50
    await short.close()


async def test_a_collection_that_is_not_there_is_named(store: Store) -> None:
    with refused(NotFoundError, field="collection"):
        await store.search("nowhere_at_all", AXES[0], 1)


@pytest.mark.parametrize("name", ["has space", "1digit", "a-b", "x" * 300, "a;drop", "../x", "ä"])
async def test_a_name_that_cannot_be_one_is_refused(store: Store, name: str) -> None:
    with refused(InvalidRequestError, field="collection"):
        await store.search(name, AXES[0], 1)


async def test_vectors_of_another_model_are_refused_both_ways(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["one"])
    with refused(InvalidRequestError, field="collection", limit=Limit("dimensions", 4, 3)):
        await store.search(collection, np.ones(3, np.float32), 1)
    with refused(InvalidRequestError, field="collection", limit=Limit("dimensions", 4, 3)):
        await store.documents.ensure_collection(within(), collection, 3)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = Store.at(f"http://127.0.0.1:{free_port()}")
    with refused(UnavailableError, retryable=True, back_end=BackEnd("Milvus")) as raised:
        await store.search("knowledge_base", AXES[0], 1)
    assert "127.0.0.1" not in raised.value.message
    with refused(UnavailableError, back_end=BackEnd("Milvus")):
        await store.passages.check(within())
    await store.close()


async def test_a_search_without_time_does_not_hang(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["one"])
    with pytest.raises((DeadlineExceededError, UnavailableError)):
        await store.search(collection, AXES[0], 1, within(0.001))


async def test_the_collections_there_are_are_told(store: Store, collection: str) -> None:
    await write(store, collection, "a.md", ["one"])
    assert collection in await store.passages.check(within())


async def test_a_server_that_was_away_is_searched_again(tmp_path: Path, collection: str) -> None:
    port = free_port()
    store = Store.at(f"http://127.0.0.1:{port}")
    with milvus_server(tmp_path / "milvus", port):
        await write(store, collection, "a.md", ["one"])
    with pytest.raises(UnavailableError):
        await store.search(collection, AXES[0], 1)
    with milvus_server(tmp_path / "milvus", port):
        # Its collections are not loaded after a restart.
        (found,) = await search_until_there(store, collection)
        assert found.text == "one"
    await store.close()


async def test_a_collection_that_is_not_loaded_is_written_too(tmp_path: Path, collection: str) -> None:
    for text in ("one", "two"):
        with milvus_server(tmp_path / "milvus") as uri:
            store = Store.at(uri)
            await write(store, collection, "a.md", [text])
            (found,) = await store.search(collection, AXES[0], 10)
            assert found.text == text
            await store.close()


async def search_until_there(store: Store, collection: str) -> list[Passage]:
    for _ in range(100):
        try:
            return await store.search(collection, AXES[0], 1)
        except UnavailableError:
            await asyncio.sleep(0.1)
    raise AssertionError("Milvus is not found again")


def make_collection_of_before(uri: str, name: str) -> None:
    """Make a collection as Hearth made it when it did not keep pages, with a document in it."""
    client = MilvusClient(uri=uri)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    for field in ("document", "version", "digest", "source", "headings", "text"):
        schema.add_field(field, DataType.VARCHAR, max_length=4096)
    for field in ("chunk_index", "chunks"):
        schema.add_field(field, DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSIONS)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 128})
    client.create_collection(name, schema=schema, index_params=index)
    document, version = (hashlib.sha256(text).hexdigest()[:32] for text in (b"old.md", b"its content"))
    row = {"id": f"{version}-000000", "document": document, "version": version, "source": "old.md", "digest": "d"}
    place = {"chunk_index": 0, "chunks": 1, "headings": "Title > There", "text": "old"}
    client.insert(name, {**row, **place, "vector": AXES[3].tolist()})
    client.close()


OTHERS: dict[str, dict[str, Any]] = {
    "field names of LangChain, inner product": {
        "fields": [("pk", "key"), ("vector", "dense"), ("text", 2000), ("source", 500)],
        "metric": "IP",
        "rows": {"text": "hello", "source": "s.pdf"},
        "expected": ("hello", "s.pdf"),
    },
    "other names, distance": {
        "fields": [("id", "key"), ("embedding", "dense"), ("content", 2000), ("file_name", 500)],
        "metric": "L2",
        "rows": {"content": "hello", "file_name": "f.txt"},
        "expected": ("hello", "f.txt"),
    },
    "the longest string is the text": {
        "fields": [("id", "key"), ("emb", "dense"), ("lang", 8), ("absatz", 4000)],
        "metric": "COSINE",
        "rows": {"lang": "de", "absatz": "hallo"},
        "expected": ("hallo", ""),
    },
    "the source is in the metadata": {
        "fields": [("id", "key"), ("embedding", "dense"), ("text", 2000), ("metadata", "json")],
        "metric": "COSINE",
        "rows": {"text": "hello", "metadata": {"page": 3, "source": "m.pdf"}},
        "expected": ("hello", "m.pdf"),
    },
    "the page is in the metadata": {
        "fields": [("id", "key"), ("embedding", "dense"), ("text", 2000), ("metadata", "json")],
        "metric": "COSINE",
        "rows": {"text": "hello", "metadata": {"page": 3, "page_label": "4", "source": "m.pdf"}},
        "expected": ("hello", "m.pdf (page 4)"),
    },
    "the page is a field": {
        "fields": [("id", "key"), ("embedding", "dense"), ("text", 2000), ("file_name", 500), ("page_label", 20)],
        "metric": "COSINE",
        "rows": {"text": "hello", "file_name": "m.pdf", "page_label": "iv"},
        "expected": ("hello", "m.pdf"),
    },
}


def make_collection(uri: str, name: str, fields: list[tuple[str, object]], metric: str, rows: list[Any]) -> None:
    client = MilvusClient(uri=uri)
    schema = client.create_schema(auto_id=False)
    for field, kind in fields:
        match kind:
            case "key":
                schema.add_field(field, DataType.INT64, is_primary=True)
            case "dense":
                schema.add_field(field, DataType.FLOAT_VECTOR, dim=DIMENSIONS)
            case "json":
                schema.add_field(field, DataType.JSON)
            case _:
                schema.add_field(field, DataType.VARCHAR, max_length=kind)
    index = client.prepare_index_params()
    vector = next((field for field, kind in fields if kind == "dense"), None)
    if vector:
        index.add_index(vector, index_type="FLAT", metric_type=metric)
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, rows)
    client.close()


@pytest.mark.parametrize("other", OTHERS, ids=lambda name: name)
async def test_a_collection_of_another_program_is_read_as_it_is(
    milvus_uri: str, store: Store, collection: str, other: str
) -> None:
    made = OTHERS[other]
    key, vector = made["fields"][0][0], made["fields"][1][0]
    rows = [{key: number, vector: AXES[number].tolist(), **made["rows"]} for number in range(DIMENSIONS)]
    make_collection(milvus_uri, collection, made["fields"], made["metric"], rows)
    found = await store.search(collection, AXES[2], 3)
    assert (found[0].text, found[0].citation.text) == made["expected"]
    scores = [passage.score for passage in found]
    assert scores == sorted(scores, reverse=True), "higher is better, whatever the metric"
    assert scores[0] > scores[1]


async def test_a_collection_of_another_program_is_not_written(milvus_uri: str, store: Store, collection: str) -> None:
    made = OTHERS["other names, distance"]
    rows = [{"id": 1, "embedding": AXES[0].tolist(), **made["rows"]}]
    make_collection(milvus_uri, collection, made["fields"], "L2", rows)
    with refused(InvalidRequestError, field="collection"):
        await store.documents.ensure_collection(within(), collection, DIMENSIONS)


async def test_a_collection_without_text_is_told(milvus_uri: str, store: Store, collection: str) -> None:
    make_collection(
        milvus_uri, collection, [("id", "key"), ("v", "dense")], "COSINE", [{"id": 1, "v": AXES[0].tolist()}]
    )
    with refused(InvalidRequestError, field="collection"):
        await store.search(collection, AXES[0], 1)


async def test_words_are_searched_in_a_collection_of_another_program_that_has_them(
    milvus_uri: str, collection: str
) -> None:
    client = MilvusClient(uri=milvus_uri)
    schema = client.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("content", DataType.VARCHAR, max_length=500, enable_analyzer=True)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=DIMENSIONS)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("words", FunctionType.BM25, ["content"], ["sparse"]))
    index = client.prepare_index_params()
    index.add_index("dense", index_type="FLAT", metric_type="COSINE")
    index.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(collection, schema=schema, index_params=index)
    rows = [{"pk": n, "content": text, "dense": AXES[n].tolist()} for n, text in enumerate(["pump", "valve V-9"])]
    client.insert(collection, rows)
    client.close()
    hybrid = MilvusPassages(MilvusConnection(milvus_uri), keyword_weight=0.9)
    (best, *_) = await hybrid.search(within(), collection, "Where is V-9?", AXES[0], 4)
    assert best.text == "valve V-9"
    await hybrid.close()
