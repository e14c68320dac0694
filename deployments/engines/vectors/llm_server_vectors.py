"""Embeddings and reranking by `ray.serve.llm` deployments, called by their handles."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from deployments.call import Call
from deployments.engines.llm_server import LLMRequest, LLMServerModel
from deployments.engines.shapes import ShapeError, batches, rankings_of, vectors_of
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors

_CUT_TO_CONTEXT = -1
"""Of `truncate_prompt_tokens`: a longer text is cut. Without it, vLLM refuses the whole request."""


class LLMServerEmbeddings:
    """An embeddings model of an `LLMServer`.

    Args:
        server: The model there.
        batch_size: Texts in one request.
    """

    def __init__(self, server: LLMServerModel, *, batch_size: int = 32) -> None:
        self._server = server
        self._batch_size = batch_size

    is_remote = True

    @property
    def description(self) -> str:
        return self._server.description

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        return np.concatenate([await self._embed_batch(call, batch) for batch in batches(texts, self._batch_size)])

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""

    async def _embed_batch(self, call: Call, texts: Sequence[str]) -> Vectors:
        request = LLMRequest(
            "EmbeddingCompletionRequest",
            model=self._server.model,
            input=list(texts),
            truncate_prompt_tokens=_CUT_TO_CONTEXT,
        )
        answer = await self._server.answer(call, "embeddings", request)
        try:
            entries: list[Any] = sorted(answer.data, key=_index)
            return vectors_of([_member(entry, "embedding") for entry in entries], len(texts))
        except (AttributeError, KeyError, TypeError) as error:
            raise self._server.errors.nonsense("something that is not a list of embeddings") from error
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error


class LLMServerReranker:
    """A reranker of an `LLMServer`: its `score`.

    Args:
        server: The model there: a cross-encoder. With an embeddings model, the score is the cosine.
    """

    def __init__(self, server: LLMServerModel) -> None:
        self._server = server

    is_remote = True

    @property
    def description(self) -> str:
        return self._server.description

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first; the score is the server's."""
        if not passages:
            return []
        request = LLMRequest(
            "ScoreRequest",
            model=self._server.model,
            text_1=query,
            text_2=list(passages),
            truncate_prompt_tokens=_CUT_TO_CONTEXT,
        )
        answer = await self._server.answer(call, "score", request)
        try:
            scores = [{"index": _index(entry), "score": _member(entry, "score")} for entry in answer.data]
            return rankings_of(scores, len(passages))
        except (AttributeError, KeyError, TypeError) as error:
            raise self._server.errors.nonsense("something that is not a list of scores") from error
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""


def _member(entry: Any, name: str) -> Any:
    return cast("dict[str, Any]", entry)[name] if isinstance(entry, dict) else getattr(entry, name)


def _index(entry: Any) -> int:
    return _member(entry, "index")
