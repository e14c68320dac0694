"""Passages searched in Milvus: by meaning, and by words too where the collection has BM25."""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, Limit
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.fusion import fuse
from deployments.milvus.schema import PAGE_NAMES, SOURCE_NAMES, CollectionFields, check_name, current_versions, in_list
from deployments.values.retrieval import Passage
from deployments.values.vectors import Vectors

logger = logging.getLogger(__name__)

_ATTEMPTS = 4
_CURRENT_LIFETIME_S = 60.0
_CURRENT_KEPT = 10_000
_QUESTION_CHARACTERS = 2_000
_PAGE_DIGITS = 9

_Hit = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Search:
    call: Call
    collection: str
    fields: CollectionFields
    question: str
    vector: Vectors
    limit: int


class MilvusPassages:
    """Searches collections.

    Args:
        connection: To the server.
        passage_characters: Longer passages are cut to this many characters.
        keyword_weight: Share of the search by words where a collection has one; 0 for none.
    """

    def __init__(
        self, connection: MilvusConnection, *, passage_characters: int = 2000, keyword_weight: float = 0.0
    ) -> None:
        self._connection = connection
        self._passage_characters = passage_characters
        self._keyword_weight = keyword_weight
        self._current: dict[tuple[str, str], tuple[str, float]] = {}

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        """Return the passages that fit a question, best first.

        The score is the collection's own: cosine or inner product, or the distance with its sign turned (L2), so
        that higher is better in each. Where words are searched too it is that of `fuse`.

        Args:
            call: Whose deadline holds.
            collection: Its name.
            question: Whose words are searched.
            vector: The question's embedding, of shape (dimensions,).
            limit: Passages at most.

        Raises:
            NotFoundError: There is no such collection.
            InvalidRequestError: The name cannot be one, or the collection's vectors have another size.
            UnavailableError: Milvus cannot be reached, or is loading the collection.
        """
        check_name(collection)
        fields = await self._connection.fields(call, collection)
        if fields.dimensions != vector.shape[-1]:
            raise InvalidRequestError(
                f"collection {collection!r} holds vectors of {fields.dimensions} dimensions, "
                f"the embeddings model gives {vector.shape[-1]}: it was made with another model",
                field="collection",
                limit=Limit("dimensions", fields.dimensions, vector.shape[-1]),
            )
        words = question[:_QUESTION_CHARACTERS].strip() if fields.keywords and self._keyword_weight else ""
        search = _Search(call, collection, fields, words, vector, limit)
        hits: list[_Hit] = []
        outdated: set[str] = set()
        # Milvus also finds chunks of versions that are being ingested, whose ingestion broke off, or that a newer one
        # has replaced. They are left out, and the search goes on behind them.
        for _ in range(_ATTEMPTS):
            hits = await self._ranked(search, outdated)
            found = await self._outdated(search, hits)
            outdated |= found
            if not found:
                break
        return [self._passage(hit, fields) for hit in hits if hit.get("version") not in outdated]

    async def check(self, call: Call) -> str:
        """Return the collections there are, as one line; raise `UnavailableError` when Milvus cannot be reached."""
        return await self._connection.check(call)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _ranked(self, search: _Search, without: Collection[str]) -> list[_Hit]:
        condition = f"version not in {in_list(without)}" if without else ""
        fields = search.fields
        if not search.question:
            return await self._found(search, fields.vector, fields.metric, search.vector.tolist(), condition)
        try:
            async with asyncio.TaskGroup() as group:
                meaning = group.create_task(
                    self._found(search, fields.vector, fields.metric, search.vector.tolist(), condition)
                )
                words = group.create_task(self._found_by_words(search, condition))
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            raise first from None
        hits = {hit["key"]: hit for hit in (*words.result(), *meaning.result())}
        fused = fuse(_scores(meaning.result()), _scores(words.result()), self._keyword_weight)
        return [{**hits[key], "score": score} for key, score in fused[: search.limit]]

    async def _found_by_words(self, search: _Search, condition: str) -> list[_Hit]:
        try:
            return await self._found(search, search.fields.keywords, "BM25", search.question, condition)
        except HearthError as error:
            logger.warning("collection %r is searched by meaning alone: %s", search.collection, error.message)
            return []

    async def _found(self, search: _Search, field: str, metric: str, data: object, condition: str) -> list[_Hit]:
        """Return what a search of one field finds, best first, each with its `key` and `score`."""

        async def work() -> Any:
            return await self._connection.client().search(
                search.collection,
                data=[data],
                limit=search.limit,
                anns_field=field,
                filter=condition,
                output_fields=[search.fields.key, *search.fields.output()],
                search_params={"metric_type": metric},
                timeout=search.call.remaining(),
            )

        async with self._connection.errors(search.call, search.collection):
            found = await self._connection.loaded(search.call, search.collection, work)
        hits = cast("list[dict[str, Any]]", found[0])
        # Milvus Lite gives BM25 scores below zero, best first nevertheless; a distance (L2) is better where it is less.
        return [
            {
                **cast("dict[str, Any]", hit["entity"]),
                "key": str(hit["entity"][search.fields.key]),
                "score": _score(metric, float(hit["distance"])),
            }
            for hit in hits
        ]

    async def _outdated(self, search: _Search, hits: Sequence[_Hit]) -> set[str]:
        """Return the versions among what was found that are not the ones to answer from."""
        if not search.fields.own:
            return set()
        seen = {(str(hit["document"]), str(hit["version"])) for hit in hits}
        known = {document: self._known(search.collection, document) for document, _ in seen}
        unknown = {document for document, version in seen if known[document] != version}
        if unknown:
            known.update(await self._current_versions(search, unknown))
        return {version for document, version in seen if known[document] != version}

    def _known(self, collection: str, document: str) -> str:
        """Return the version of a document to answer from, as it was read a while ago; empty where it was not."""
        version, until = self._current.get((collection, document), ("", 0.0))
        return version if until > time.monotonic() else ""

    async def _current_versions(self, search: _Search, documents: Collection[str]) -> dict[str, str]:
        """Return the version to answer from of each document, empty where none is whole; and keep it for a while."""
        async with self._connection.errors(search.call, search.collection):
            rows = cast(
                "list[dict[str, Any]]",
                await self._connection.client().query(
                    search.collection,
                    filter=f"document in {in_list(documents)} and chunk_index == 0 and chunks > 0",
                    output_fields=["document", "version"],
                    timeout=search.call.remaining(),
                ),
            )
        found = current_versions(rows)
        if len(self._current) > _CURRENT_KEPT:
            self._current.clear()
        until = time.monotonic() + _CURRENT_LIFETIME_S
        self._current.update({(search.collection, document): (found[document], until) for document in found})
        return {**dict.fromkeys(documents, ""), **found}

    def _passage(self, hit: Mapping[str, Any], fields: CollectionFields) -> Passage:
        metadata: object = hit.get(fields.metadata) if fields.metadata else None
        source = str(hit.get(fields.source) or "") if fields.source else ""
        if not source and isinstance(metadata, dict):
            source = str(_first_value(cast("dict[str, object]", metadata), SOURCE_NAMES) or "")
        page: object = hit.get(fields.page) if fields.page else None
        if page is None and isinstance(metadata, dict):
            page = _first_value(cast("dict[str, object]", metadata), PAGE_NAMES)
        return Passage(
            text=str(hit.get(fields.text) or "")[: self._passage_characters],
            source=source,
            headings=str(hit.get(fields.headings) or "") if fields.headings else "",
            score=float(hit["score"]),
            page=_page_number(page),
        )


def _first_value(values: Mapping[str, object], names: Sequence[str]) -> object:
    return next((values[name] for name in names if values.get(name)), None)


def _page_number(page: object) -> int:
    """Return a page as a number; 0 where it is none, such as "iv"."""
    text = str(page)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _PAGE_DIGITS else 0


def _score(metric: str, distance: float) -> float:
    if metric == "BM25":
        return abs(distance)
    return -distance if metric == "L2" else distance


def _scores(hits: Sequence[_Hit]) -> list[tuple[str, float]]:
    return [(hit["key"], hit["score"]) for hit in hits]
