"""The services of the graph as a test gives them to the one that it tests: values in, values out, no Ray."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from deployments.call import Call
from deployments.errors import HearthError
from deployments.values.language import Answering, Exchange, FinishReason, Generation, ModelProfile, Piece, Prompt
from deployments.values.retrieval import Passage, Ranking, RetrievalQuery
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors

LARGE = Answering("Answer.", passages=3, examples=(), check_sentences=False, generation=Generation())
SMALL = Answering(
    "Answer from the passage.",
    passages=1,
    examples=(Exchange("When?", "At nine.", ("It opens at nine.",)),),
    check_sentences=True,
    generation=Generation(max_tokens=48),
)


@dataclass(slots=True)
class ScriptedModel:
    """Says what it was told to, and fails where it was told to."""

    tokens: Sequence[str] = ("Hello", " there", ".")
    end: FinishReason = FinishReason.STOP
    answering: Answering = LARGE
    error: HearthError | None = None
    unavailable: HearthError | None = None
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    read_prompts: list[Prompt] = field(default_factory=list[Prompt])
    made: int = 0
    closed: bool = False
    thought_tokens: int = 0

    async def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Piece]:
        del call
        self.prompts.append(prompt)
        try:
            for token in self.tokens:
                self.made += 1
                yield Piece(token, thought_tokens=self.thought_tokens if token is self.tokens[0] else 0)
            if self.error:
                raise self.error
            yield Piece(end=self.end)
        finally:
            self.closed = True

    async def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        del call
        self.read_prompts.append(prompt)
        yield 10 * len(prompt.passages)
        yield 10 * len(prompt.passages) + len(prompt.question.split())

    async def profile(self, call: Call) -> ModelProfile:
        del call
        if self.unavailable:
            raise self.unavailable
        return ModelProfile("scripted", self.answering, self.made)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return ComponentStatus("LanguageModel", ready=self.unavailable is None, detail="scripted")


@dataclass(slots=True)
class ScriptedRetrieval:
    """Finds what it was told to."""

    passages: tuple[Passage, ...] = ()
    error: HearthError | None = None
    sentences_error: HearthError | None = None
    queries: list[RetrievalQuery] = field(default_factory=list[RetrievalQuery])

    async def retrieve(self, call: Call, query: RetrievalQuery) -> tuple[Passage, ...]:
        del call
        self.queries.append(query)
        if self.error:
            raise self.error
        return self.passages

    async def nearest_sentences(
        self, call: Call, question: str, passages: Sequence[Passage], limit: int
    ) -> tuple[Passage, ...]:
        del call, question
        if self.sentences_error:
            raise self.sentences_error
        return tuple(replace(passage, text=passage.text.split(".")[0] + ".") for passage in passages)[:limit]

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        del call
        return (ComponentStatus("Retrieval", ready=self.error is None, detail="scripted", required=False),)


@dataclass(slots=True)
class LengthEmbeddings:
    """Embeds a text as its length and a one."""

    error: HearthError | None = None
    embedded: list[str] = field(default_factory=list[str])

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        del call
        if self.error:
            raise self.error
        self.embedded.extend(texts)
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return ComponentStatus("Embeddings", ready=True, detail="length")


@dataclass(slots=True)
class ShortestFirst:
    """Ranks the shortest passage first."""

    error: HearthError | None = None

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        del call, query
        if self.error:
            raise self.error
        order = sorted(range(len(passages)), key=lambda index: len(passages[index]))
        return [Ranking(index, -float(len(passages[index]))) for index in order]

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return ComponentStatus("Reranker", ready=True, detail="shortest first")
