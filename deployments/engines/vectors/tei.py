"""Embeddings and reranking on text-embeddings-inference (TEI), by its own requests.

TEI has the OpenAI embeddings API too; its own takes `truncate`, without which an older or otherwise configured server
refuses a long text. Its rerank API is not that of Cohere, Jina and vLLM, which `rerank_api` speaks.
"""

from collections.abc import Sequence

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.shapes import ShapeError, batches, best_first, joined, rankings_of, vectors_of
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors

_EMBED = "/embed"
_RERANK = "/rerank"
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
        try:
            return joined([await self._embed(call, batch) for batch in batches(texts, self._batch_size)])
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error

    async def check(self) -> None:
        await self._server.check(_EMBED)

    async def close(self) -> None:
        await self._server.close()

    async def _embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        answer = await self._server.post(call, _EMBED, {"inputs": _filled(texts), "truncate": True})
        try:
            return vectors_of(answer, len(texts))
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error


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
        for batch in batches(passages, self._batch_size):
            ranked = await self._rank(call, query, batch)
            before = len(rankings)
            rankings += [Ranking(before + ranking.index, ranking.score) for ranking in ranked]
        return best_first(rankings)

    async def check(self) -> None:
        await self._server.check(_RERANK)

    async def close(self) -> None:
        await self._server.close()

    async def _rank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        body = {"query": query or _BLANK, "texts": _filled(passages), "truncate": True}
        answer = await self._server.post(call, _RERANK, body)
        try:
            return rankings_of(answer, len(passages))
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error


def _filled(texts: Sequence[str]) -> list[str]:
    return [text or _BLANK for text in texts]
