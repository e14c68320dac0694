"""A question over 100,000 passages against one over 1,000: what the search costs, and what all else does.

    uv run python -m tests.benchmarks.large_collection

Both collections are of Hearth's own, in one Milvus: the small documents of the benchmarks, and around them passages of
their words, but for those of the questions, in no order, with random vectors. Questions with known answers are asked of
both in turns, by the shipped models, without Ray and NATS; the seconds of the search are taken apart from those of
everything else until the answer is whole. Each is asked twice: the first time the reranker reads passages that it never
saw, which are more in the large collection, and the second time it knows them in both.
"""

import argparse
import asyncio
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bridges.command_line.main import SAMPLES
from deployments.call import Call
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.documents import MilvusDocuments
from deployments.milvus.passages import MilvusPassages
from deployments.retrieval.service import Retrieval
from deployments.values.documents import Chunk, DocumentVersion
from deployments.values.embedded_chunks import EmbeddedChunks
from deployments.values.retrieval import Passage
from deployments.values.vectors import Vectors, unit_length
from tests.benchmarks.answers import ask
from tests.benchmarks.local_services import LocalServices, local_services
from tests.benchmarks.question_sets import DOCUMENTS, small_questions

_WAIT_S = 120.0
_AT_ONCE = 1_000
_DIMENSIONS = 384
_WORDS_OF_A_PASSAGE = 80
_WORD = re.compile(r"[a-z]{3,}")


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
        held: Answers that hold the fact.
    """

    first: Taken
    again: Taken
    held: int


def noise_words() -> Counter[str]:
    """Return the words of the small documents, with how often they are there, but for those of the questions."""
    words = Counter(word for file in sorted(DOCUMENTS.iterdir()) for word in _WORD.findall(file.read_text().lower()))
    for question in small_questions():
        for word in _WORD.findall(question.text.lower()):
            words.pop(word, None)
    return words


async def fill(services: LocalServices, collection: str, size: int) -> None:
    """Put the small documents and random passages into a collection, until there are so many."""
    there = await services.ingest(sorted(DOCUMENTS.iterdir()), collection, DOCUMENTS)
    there += await services.ingest(sorted(SAMPLES.iterdir()), collection, SAMPLES)
    documents = MilvusDocuments(MilvusConnection(services.uri))
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
    await documents.close()


async def measure(sizes: Sequence[int], folder: Path) -> dict[int, Result]:
    """Return, by size, what the answers took, and how many of them hold the fact."""
    async with local_services(folder) as services:
        store = TimedPassages(services.passages(services.settings.keyword_weight))
        chat = services.chat(Retrieval(services.embeddings, services.reranker, store, services.settings))
        for size in sizes:
            await fill(services, f"of_{size}", size)
        questions = small_questions()
        for question in questions[:3]:
            await ask(chat, question.text, f"of_{sizes[0]}")

        async def timed(question: str, size: int, taken: Taken) -> str:
            store.seconds.clear()
            started = time.monotonic()
            answer = await ask(chat, question, f"of_{size}")
            taken.search.append(sum(store.seconds))
            taken.rest.append(time.monotonic() - started - taken.search[-1])
            return answer

        taken = {size: (Taken(), Taken()) for size in sizes}
        held = dict.fromkeys(sizes, 0)
        for number, question in enumerate(questions):
            # What comes second finds the documents' token vectors and the prompt read, so they take turns.
            turns = sizes if number % 2 else [*reversed(sizes)]
            for size in turns:
                answer = await timed(question.text, size, taken[size][0])
                held[size] += bool(question.fact.search(answer))
            for size in turns:
                await timed(question.text, size, taken[size][1])
    return {size: Result(*taken[size], held[size]) for size in sizes}


def show(results: Mapping[int, Result]) -> None:
    for name in ("first", "again"):
        print(f"asked {'for the first time' if name == 'first' else 'again'}")
        print(f"{'passages':>10}{'search':>10}{'all else':>10}")
        for size, result in results.items():
            taken: Taken = getattr(result, name)
            search, rest = statistics.median(taken.search), statistics.median(taken.rest)
            print(f"{size:>10,}{search * 1000:>7.0f} ms{rest * 1000:>7.0f} ms")
        small, large = (getattr(result, name).rest for result in results.values())
        ratio = statistics.median(one / other for one, other in zip(large, small, strict=True))
        print(f"all else, median of the paired ratios: {ratio:.2f}")
    for size, result in results.items():
        print(f"answers over {size:,} that hold the fact: {result.held} of {len(result.first.rest)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000, help="of the large collection")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(asyncio.run(measure((1_000, options.passages), Path(folder))))


if __name__ == "__main__":
    main()
