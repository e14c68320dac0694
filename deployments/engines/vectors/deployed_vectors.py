"""Embeddings and reranking by any other deployments of the cluster, called by their handles."""

from collections.abc import Sequence
from typing import Any

from deployments.call import Call
from deployments.engines.adapter_protocols import EmbeddingsAdapter, RerankerAdapter
from deployments.engines.binding import Binding
from deployments.engines.shapes import ShapeError, batches, best_first, joined, scores_of, vectors_of
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors


class DeployedEmbeddings:
    """An embeddings model.

    Args:
        binding: To the deployment.
        adapter: Reads its answers.
        batch_size: Texts in one request.
    """

    is_remote = True

    def __init__(self, binding: Binding, adapter: EmbeddingsAdapter, *, batch_size: int = 32) -> None:
        self._binding = binding
        self._adapter = adapter
        self._batch_size = batch_size

    @property
    def description(self) -> str:
        return self._binding.description

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        try:
            return joined([await self._embed_batch(call, batch) for batch in batches(texts, self._batch_size)])
        except ShapeError as error:
            raise self._binding.errors.nonsense(str(error)) from error

    async def check(self) -> None:
        await self._binding.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""

    async def _embed_batch(self, call: Call, texts: Sequence[str]) -> Vectors:
        def vectors(answer: Any) -> Vectors:
            return vectors_of(self._adapter.vectors(answer), len(texts))

        return await self._binding.answer(call, self._binding.arguments(self._adapter.request, texts), vectors)


class DeployedReranker:
    """A reranker."""

    is_remote = True

    def __init__(self, binding: Binding, adapter: RerankerAdapter) -> None:
        self._binding = binding
        self._adapter = adapter

    @property
    def description(self) -> str:
        return self._binding.description

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first; the score is the deployment's."""
        if not passages:
            return []

        def rankings(answer: Any) -> list[Ranking]:
            scores = scores_of(self._adapter.scores(answer), len(passages))
            return best_first([Ranking(index, score) for index, score in enumerate(scores)])

        arguments = self._binding.arguments(self._adapter.request, query, passages)
        return await self._binding.answer(call, arguments, rankings)

    async def check(self) -> None:
        await self._binding.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""
