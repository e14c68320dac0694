"""A question over 100,000 passages against one over 1,000: what the search costs, and what all else does.

Both collections are of Hearth's own, in one Milvus: the small documents of the benchmarks, and around them passages of
their words, but for those of the questions, in no order, with random vectors. Questions with known answers are asked of
both in turns, by the shipped models, without Ray and NATS; the seconds of the search are taken apart from those of
everything else until the answer is whole. Each is asked twice: the first time the reranker reads passages that it never
saw, which are more in the large collection, and the second time it knows them in both.
"""

import asyncio
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from deployments.call import Call
from deployments.milvus.documents import MilvusDocuments
from deployments.milvus.passages import MilvusPassages
from deployments.retrieval.service import Retrieval
from deployments.values.documents import Chunk, DocumentVersion
from deployments.values.embedded_chunks import EmbeddedChunks
from deployments.values.retrieval import Passage
from deployments.values.vectors import Vectors, unit_length
from tests.benchmarks.answers import ask
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, milliseconds, ratio, share
from tests.benchmarks.local_services import LocalServices, local_services
from tests.benchmarks.question_sets import DOCUMENTS, small_document, small_questions, some_of
from tests.benchmarks.shipped import shipped_answering
from tests.benchmarks.site import Site

_WAIT_S = 120.0
_AT_ONCE = 1_000
_DIMENSIONS = 384
_WORDS_OF_A_PASSAGE = 80
_WORD = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True)
class Options:
    small: int = option(1_000, 60, "passages of the small collection")
    large: int = option(100_000, 120, "passages of the large collection")
    uncounted: int = option(3, 0, "questions before all others, which find nothing warm")
    questions: int = option(50, 1, "that count")


class TimedPassages:
    """Passes searches on, and keeps what they took."""

    def __init__(self, passages: MilvusPassages) -> None:
        self._passages = passages
        self.seconds: list[float] = []

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        started = time.monotonic()
        found = await self._passages.search(call, collection, question, vector, limit)
        self.seconds.append(time.monotonic() - started)
        return found

    async def check(self, call: Call) -> str:
        return await self._passages.check(call)


@dataclass(frozen=True)
class Taken:
    """What the answers to all questions took, in seconds, in the order of the questions.

    Attributes:
        search: Of the search.
        rest: Of all else until the answer is whole.
    """

    search: list[float] = field(default_factory=list[float])
    rest: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Result:
    """What came of asking one collection.

    Attributes:
        first: When a question is asked for the first time.
        again: When it is asked again.
        held: For each question, whether its first answer holds the fact.
    """

    first: Taken = field(default_factory=Taken)
    again: Taken = field(default_factory=Taken)
    held: list[bool] = field(default_factory=list[bool])


def noise_words() -> Counter[str]:
    """Return the words of the small documents, with how often they are there, but for those of the questions."""
    words = Counter(word for file in sorted(DOCUMENTS.iterdir()) for word in _WORD.findall(file.read_text().lower()))
    for question in small_questions():
        for word in _WORD.findall(question.text.lower()):
            words.pop(word, None)
    return words


async def fill(services: LocalServices, collection: str, size: int, kinds: Iterable[str]) -> None:
    """Put small documents and random passages into a collection, until there are so many."""
    there = 0
    for kind in sorted(set(kinds)):
        files, base = small_document(kind)
        there += await services.ingest(files, collection, base)
    documents = MilvusDocuments(services.connection)
    generator, chance = np.random.default_rng(size), random.Random(size)
    counted = noise_words()
    words, weights = list(counted), list(counted.values())
    while there < size:
        count = min(_AT_ONCE, size - there)
        chunks = [
            Chunk(" ".join(chance.choices(words, weights, k=_WORDS_OF_A_PASSAGE)), ("Noise",)) for _ in range(count)
        ]
        vectors = unit_length(generator.normal(size=(count, _DIMENSIONS)).astype(np.float32))
        version = DocumentVersion(f"noise {there}", f"{there:032x}")
        await documents.finish(Call.within(_WAIT_S), collection, version, EmbeddedChunks(0, chunks, vectors))
        there += count
        print(f"\r{collection}: {there:,}", end="", file=sys.stderr)
    print(file=sys.stderr)


async def measure(options: Options, site: Site) -> list[Figure]:
    sizes = (options.small, options.large)
    async with local_services(site) as services:
        store = TimedPassages(services.passages(services.settings.keyword_weight))
        retrieval = Retrieval(services.embeddings, services.reranker, store, services.settings)
        chat = services.chat(retrieval, services.language_model(), shipped_answering())
        questions = some_of(small_questions(), options.questions)
        for size in sizes:
            await fill(services, f"of_{size}", size, (question.kind for question in questions))
        for question in questions[: options.uncounted]:
            await ask(chat, question.text, f"of_{sizes[0]}")

        async def timed(question: str, size: int, taken: Taken) -> str:
            store.seconds.clear()
            started = time.monotonic()
            answer = await ask(chat, question, f"of_{size}")
            taken.search.append(sum(store.seconds))
            taken.rest.append(time.monotonic() - started - taken.search[-1])
            return answer

        results = {size: Result() for size in sizes}
        for at, question in enumerate(questions):
            # What comes second finds the documents' token vectors and the prompt read, so they take turns.
            turns = sizes if at % 2 else [*reversed(sizes)]
            for size in turns:
                answer = await timed(question.text, size, results[size].first)
                results[size].held.append(bool(question.fact.search(answer)))
            for size in turns:
                await timed(question.text, size, results[size].again)
    return figures(results, options)


def figures(results: Mapping[int, Result], options: Options) -> list[Figure]:
    found: list[Figure] = []
    small, large = results[options.small], results[options.large]
    for when, of_small, of_large in (
        ("asked for the first time", small.first, large.first),
        ("asked again", small.again, large.again),
    ):
        for size, taken in ((options.small, of_small), (options.large, of_large)):
            found += [
                milliseconds(f"{when}, {size:,} passages: search", taken.search),
                milliseconds(f"{when}, {size:,} passages: all else", taken.rest),
            ]
        found.append(ratio(f"{when}: all else, large to small", of_large.rest, of_small.rest))
    for size, result in results.items():
        found.append(share(f"answers over {size:,} passages that hold the fact", sum(result.held), len(result.held)))
    return found


def run(options: Options, site: Site) -> list[Figure]:
    return asyncio.run(measure(options, site))


BENCHMARK = Benchmark("large_collection", __doc__, takes="ten minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
