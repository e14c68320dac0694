"""Embeddings behind the OpenAI embeddings API: TEI, infinity, vLLM and others."""

from collections.abc import Sequence

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.shapes import ShapeError, batches, embeddings_of, joined
from deployments.values.vectors import Vectors

_PATH = "/v1/embeddings"


class OpenAIEmbeddings:
    """A model of an OpenAI-compatible server.

    Args:
        server: The server.
        model: The model's name there.
        batch_size: Texts in one request.
    """

    def __init__(self, server: HttpBackEnd, *, model: str, batch_size: int = 32) -> None:
        self._server = server
        self._model = model
        self._batch_size = batch_size

    is_remote = True

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._model}"

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        try:
            return joined([await self._embed_batch(call, batch) for batch in batches(texts, self._batch_size)])
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error

    async def check(self) -> None:
        await self._server.check(_PATH)

    async def close(self) -> None:
        await self._server.close()

    async def _embed_batch(self, call: Call, texts: Sequence[str]) -> Vectors:
        answer = await self._server.post(call, _PATH, {"input": list(texts), "model": self._model})
        try:
            return embeddings_of(answer, len(texts))
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error
