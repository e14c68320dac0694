"""Passages in a real Milvus: collections of Hearth's own, and of others."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from deployments.call import Call
from deployments.chunking import Chunk
from deployments.errors import DeadlineExceededError, InvalidRequestError, NotFoundError, UnavailableError
from deployments.values import Passage
from deployments.vector_store import VectorStore
from tests.servers import free_port, milvus_server

DIMENSIONS = 4
AXES = np.eye(DIMENSIONS, dtype=np.float32)


def within(seconds: float = 20.0) -> Call:
    return Call.within(seconds, "test")


@pytest.fixture
async def store(milvus_uri: str) -> AsyncGenerator[VectorStore]:
    made = VectorStore(milvus_uri)
    yield made
    await made.close()


@pytest.fixture
def collection() -> str:
    return f"test_{uuid4().hex}"


async def write(store: VectorStore, collection: str, source: str, texts: list[str], first_index: int = 0) -> None:
    chunks = [Chunk(text, ("Title", text.upper())) for text in texts]
    await store.ensure_collection(within(), collection, DIMENSIONS)
    await store.write(within(), collection, source, chunks, AXES[: len(texts)], first_index)
    await store.delete_from(within(), collection, source, first_index + len(texts))


async def test_what_is_written_is_found_by_its_vector(store: VectorStore, collection: str) -> None:
    await write(store, collection, "a.md", ["one", "two", "three"])
    found = await store.search(within(), collection, AXES[1], 2)
    assert found[0].text == "two"
    assert found[0].source == "a.md"
    assert found[0].headings == "Title > TWO"
    assert found[0].score == pytest.approx(1.0, abs=1e-4)
    assert len(found) == 2
    assert found[0].score > found[1].score


async def test_writing_again_replaces_and_what_was_longer_goes(store: VectorStore, collection: str) -> None:
    await write(store, collection, "a.md", ["one", "two", "three"])
    await write(store, collection, "b.md", ["other"])
    await write(store, collection, "a.md", ["new"])
    found = await store.search(within(), collection, AXES[0], 10)
    assert sorted(passage.text for passage in found) == ["new", "other"]


async def test_texts_in_any_script_and_with_quotes_come_back_as_they_were(store: VectorStore, collection: str) -> None:
    text = "Ünïcode 火事 \"double\" 'single' \\ back\n{curly} % _"
    source = 'we"ird/päth\\x.md'
    await write(store, collection, source, [text])
    (found,) = await store.search(within(), collection, AXES[0], 1)
    assert (found.text, found.source) == (text, source)
    await write(store, collection, source, ["replaced"])
    assert len(await store.search(within(), collection, AXES[0], 5)) == 1


async def test_long_passages_are_bounded(milvus_uri: str, store: VectorStore, collection: str) -> None:
    await write(store, collection, "a.md", ["x" * 100_000])
    short = VectorStore(milvus_uri, passage_characters=50)
    (found,) = await short.search(within(), collection, AXES[0], 1)
    assert found.text == "x" * 50
    await short.close()


async def test_a_collection_that_is_not_there_is_named(store: VectorStore) -> None:
    with pytest.raises(NotFoundError, match="collection 'nowhere_at_all' does not exist"):
        await store.search(within(), "nowhere_at_all", AXES[0], 1)


@pytest.mark.parametrize("name", ["has space", "1digit", "a-b", "x" * 300, "a;drop", "../x", "ä"])
async def test_a_name_that_cannot_be_one_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot name a collection"):
        await store.search(within(), name, AXES[0], 1)


async def test_vectors_of_another_model_are_refused_both_ways(store: VectorStore, collection: str) -> None:
    await write(store, collection, "a.md", ["one"])
    with pytest.raises(InvalidRequestError, match="holds vectors of 4 dimensions, the embeddings model gives 3"):
        await store.search(within(), collection, np.ones(3, np.float32), 1)
    with pytest.raises(InvalidRequestError, match="choose another collection"):
        await store.ensure_collection(within(), collection, 3)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    store = VectorStore(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await store.search(within(), "knowledge_base", AXES[0], 1)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await store.check(within())
    await store.close()


async def test_a_search_without_time_does_not_hang(store: VectorStore, collection: str) -> None:
    await write(store, collection, "a.md", ["one"])
    with pytest.raises((DeadlineExceededError, UnavailableError)):
        await store.search(within(0.001), collection, AXES[0], 1)


async def test_the_collections_there_are_are_told(store: VectorStore, collection: str) -> None:
    await write(store, collection, "a.md", ["one"])
    assert collection in await store.check(within())


async def test_a_server_that_was_away_is_searched_again(tmp_path: Path, collection: str) -> None:
    port = free_port()
    store = VectorStore(f"http://127.0.0.1:{port}")
    with milvus_server(tmp_path / "milvus", port):
        await write(store, collection, "a.md", ["one"])
    with pytest.raises(UnavailableError):
        await store.search(within(), collection, AXES[0], 1)
    with milvus_server(tmp_path / "milvus", port):
        # Its collections are not loaded after a restart.
        (found,) = await search_until_there(store, collection)
        assert found.text == "one"
    await store.close()


async def test_a_collection_that_is_not_loaded_is_written_too(tmp_path: Path, collection: str) -> None:
    for text in ("one", "two"):
        with milvus_server(tmp_path / "milvus") as uri:
            store = VectorStore(uri)
            await write(store, collection, "a.md", [text])
            (found,) = await store.search(within(), collection, AXES[0], 10)
            assert found.text == text
            await store.close()


async def search_until_there(store: VectorStore, collection: str) -> list[Passage]:
    for _ in range(100):
        try:
            return await store.search(within(), collection, AXES[0], 1)
        except UnavailableError:
            await asyncio.sleep(0.1)
    raise AssertionError("Milvus is not found again")


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
    milvus_uri: str, store: VectorStore, collection: str, other: str
) -> None:
    made = OTHERS[other]
    key, vector = made["fields"][0][0], made["fields"][1][0]
    rows = [{key: number, vector: AXES[number].tolist(), **made["rows"]} for number in range(DIMENSIONS)]
    make_collection(milvus_uri, collection, made["fields"], made["metric"], rows)
    found = await store.search(within(), collection, AXES[2], 3)
    assert (found[0].text, found[0].source) == made["expected"]
    scores = [passage.score for passage in found]
    assert scores == sorted(scores, reverse=True), "higher is better, whatever the metric"
    assert scores[0] > scores[1]


async def test_a_collection_of_another_program_is_not_written(
    milvus_uri: str, store: VectorStore, collection: str
) -> None:
    made = OTHERS["other names, distance"]
    rows = [{"id": 1, "embedding": AXES[0].tolist(), **made["rows"]}]
    make_collection(milvus_uri, collection, made["fields"], "L2", rows)
    with pytest.raises(InvalidRequestError, match="was made by another program and can only be searched"):
        await store.ensure_collection(within(), collection, DIMENSIONS)


async def test_a_collection_without_text_is_told(milvus_uri: str, store: VectorStore, collection: str) -> None:
    make_collection(
        milvus_uri, collection, [("id", "key"), ("v", "dense")], "COSINE", [{"id": 1, "v": AXES[0].tolist()}]
    )
    with pytest.raises(InvalidRequestError, match="has no text field to answer from"):
        await store.search(within(), collection, AXES[0], 1)
