"""The graph with engines that cost nothing, so that what is left is what Hearth itself costs.

The deployments are Hearth's own with other engines put in. Each model is also an HTTP endpoint of the same replica, in
the shape of the API that such a model has, for the replaced design. Passages come from a constant in place of Milvus,
on both sides: a search costs the same wherever it is called from.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar

import numpy as np
from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

import bridges.application as ingress
import deployments.milvus.passages
import deployments.orchestration as services
from deployments.call import Call
from deployments.graph.definitions import CHAT, EMBEDDINGS, INGESTION, LANGUAGE_MODEL, RERANKER, RETRIEVAL
from deployments.inference.embeddings import Embeddings
from deployments.inference.language_model import LanguageModel
from deployments.inference.reranker import Reranker
from deployments.settings.orchestration import OrchestrationSettings
from deployments.values.language import Answering, Generation, Message, Role
from deployments.values.retrieval import Passage, Ranking
from deployments.values.vectors import Vectors

DIMENSIONS = 384
PASSAGES = tuple(
    Passage(f"Passage {number} says what the handbook says on its page. " * 6, f"page-{number}.md", "Handbook", 0.5)
    for number in range(20)
)
SYSTEM = "You answer questions from the passages you are given."
_ANSWER_TOKENS = 16
_HTTP_CALL_S = 60.0


class ZeroCostModel:
    """Makes as many tokens as the question says with "tokens=…", one every "every=…" milliseconds."""

    description = "zero cost"
    is_remote = False
    context_tokens = 1 << 20
    tokens_generated = 0

    def __init__(self) -> None:
        self.ended: list[float] = []

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        del messages
        return 1

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str]:
        del call, generation
        asked = messages[-1].content
        tokens = int(found[1]) if (found := re.search(r"tokens=(\d+)", asked)) else _ANSWER_TOKENS
        period_s = int(found[1]) / 1000 if (found := re.search(r"every=(\d+)", asked)) else 0.0
        try:
            for _ in range(tokens):
                yield " token"
                if period_s:
                    await asyncio.sleep(period_s)
        finally:
            self.ended.append(time.monotonic())

    async def read(self, call: Call, messages: Sequence[Message]) -> AsyncGenerator[int]:
        del call, messages
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


class ConstantStore:
    """Finds the same passages whatever is asked."""

    def __init__(self, *_: object, **__: object) -> None:
        return

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        del call, collection, question, vector
        return list(PASSAGES[:limit])

    async def check(self, call: Call) -> str:
        del call
        return "constant"


# Whoever imports this module, as every replica of these deployments does, gets its passages from the constant.
deployments.milvus.passages.MilvusPassages = ConstantStore  # pyright: ignore[reportAttributeAccessIssue]


def _class_of(deployment: Any) -> Any:
    """Return the class inside one of Hearth's deployments."""
    return deployment.func_or_class


def _language_model(engine: ZeroCostModel) -> LanguageModel:
    return LanguageModel(engine, Answering(SYSTEM, 5, (), check_sentences=False, generation=Generation()))


class BenchmarkLanguageModel(LANGUAGE_MODEL.replica_class(_language_model)):
    async def __init__(self) -> None:
        self._engine = ZeroCostModel()
        await super().__init__(self._engine)

    async def ended(self, call: Call) -> list[float]:
        """Return when generators ended since the last time this was asked, on the machine's monotonic clock."""
        del call
        ended, self._engine.ended = self._engine.ended, []
        return ended

    async def __call__(self, request: Request) -> Response:
        body = await request.json()
        messages = [Message(Role(message["role"]), message["content"]) for message in body["messages"]]
        generation = Generation(max_tokens=body["max_tokens"])

        async def events() -> AsyncGenerator[str]:
            async for token in self._engine.generate(Call.within(_HTTP_CALL_S), messages, generation):
                piece = {"index": 0, "delta": {"content": token}, "finish_reason": None}
                yield f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [piece]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


class BenchmarkEmbeddings(EMBEDDINGS.replica_class(lambda: Embeddings(ZeroCostEmbeddings()))):
    async def __call__(self, request: Request) -> Response:
        body = await request.json()
        vectors = await self.service.embed(Call.within(_HTTP_CALL_S), body["input"])
        data = [{"index": index, "embedding": row.tolist()} for index, row in enumerate(vectors)]
        return JSONResponse({"object": "list", "data": data})


class BenchmarkReranker(RERANKER.replica_class(lambda: Reranker(ZeroCostReranker()))):
    async def __call__(self, request: Request) -> Response:
        body = await request.json()
        rankings = await self.service.rerank(Call.within(_HTTP_CALL_S), body["query"], body["documents"])
        results = [{"index": ranking.index, "relevance_score": ranking.score} for ranking in rankings[: body["top_n"]]]
        return JSONResponse({"results": results})


class BenchmarkRetrieval(RETRIEVAL.replica_class(services.build_retrieval)):
    """Imported from here, so that the constant store is in its replica."""


class BenchmarkChat(CHAT.replica_class(services.build_chat)):
    """Likewise."""


class BenchmarkIngestion(INGESTION.replica_class(services.build_ingestion)):
    """Likewise."""


class BenchmarkIngress(_class_of(ingress.NatsIngressDeployment)):
    """Likewise."""


def _bind(deployment: type, name: str, *arguments: Any) -> Application:
    wrap = serve.deployment(
        name=name, ray_actor_options={"num_cpus": 0}, health_check_period_s=1, max_ongoing_requests=1000
    )
    return wrap(deployment).bind(*arguments)


def language_model(args: dict[str, Any]) -> Application:
    del args
    return _bind(BenchmarkLanguageModel, "LanguageModel")


def embeddings(args: dict[str, Any]) -> Application:
    del args
    return _bind(BenchmarkEmbeddings, "Embeddings")


def reranker(args: dict[str, Any]) -> Application:
    del args
    return _bind(BenchmarkReranker, "Reranker")


def orchestration(args: OrchestrationSettings) -> Application:
    handles: dict[str, Any] = {}
    if not args.in_process:
        handles[RETRIEVAL.name] = _bind(BenchmarkRetrieval, RETRIEVAL.name, args)
        handles[CHAT.name] = _bind(BenchmarkChat, CHAT.name, args, dict(handles))
        handles[INGESTION.name] = _bind(BenchmarkIngestion, INGESTION.name, args)
    return _bind(BenchmarkIngress, "NatsIngress", args, handles)
