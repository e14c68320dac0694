"""Embeddings: texts in, vectors out."""

from collections.abc import Sequence

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import EmbeddingsEngine
from deployments.errors import InvalidRequestError
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors


class Embeddings:
    """Embeds with one engine.

    `deployments.services.EmbeddingsService` says what its methods do.
    """

    name = "Embeddings"

    def __init__(self, engine: EmbeddingsEngine) -> None:
        self._engine = engine

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        if not texts:
            raise InvalidRequestError("no text to embed")
        return await self._engine.embed(call, texts)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return await engine_status(self.name, self._engine.description, self._engine.check())
