"""The reranker: a question and passages in, an order out."""

from collections.abc import Sequence

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import RerankerEngine
from deployments.values.retrieval import Ranking
from deployments.values.status import ComponentStatus


class Reranker:
    """Reranks with one engine.

    `deployments.services.RerankerService` says what its methods do.
    """

    name = "Reranker"

    def __init__(self, engine: RerankerEngine) -> None:
        self._engine = engine

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        return await self._engine.rerank(call, query, passages)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return await engine_status(self.name, self._engine.description, self._engine.check())
