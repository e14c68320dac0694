"""Models that cost nothing, so that what is left is what the graph itself costs.

The services are Hearth's own with other engines put in. Each model is also an HTTP endpoint of the same replica, in the
shape of the API that such a model has, for the replaced design.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from deployments.call import Call
from deployments.graph.definitions import EMBEDDINGS, LANGUAGE_MODEL, RERANKER
from deployments.inference.embeddings import Embeddings
from deployments.inference.language_model import LanguageModel
from deployments.inference.reranker import Reranker
from deployments.values.language import Answering, FinishReason, Generation, Message, Piece, Role
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors

DIMENSIONS = 384
SYSTEM = "You answer questions from the passages you are given."
ENDED = "/ended"
"""Path of the language model's HTTP endpoint at which it says when its generators ended."""
_ANSWER_TOKENS = 16
_HTTP_CALL_S = 60.0


class ZeroCostModel:
    """Makes as many tokens as the question says with "tokens=…", one every "every=…" milliseconds."""

    description = "zero cost"
    model_name = "zero cost"
    is_remote = False
    context_tokens = 1 << 20
    tokens_generated = 0

    def __init__(self) -> None:
        self.ended: list[float] = []

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        del messages
        return 1

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        del call, generation
        asked = messages[-1].content
        tokens = int(found[1]) if (found := re.search(r"tokens=(\d+)", asked)) else _ANSWER_TOKENS
        period_s = int(found[1]) / 1000 if (found := re.search(r"every=(\d+)", asked)) else 0.0
        try:
            for _ in range(tokens):
                yield Piece(" token")
                if period_s:
                    await asyncio.sleep(period_s)
            yield Piece(end=FinishReason.STOP)
        finally:
            self.ended.append(time.monotonic())

    async def special_tokens(self, texts: Collection[str]) -> Collection[str]:
        del texts
        return ()

    async def opens_thought(self, generation: Generation) -> bool:
        del generation
        return False

    async def read(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[int]:
        del call, messages, generation
        yield 0

    async def check(self) -> None:
        return

    async def close(self) -> None:
        return


class ZeroCostEmbeddings:
    """Gives every text the same vector."""

    description = "zero cost"
    is_remote = False
    _row: ClassVar[Vectors] = np.full((1, DIMENSIONS), DIMENSIONS**-0.5, np.float32)

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        del call
        return np.repeat(self._row, len(texts), axis=0)

    async def check(self) -> None:
        return

    async def close(self) -> None:
        return


class ZeroCostReranker:
    """Leaves passages in their order."""

    description = "zero cost"
    is_remote = False

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        del call, query
        return [Ranking(index, 1.0 - index / len(passages)) for index in range(len(passages))]

    async def check(self) -> None:
        return

    async def close(self) -> None:
        return


def _language_model(engine: ZeroCostModel) -> LanguageModel:
    return LanguageModel(engine, Answering(SYSTEM, 5, (), check_sentences=False, generation=Generation()))


def _embeddings() -> Embeddings:
    return Embeddings(ZeroCostEmbeddings())


def _reranker() -> Reranker:
    return Reranker(ZeroCostReranker())


class BenchmarkLanguageModel(LANGUAGE_MODEL.replica_class(_language_model)):
    async def __init__(self) -> None:
        self._engine = ZeroCostModel()
        await super().__init__(self._engine)

    async def __call__(self, request: Request) -> Response:
        if request.url.path.endswith(ENDED):
            return JSONResponse(self._take_ended())
        body = await request.json()
        messages = [Message(Role(message["role"]), message["content"]) for message in body["messages"]]
        generation = Generation(max_tokens=body["max_tokens"])

        async def events() -> AsyncGenerator[str]:
            async for piece in self._engine.generate(Call.within(_HTTP_CALL_S), messages, generation):
                choice = {"index": 0, "delta": {"content": piece.text}, "finish_reason": piece.end}
                yield f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    def _take_ended(self) -> list[float]:
        """Return when generators ended since the last time this was asked, on the machine's monotonic clock."""
        ended, self._engine.ended = self._engine.ended, []
        return ended


class BenchmarkEmbeddings(EMBEDDINGS.replica_class(_embeddings)):
    async def __call__(self, request: Request) -> Response:
        body = await request.json()
        vectors = await self.service.embed(Call.within(_HTTP_CALL_S), body["input"])
        data = [{"index": index, "embedding": row.tolist()} for index, row in enumerate(vectors)]
        return JSONResponse({"object": "list", "data": data})


class BenchmarkReranker(RERANKER.replica_class(_reranker)):
    async def __call__(self, request: Request) -> Response:
        body = await request.json()
        rankings = await self.service.rerank(Call.within(_HTTP_CALL_S), body["query"], body["documents"])
        results = [{"index": ranking.index, "relevance_score": ranking.score} for ranking in rankings[: body["top_n"]]]
        return JSONResponse({"results": results})


def language_model(args: Mapping[str, Any]) -> Application:
    """Build the language-model application."""
    del args
    return serve.deployment(name=LANGUAGE_MODEL.name)(BenchmarkLanguageModel).bind()


def embeddings(args: Mapping[str, Any]) -> Application:
    """Build the embeddings application."""
    del args
    return serve.deployment(name=EMBEDDINGS.name)(BenchmarkEmbeddings).bind()


def reranker(args: Mapping[str, Any]) -> Application:
    """Build the reranker application."""
    del args
    return serve.deployment(name=RERANKER.name)(BenchmarkReranker).bind()
