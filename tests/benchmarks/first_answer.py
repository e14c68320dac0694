"""How long the first checked sentence of an answer takes with the shipped models, for questions that are new.

The real texts of `answers` are ingested by the services in one process: the shipped models and settings, a real Milvus,
no Ray and no NATS. Then each of the questions that were used for no choice is asked once. Printed are the stages that
the first sentence waits for, the whole answer, and how many answers hold the fact. The part of a prompt that the model
has not read before is that behind the worked examples.

With `--graph` the same questions are asked of the shipped graph at a NATS client, too.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from bridges.command_line.client import HearthClient, connected
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.files.naming import name_files
from bridges.generated.messages.v1 import messages_pb2
from deployments.call import Call
from deployments.chat.service import Chat
from deployments.engines.language.llama_cpp import LlamaCppEngine
from deployments.inference.embeddings import Embeddings
from deployments.inference.language_model import LanguageModel
from deployments.inference.prompt import to_messages
from deployments.inference.reranker import Reranker
from deployments.milvus.passages import MilvusPassages
from deployments.retrieval.service import Retrieval
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion
from deployments.values.language import ModelProfile, Piece, Prompt
from deployments.values.retrieval import Passage, Ranking
from deployments.values.status import ComponentStatus
from deployments.values.vectors import Vectors
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, median, percentile, plain, share
from tests.benchmarks.local_services import LocalServices, answering, collection_of, local_services
from tests.benchmarks.question_sets import Question, real_questions, small_document, small_questions, some_of
from tests.benchmarks.real_texts import default_folder, documents
from tests.benchmarks.shipped_client import until_ready
from tests.benchmarks.site import Site

_WAIT_S = 600.0
_REAL = "first_answer"
_QUOTED = "From "
_SLOTS = 4

EMBEDDED, SEARCHED, RANKED = "embedding of the question", "search", "reranking of what was found"
READ, QUOTED = "reading of the prompt", "sentences for a quotation"
FIRST, WHOLE = "first checked sentence", "whole answer"


@dataclass(frozen=True)
class Options:
    small: int = option(0, 1, "questions about the small documents")
    real: int = option(40, 0, "questions about the real texts, which are fetched and ingested unless it is 0")
    graph: bool = option(False, True, "whether the shipped graph is asked, too")


@dataclass
class Measured:
    """Seconds by what took them, one for each question that did it; and what the answers were."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    prompt_tokens: list[int] = field(default_factory=list[int])
    asked: int = 0
    right: int = 0
    own: int = 0

    def answered(self, question: Question, text: str) -> None:
        self.asked += 1
        self.right += bool(question.fact.search(text))
        self.own += not text.startswith(_QUOTED)


@dataclass
class TimedEmbeddings:
    """Embeddings whose times are taken."""

    inner: Embeddings
    measured: Measured

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        started = time.monotonic()
        vectors = await self.inner.embed(call, texts)
        self.measured.seconds[EMBEDDED].append(time.monotonic() - started)
        return vectors

    async def status(self, call: Call) -> ComponentStatus:
        return await self.inner.status(call)


@dataclass
class TimedPassages:
    """A search whose times are taken."""

    inner: MilvusPassages
    measured: Measured

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        started = time.monotonic()
        found = await self.inner.search(call, collection, question, vector, limit)
        self.measured.seconds[SEARCHED].append(time.monotonic() - started)
        return found

    async def check(self, call: Call) -> str:
        return await self.inner.check(call)


@dataclass
class TimedReranker:
    """A reranker whose times are taken: of a question it is asked once for passages, and then for sentences of them."""

    inner: Reranker
    measured: Measured
    asked_for: str = ""

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        stage = QUOTED if self.asked_for == query else RANKED
        self.asked_for = query
        started = time.monotonic()
        rankings = await self.inner.rerank(call, query, passages)
        self.measured.seconds[stage].append(time.monotonic() - started)
        return rankings

    async def status(self, call: Call) -> ComponentStatus:
        return await self.inner.status(call)


@dataclass
class TimedModel:
    """A language model whose times to the first token are taken."""

    inner: LanguageModel
    engine: LlamaCppEngine
    measured: Measured

    async def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Piece]:
        messages = to_messages(prompt)
        before = await self.engine.count_tokens(messages[:-1])
        self.measured.prompt_tokens.append(await self.engine.count_tokens(messages) - before)
        started = time.monotonic()
        has_begun = False
        async with aclosing(self.inner.generate(call, prompt)) as pieces:
            async for piece in pieces:
                if not has_begun:
                    self.measured.seconds[READ].append(time.monotonic() - started)
                has_begun = True
                yield piece

    async def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        async with aclosing(self.inner.read(call, prompt)) as counts:
            async for tokens in counts:
                yield tokens

    async def profile(self, call: Call) -> ModelProfile:
        return await self.inner.profile(call)

    async def status(self, call: Call) -> ComponentStatus:
        return await self.inner.status(call)


async def ask(chat: Chat, question: Question, collection: str, measured: Measured) -> None:
    """Ask one question of the services."""
    asked = ChatQuestion(question.text, retrieve=True, rerank=True, collection=collection)
    text, end, first = "", AnswerEnd(), 0.0
    started = time.monotonic()
    async with aclosing(chat.answer(Call.within(_WAIT_S), asked)) as items:
        async for item in items:
            if isinstance(item, AnswerToken):
                first = first or time.monotonic() - started
                text += item.text
            else:
                end = item
    if end.error_kind:
        raise RuntimeError(f"{question.text!r} was not answered: {end.error}")
    measured.seconds[FIRST].append(first)
    measured.seconds[WHOLE].append(time.monotonic() - started)
    measured.answered(question, text)
    print(f"  {first:.2f} s  {question.text}\n          {' '.join(text.split())[:150]}", file=sys.stderr)


def chosen(options: Options) -> list[tuple[Question, str]]:
    """Return the questions, each with its collection."""
    small = [(one, collection_of(one.kind)) for one in some_of(small_questions(), options.small)]
    judging = [one for one in real_questions() if not one.choosing]
    return small + [(one, _REAL) for one in some_of(judging, options.real)]


async def services_asked(options: Options, site: Site) -> Measured:
    """Ask the services in this process."""
    questions = chosen(options)
    async with local_services(site) as services:
        await services.ingest_small(question.kind for question, collection in questions if collection != _REAL)
        if options.real:
            folder = default_folder()
            await services.ingest(documents(folder), _REAL, folder / "documents")
        measured = Measured()
        chat = await _timed_chat(services, measured)
        for question, collection in questions:
            await ask(chat, question, collection, measured)
        return measured


async def _timed_chat(services: LocalServices, measured: Measured) -> Chat:
    engine = services.language_model(parallel=_SLOTS)
    model = LanguageModel(engine, answering(check_sentences=True))
    await model.warm(_WAIT_S)
    retrieval = Retrieval(
        TimedEmbeddings(services.embeddings, measured),
        TimedReranker(services.reranker, measured),
        TimedPassages(services.passages(services.settings.keyword_weight), measured),
        services.settings,
    )
    return Chat(TimedModel(model, engine, measured), retrieval)


async def graph_asked(options: Options, nats_url: str) -> Measured:
    """Ask the shipped graph."""
    measured = Measured()
    questions = chosen(options)
    async with connected(nats_url) as client:
        await until_ready(client)
        for kind in sorted({question.kind for question, collection in questions if collection != _REAL}):
            files, base = small_document(kind)
            await _put_in(client, files, base, collection_of(kind))
        if options.real:
            folder = default_folder()
            await _put_in(client, documents(folder), folder / "documents", _REAL)
        for question, collection in questions:
            await ask_graph(client, question, collection, measured)
    return measured


async def _put_in(client: HearthClient, files: Sequence[Path], base: Path, collection: str) -> None:
    summary = IngestSummary()
    named = name_files(list(files), [base], prefix="").files
    await ingest_files(client, named, IngestOptions(collection, _WAIT_S), summary, Unobserved())
    assert not summary.failed, summary.failed


async def ask_graph(client: HearthClient, question: Question, collection: str, measured: Measured) -> None:
    """Ask one question at a NATS client."""
    request = messages_pb2.ChatRequest(
        message=question.text, enable_rag=True, enable_reranker=True, enable_streaming=True, collection=collection
    )
    started, first = time.monotonic(), 0.0
    async with aclosing(client.ask(request, _WAIT_S)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatResponse):
                assert item.success, item.error
                measured.seconds[FIRST].append(first or time.monotonic() - started)
                measured.seconds[WHOLE].append(time.monotonic() - started)
                measured.answered(question, item.response)
            elif item.content:
                first = first or time.monotonic() - started


def figures(measured: Measured, title: str) -> list[Figure]:
    found = [median(f"{title}: tokens of the prompt that are new", measured.prompt_tokens)] * bool(
        measured.prompt_tokens
    )
    for stage in (EMBEDDED, SEARCHED, RANKED, READ, QUOTED, FIRST, WHOLE):
        if seconds := measured.seconds[stage]:
            found.append(median(f"{title}: {stage}", seconds, "s"))
            found.append(plain(f"{title}: {stage}, 90th percentile", percentile(seconds, 90) or 0.0, "s"))
    return [
        *found,
        share(f"{title}: answers that hold the fact", measured.right, measured.asked),
        share(f"{title}: answers in the model's own words", measured.own, measured.asked),
    ]


def run(options: Options, site: Site) -> list[Figure]:
    found = figures(asyncio.run(services_asked(options, site)), "in one process")
    if not options.graph:
        return found
    with site.shipped_graph() as graph:
        return [*found, *figures(asyncio.run(graph_asked(options, graph.nats_url)), "over NATS")]


BENCHMARK = Benchmark(
    "first_answer", __doc__, takes="ten minutes", needs=(Need.MODELS, Need.TEXTS), options=Options, run=run
)

if __name__ == "__main__":
    BENCHMARK.main()
