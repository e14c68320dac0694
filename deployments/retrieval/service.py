"""Retrieval: a question in, the passages that fit it out."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import pstdev
from typing import Protocol

from deployments.call import Call
from deployments.component_status import replica_status, status_or_error
from deployments.errors import HearthError, InvalidRequestError, Limit, NotFoundError
from deployments.services import EmbeddingsService, RerankerService
from deployments.settings.orchestration import MilvusSettings
from deployments.text.sentences import leans_on_previous, split_sentences
from deployments.values.retrieval import Passage, Ranking, RetrievalQuery
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors

logger = logging.getLogger(__name__)

_QUOTED_REACH = 2.0
"""A sentence that scores so many standard deviations below the best one is not quoted. On 80 questions over eight
documents this loses none of the facts that three sentences hold; 1.5 loses one."""


class PassageStore(Protocol):
    """Where passages are searched."""

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        """Return the passages nearest to a question, by its vector and its words, best first."""
        ...

    async def check(self, call: Call) -> str:
        """Return which collections there are, in one line; raise `UnavailableError` when they cannot be reached."""
        ...


class Retrieval:
    """Embeds a question, searches for it and reranks what was found.

    `deployments.services.RetrievalService` says what its methods do.
    """

    name = "Retrieval"

    def __init__(
        self, embeddings: EmbeddingsService, reranker: RerankerService, store: PassageStore, settings: MilvusSettings
    ) -> None:
        self._embeddings = embeddings
        self._reranker = reranker
        self._store = store
        self._settings = settings

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        keep = query.top_k or self._settings.keep
        if not 0 < keep <= self._settings.max_keep:
            most = self._settings.max_keep
            raise InvalidRequestError(
                f"top_k is {query.top_k}; between 1 and {most} is possible",
                field="top_k",
                limit=Limit("milvus.max_keep", most, query.top_k),
            )
        vectors = await self._embeddings.embed(call, [query.text])
        limit = max(keep, self._settings.retrieve) if query.rerank else keep
        try:
            collection = query.collection or self._settings.collection
            found = await self._store.search(call, collection, query.text, vectors[0], limit)
        except NotFoundError:
            if query.collection:
                raise
            logger.info("nothing was ingested yet: collection %r does not exist", self._settings.collection)
            return ()
        found = _without_copies(found)
        if query.rerank:
            found = await self._reranked(call, query.text, found, keep)
        return tuple(found[:keep])

    async def nearest_sentences(
        self, call: Call, question: str, passages: Sequence[Passage], limit: int
    ) -> tuple[Passage, ...]:
        sentences = [sentence for passage in passages for sentence in _sentences(passage)]
        rankings = await self._reranker.rerank(call, question, [sentence.context for sentence in sentences])
        nearest = set(_nearest(rankings, limit))
        # A sentence that leans on the one before it is not understood without it.
        nearest |= {index - 1 for index in nearest if sentences[index].leans}
        return tuple(_joined(sentences[index].passage for index in sorted(nearest)))

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        async with asyncio.TaskGroup() as group:
            embeddings = group.create_task(status_or_error("Embeddings", self._embeddings.status(call), required=False))
            reranker = group.create_task(status_or_error("Reranker", self._reranker.status(call), required=False))
            milvus = group.create_task(self._milvus_status(call))
        detail = f"default collection {self._settings.collection}"
        return (
            replica_status(self.name, detail),
            replace(embeddings.result(), required=False),
            replace(reranker.result(), required=False),
            milvus.result(),
        )

    async def _reranked(self, call: Call, question: str, found: list[Passage], keep: int) -> list[Passage]:
        try:
            rankings = await self._reranker.rerank(call, question, [passage.embedded_text() for passage in found])
        except HearthError as error:
            logger.warning("not reranked: %s", error.message)
            return found
        return [replace(found[ranking.index], score=ranking.score) for ranking in rankings[:keep]]

    async def _milvus_status(self, call: Call) -> ComponentStatus:
        try:
            detail = await self._store.check(call)
        except HearthError as error:
            return ComponentStatus("Milvus", ready=False, detail=error.message, required=False)
        return ComponentStatus("Milvus", ready=True, detail=detail, required=False)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence of a passage.

    Attributes:
        passage: The passage cut down to it.
        context: What it is ranked by: with its headings, and the sentence before it where it leans on that.
        leans: Whether it does.
    """

    passage: Passage
    context: str
    leans: bool


def _sentences(passage: Passage) -> Iterator[_Sentence]:
    before = ""
    for text in split_sentences(passage.text):
        leans = bool(before) and leans_on_previous(text)
        alone = replace(passage, text=text)
        context = replace(passage, text=f"{before} {text}") if leans else alone
        yield _Sentence(alone, context.embedded_text(), leans)
        before = text


def _without_copies(passages: Iterable[Passage]) -> list[Passage]:
    """Drop passages whose text came before under another source, as when one document is ingested under two names."""
    kept: dict[tuple[str, str], Passage] = {}
    for passage in passages:
        kept.setdefault((passage.headings, passage.text), passage)
    return list(kept.values())


def _nearest(rankings: Sequence[Ranking], limit: int) -> list[int]:
    """Return the indices of the best rankings, without those that fall far behind the first."""
    if not rankings:
        return []
    reach = _QUOTED_REACH * pstdev(ranking.score for ranking in rankings)
    return [ranking.index for ranking in rankings[:limit] if ranking.score >= rankings[0].score - reach]


def _joined(sentences: Iterable[Passage]) -> Iterator[Passage]:
    """Join neighbours that come from one passage."""
    for _, group in groupby(sentences, key=lambda part: (part.source, part.headings, part.page, part.score)):
        parts = list(group)
        yield replace(parts[0], text=" ".join(part.text for part in parts))
