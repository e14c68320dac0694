"""Embeddings and reranking on text-embeddings-inference (TEI), by its own requests.

TEI has the OpenAI embeddings API too; its own takes `truncate`, without which an older or otherwise configured server
refuses a long text. Its rerank API is not that of Cohere, Jina and vLLM, which `rerank_api` speaks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors, unit_length

_BLANK = " "
"""Stands for an empty text: the server refuses one, and with it all others of the request."""


class TeiEmbeddings:
    """The embeddings model of a TEI server: `POST /embed`.

    Args:
        server: The server.
        batch_size: Texts in one request; the server takes no more than its `--max-client-batch-size`.
    """

    is_remote = True

    def __init__(self, server: HttpBackEnd, *, batch_size: int = 32) -> None:
        self._server = server
        self._batch_size = batch_size

    @property
    def description(self) -> str:
        return f"TEI at {self._server.base_url}"

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        return np.concatenate([await self._embed(call, batch) for batch in _batches(texts, self._batch_size)])

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()

    async def _embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        answer = await self._server.post(call, "/embed", {"inputs": _filled(texts), "truncate": True})
        try:
            vectors = np.array(answer, np.float32)
        except (TypeError, ValueError) as error:
            raise self._server.errors.nonsense("something that is not a list of embeddings") from error
        if vectors.ndim != 2 or len(vectors) != len(texts):  # noqa: PLR2004 - a row for each text
            raise self._server.errors.nonsense(f"embeddings of shape {vectors.shape} for {len(texts)} texts")
        return unit_length(vectors)


class TeiReranker:
    """The reranker of a TEI server: `POST /rerank`.

    Args:
        server: The server.
        batch_size: Passages in one request; the server takes no more than its `--max-client-batch-size`.
    """

    is_remote = True

    def __init__(self, server: HttpBackEnd, *, batch_size: int = 32) -> None:
        self._server = server
        self._batch_size = batch_size

    @property
    def description(self) -> str:
        return f"TEI at {self._server.base_url}"

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first; the score is the server's, from 0 to 1."""
        rankings: list[Ranking] = []
        for batch in _batches(passages, self._batch_size):
            scores = await self._scores(call, query, batch)
            rankings += [Ranking(len(rankings) + index, score) for index, score in enumerate(scores)]
        return sorted(rankings, key=lambda ranking: -ranking.score)

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()

    async def _scores(self, call: Call, query: str, passages: Sequence[str]) -> list[float]:
        """Return the score of each passage, in their order."""
        body = {"query": query or _BLANK, "texts": _filled(passages), "truncate": True}
        answer: Any = await self._server.post(call, "/rerank", body)
        try:
            scores = {int(result["index"]): float(result["score"]) for result in answer}
        except (KeyError, TypeError, ValueError) as error:
            raise self._server.errors.nonsense("something that is not a list of scores") from error
        if scores.keys() != set(range(len(passages))):
            raise self._server.errors.nonsense(f"{len(scores)} scores for {len(passages)} passages")
        return [scores[index] for index in range(len(passages))]


def _filled(texts: Sequence[str]) -> list[str]:
    return [text or _BLANK for text in texts]


def _batches(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]
