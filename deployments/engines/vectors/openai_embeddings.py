"""Embeddings behind the OpenAI embeddings API: TEI, infinity, vLLM and others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.values.vectors import Vectors, unit_length


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
        batches = [texts[start : start + self._batch_size] for start in range(0, len(texts), self._batch_size)]
        return np.concatenate([await self._embed_batch(call, batch) for batch in batches])

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()

    async def _embed_batch(self, call: Call, texts: Sequence[str]) -> Vectors:
        answer = await self._server.post(call, "/v1/embeddings", {"input": list(texts), "model": self._model})
        return self._rows(answer, len(texts))

    def _rows(self, answer: Any, expected: int) -> Vectors:
        """Read the vectors out of an answer, in the order of `index`."""
        try:
            entries = sorted(answer["data"], key=lambda entry: entry["index"])
            indices = [entry["index"] for entry in entries]
            vectors = np.array([entry["embedding"] for entry in entries], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._server.nonsense("something that is not a list of embeddings") from error
        if indices != list(range(expected)):
            raise self._server.nonsense(f"{len(indices)} embeddings for {expected} texts")
        return unit_length(vectors)
