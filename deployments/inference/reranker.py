"""The reranker: a question and passages in, an order out."""

from collections.abc import Sequence

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import RerankerEngine
from deployments.inference.last_request import LastRequest
from deployments.values.retrieval import Ranking
from deployments.values.status import ComponentStatus

_PROBE = "Ready?"


class Reranker:
    """Reranks with one engine.

    `deployments.services.RerankerService` says what its methods do.
    """

    name = "Reranker"

    def __init__(self, engine: RerankerEngine) -> None:
        self._engine = engine
        self._last = LastRequest()

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        with self._last.watched(call):
            return await self._engine.rerank(call, query, passages)

    async def status(self, call: Call) -> ComponentStatus:
        return await engine_status(self.name, self._engine.description, self._check(call))

    async def _check(self, call: Call) -> None:
        """Raise what is wrong. After a request that failed, the model is asked whether it answers again."""
        await self._engine.check()
        if self._last.has_failed:
            await self.rerank(call, _PROBE, [_PROBE])
