"""Embeddings: texts in, vectors out."""

from collections.abc import Sequence

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import EmbeddingsEngine
from deployments.errors import InvalidRequestError
from deployments.inference.last_request import LastRequest
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors

_PROBE = "Ready?"


class Embeddings:
    """Embeds with one engine.

    `deployments.services.EmbeddingsService` says what its methods do.
    """

    name = "Embeddings"

    def __init__(self, engine: EmbeddingsEngine) -> None:
        self._engine = engine
        self._last = LastRequest()

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        if not texts:
            raise InvalidRequestError("no text to embed")
        with self._last.watched(call):
            return await self._engine.embed(call, texts)

    async def status(self, call: Call) -> ComponentStatus:
        return await engine_status(self.name, self._engine.description, self._check(call))

    async def _check(self, call: Call) -> None:
        """Raise what is wrong. After a request that failed, the model is asked whether it answers again."""
        await self._engine.check()
        if self._last.has_failed:
            await self.embed(call, [_PROBE])
