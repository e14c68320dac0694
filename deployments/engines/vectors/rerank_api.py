"""Reranker behind the rerank API (`POST /rerank`) that infinity, vLLM and llama.cpp's server share; TEI has its own."""

from collections.abc import Sequence

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.shapes import ShapeError, rankings_of
from deployments.values.retrieval import Ranking

_PATH = "/rerank"


class RerankApiReranker:
    """A reranker on another server.

    Args:
        server: The server.
        model: The model's name there; empty where the server has only one.
    """

    def __init__(self, server: HttpBackEnd, *, model: str = "") -> None:
        self._server = server
        self._model = model

    is_remote = True

    @property
    def description(self) -> str:
        return f"rerank API at {self._server.base_url} {self._model}".rstrip()

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first; the score is the server's."""
        if not passages:
            return []
        body: dict[str, object] = {"query": query, "documents": list(passages), "top_n": len(passages)}
        if self._model:
            body["model"] = self._model
        answer = await self._server.post(call, _PATH, body)
        try:
            return rankings_of(answer, len(passages))
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error

    async def check(self) -> None:
        await self._server.check(_PATH)

    async def close(self) -> None:
        await self._server.close()
