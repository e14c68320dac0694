"""The services of the graph through a door: what `deployments.services` describes, called by handle."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from deployments.call import Call
from deployments.door import Door
from deployments.values import (
    AnswerItem,
    ChatQuestion,
    ComponentStatus,
    Document,
    IngestReport,
    ModelProfile,
    Passage,
    Prompt,
    Ranking,
    RetrievalQuery,
)
from deployments.vectors import Vectors


@dataclass(frozen=True, slots=True)
class LanguageModelClient:
    """`LanguageModel` through a door."""

    door: Door

    def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[str]:
        return self.door.stream(call, "generate", prompt)

    async def profile(self, call: Call) -> ModelProfile:
        return await self.door.call(call, "profile")

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class EmbeddingsClient:
    """`Embeddings` through a door."""

    door: Door

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        return await self.door.call(call, "embed", list(texts))

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class RerankerClient:
    """`Reranker` through a door."""

    door: Door

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        return await self.door.call(call, "rerank", query, list(passages))

    async def status(self, call: Call) -> ComponentStatus:
        return await self.door.call(call, "status")


@dataclass(frozen=True, slots=True)
class RetrievalClient:
    """`Retrieval` through a door."""

    door: Door

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        return await self.door.call(call, "retrieve", query)

    async def nearest_sentences(
        self, call: Call, question: str, passages: Sequence[Passage], limit: int
    ) -> tuple[Passage, ...]:
        return await self.door.call(call, "nearest_sentences", question, tuple(passages), limit)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class ChatClient:
    """`Chat` through a door."""

    door: Door

    def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        return self.door.stream(call, "answer", question)

    async def greet(self, call: Call, name: str) -> str:
        return await self.door.call(call, "greet", name)

    async def warm(self, call: Call) -> None:
        await self.door.call(call, "warm")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")


@dataclass(frozen=True, slots=True)
class IngestionClient:
    """`Ingestion` through a door."""

    door: Door

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        return await self.door.call(call, "ingest", document)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self.door.call(call, "components")
