"""The orchestration deployments: services that call models and hold none.

They find the models' applications by name, and each other by handle. The NATS ingress in front of them is bound in
`bridges.application`.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.batching import ready_together
from deployments.call import Call
from deployments.chat import Chat
from deployments.clients import EmbeddingsClient, LanguageModelClient, RerankerClient, RetrievalClient
from deployments.door import application_door, handle_door
from deployments.ingestion import Ingestion
from deployments.retrieval import Retrieval
from deployments.settings import MilvusSettings, OrchestrationSettings
from deployments.values import (
    AnswerItem,
    ChatQuestion,
    ComponentStatus,
    Document,
    IngestReport,
    Passage,
    RetrievalQuery,
)
from deployments.vector_store import VectorStore


def _embeddings(settings: OrchestrationSettings) -> EmbeddingsClient:
    return EmbeddingsClient(application_door(settings.embeddings, "Embeddings"))


def _store(settings: MilvusSettings) -> VectorStore:
    return VectorStore(
        settings.uri,
        token=os.environ.get(settings.token_variable, ""),
        passage_characters=settings.passage_characters,
    )


@serve.deployment(name="Retrieval")
class RetrievalDeployment:
    """Retrieval as a deployment."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        reranker = RerankerClient(application_door(settings.reranker, "Reranker"))
        self._service = Retrieval(_embeddings(settings), reranker, _store(settings.milvus), settings.milvus)

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        return await self._service.retrieve(call, query)

    async def nearest_sentences(
        self, call: Call, question: str, passages: tuple[Passage, ...], limit: int
    ) -> tuple[Passage, ...]:
        return await self._service.nearest_sentences(call, question, passages, limit)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)


@serve.deployment(name="Chat")
class ChatDeployment:
    """Chat as a deployment."""

    def __init__(self, settings: OrchestrationSettings, retrieval: DeploymentHandle[Any]) -> None:
        model = LanguageModelClient(application_door(settings.language_model, "LanguageModel"))
        self._service = Chat(model, RetrievalClient(handle_door(retrieval)))

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[list[AnswerItem]]:
        async with aclosing(ready_together(self._service.answer(call, question))) as batches:
            async for items in batches:
                yield items

    async def greet(self, call: Call, name: str) -> str:
        return await self._service.greet(call, name)

    async def warm(self, call: Call) -> None:
        await self._service.warm(call)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)


@serve.deployment(name="Ingestion")
class IngestionDeployment:
    """Ingestion as a deployment."""

    def __init__(self, settings: OrchestrationSettings) -> None:
        self._service = Ingestion(_embeddings(settings), _store(settings.milvus), settings.milvus)

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        return await self._service.ingest(call, document)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._service.components(call)
