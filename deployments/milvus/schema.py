"""What collections are made of: read from those of others, made for Hearth's own."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pymilvus import DataType, Function, FunctionType, MilvusClient

from deployments.call import Call
from deployments.errors import InvalidRequestError

logger = logging.getLogger(__name__)

MAX_TEXT_BYTES = 65_535
MAX_NAME_BYTES = 4_096

_TEXT_NAMES = ("text", "content", "page_content", "chunk", "chunk_text", "passage", "body", "document")
SOURCE_NAMES = (
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
_METADATA_NAMES = ("metadata", "meta")
PAGE_NAMES = ("page_number", "page_no", "page_label")
"""What others call a page that is counted from 1. Of a field called "page", half of them count from 0."""
_PAGE = "page"
_VECTOR_TYPES = (DataType.FLOAT_VECTOR, DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR)
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")
# Words that occur in nearly every passage do not tell passages apart, and take most of the time of a search.
_STOP_WORDS = (
    "a an and are as at be been but by can could did do does for from had has have how i if in into is it its me my no "
    "not of on or our shall should so some than that the their them then there these they this to was we were what "
    "when where which while who whom whose why will with would you your"
).split()
_ANALYZED: dict[str, Any] = {
    "enable_analyzer": True,
    "analyzer_params": {
        "tokenizer": "standard",
        "filter": ["lowercase", {"type": "stop", "stop_words": _STOP_WORDS}],
    },
}
_OWN = {"id", "document", "version", "chunk_index", "chunks", "digest", "source", "headings", "text", "vector"}


@dataclass(frozen=True, slots=True)
class CollectionFields:
    """What a collection is made of, as read from it.

    Attributes:
        key: Its primary key.
        vector: Field that is searched by meaning.
        dimensions: Size of its vectors.
        metric: COSINE, IP or L2.
        keywords: Sparse field that Milvus fills by its BM25 function, which is searched by words; empty where there is
            none.
        text: Field that holds the passage.
        source: Field that holds where the passage is from; empty where there is none.
        headings: Field that holds where in the document it stands; empty where there is none.
        page: Field that holds the page that it begins on, from 1; empty where there is none. Of Hearth's own
            collections, those that were made before there was such a field have none.
        metadata: JSON field in which a source and a page may be found; empty where there is none.
        own: Whether it is laid out as `create_collection` does it, with versions of documents.
    """

    key: str
    vector: str
    dimensions: int
    metric: str
    keywords: str
    text: str
    source: str
    headings: str
    page: str
    metadata: str
    own: bool

    def output(self) -> list[str]:
        """Return the fields to ask for: named one by one, or Milvus Lite returns the vectors too."""
        own = ("document", "version") if self.own else ()
        return [name for name in (self.text, self.source, self.headings, self.page, self.metadata, *own) if name]


def document_key(source: str) -> str:
    """Return the stable key of a document, made from what names it: 32 hexadecimal digits."""
    return hashlib.sha256(source.encode()).hexdigest()[:32]


def current_versions(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the version of each document that is found, by the document's key: the newest of those that are whole.

    Args:
        rows: The first chunks of all versions of the documents that are whole, each with `document` and `version`.
    """
    found: dict[str, str] = {}
    for row in rows:
        document, version = str(row["document"]), str(row["version"])
        found[document] = max(found.get(document, ""), version)
    return found


def chunk_id(version: str, index: int) -> str:
    """Return the key of a chunk. No other document has a chunk with this key."""
    return f"{version}-{index:06d}"


def first_chunk_id(version: str) -> str:
    """Return the key of the chunk that tells whether its version is whole."""
    return chunk_id(version, 0)


def in_list(values: Iterable[str]) -> str:
    """Return values as a list in one of Milvus's filters."""
    return json.dumps(list(values), ensure_ascii=False)


def check_name(collection: str) -> None:
    """Raise `InvalidRequestError` where Milvus would not take this name of a collection."""
    if not _NAME.match(collection):
        raise InvalidRequestError(
            f"{collection[:64]!r} cannot name a collection: letters, digits and underscores, not a digit first",
            field="collection",
        )


def read_fields(
    collection: str, description: Mapping[str, Any], indexes: Sequence[Mapping[str, Any]]
) -> CollectionFields:
    """Read from Milvus's own description what a collection is made of.

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
        raise InvalidRequestError(f"collection {collection!r} has no dense vector field to search", field="collection")
    strings = {str(entry["name"]): entry for entry in entries if entry["type"] == DataType.VARCHAR}
    lengths = {
        name: int(entry["params"].get("max_length", 0))
        for name, entry in strings.items()
        if not entry.get("is_primary")
    }
    dynamic = bool(description.get("enable_dynamic_field"))
    text = _first_of(_TEXT_NAMES, strings) or max(lengths, key=lambda name: lengths[name], default="")
    if not text and not dynamic:
        raise InvalidRequestError(f"collection {collection!r} has no text field to answer from", field="collection")
    json_fields = [str(entry["name"]) for entry in entries if entry["type"] == DataType.JSON]
    vector = vectors[0]
    names = {str(entry["name"]) for entry in entries}
    own = names >= _OWN
    return CollectionFields(
        key=next((str(entry["name"]) for entry in entries if entry.get("is_primary")), "id"),
        vector=str(vector["name"]),
        dimensions=int(vector["params"]["dim"]),
        metric=metrics.get(str(vector["name"])) or "COSINE",
        keywords=_keywords(description, metrics),
        text=text or "text",
        source=_first_of(SOURCE_NAMES, strings) or ("source" if dynamic else ""),
        headings=_first_of(_HEADINGS_NAMES, strings),
        page=_first_of((_PAGE,) if own else PAGE_NAMES, sorted(names)),
        metadata=_first_of(_METADATA_NAMES, json_fields),
        own=own,
    )


def create_collection(call: Call, client: MilvusClient, collection: str, dimensions: int) -> None:
    """Make a collection of Hearth's own, searched by meaning and, where the server knows BM25, by words.

    A chunk is a row. The first chunk of a version of a document says in `chunks` how many there are, from when all are
    written; until then it says 0. Only the chunks of the newest version that is whole are given as passages.
    """
    _create(call, client, collection, dimensions, keywords=True)
    description = cast("dict[str, Any]", client.describe_collection(collection, timeout=call.remaining()))
    if description.get("functions"):
        return
    # Milvus before 2.5 drops the function without a word, and would then want the field filled by hand.
    logger.info("the Milvus server knows no BM25: collection %r is searched by meaning alone", collection)
    client.drop_collection(collection, timeout=call.remaining())
    _create(call, client, collection, dimensions, keywords=False)


def _create(call: Call, client: MilvusClient, collection: str, dimensions: int, *, keywords: bool) -> None:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("document", DataType.VARCHAR, max_length=64)
    schema.add_field("version", DataType.VARCHAR, max_length=64)
    schema.add_field("chunk_index", DataType.INT64)
    schema.add_field("chunks", DataType.INT64)
    schema.add_field("digest", DataType.VARCHAR, max_length=128)
    schema.add_field("source", DataType.VARCHAR, max_length=MAX_NAME_BYTES)
    schema.add_field("headings", DataType.VARCHAR, max_length=MAX_NAME_BYTES)
    schema.add_field(_PAGE, DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=MAX_TEXT_BYTES, **(_ANALYZED if keywords else {}))
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimensions)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 128})
    if keywords:
        schema.add_field("keywords", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["keywords"]))
        index.add_index("keywords", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(collection, schema=schema, timeout=call.remaining())
    # An index is there once the server has taken it, and builds as rows come. The client would look for its end half a
    # second later, once for each index: `sync` leaves that out, as there is nothing to build yet.
    client.create_index(collection, index, timeout=call.remaining(), sync=False)
    client.load_collection(collection, timeout=call.remaining())


def _keywords(description: Mapping[str, Any], metrics: Mapping[str, str]) -> str:
    functions = cast("list[dict[str, Any]]", description.get("functions") or [])
    filled = [str(function["output_field_names"][0]) for function in functions if function["type"] == FunctionType.BM25]
    return next((name for name in filled if name in metrics), "")


def _first_of(names: Sequence[str], there: Mapping[str, object] | Sequence[str]) -> str:
    return next((name for name in names if name in there), "")
