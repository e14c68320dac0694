"""A question over 100,000 passages against one over 1,000: what the search costs, and what all else does.

    uv run python -m tests.benchmarks.large_collection

Both collections are of Hearth's own, in one Milvus: the small documents of the benchmarks, and around them passages of
random words with random vectors. Questions with known answers are asked of both in turns, by the shipped models,
without Ray and NATS; the seconds of the search are taken apart from those of everything else until the answer is whole.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bridges.command_line.main import SAMPLES
from deployments.call import Call
from deployments.chunking import Chunk
from deployments.embedded_chunks import EmbeddedChunks
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.documents import MilvusDocuments
from deployments.milvus.passages import MilvusPassages
from deployments.retrieval import Retrieval
from deployments.values import DocumentVersion, Passage
from deployments.vectors import Vectors, unit_length
from tests.benchmarks.answers import ask
from tests.benchmarks.local_services import LocalServices, local_services
from tests.benchmarks.question_sets import DOCUMENTS, small_questions

_WAIT_S = 120.0
_AT_ONCE = 1_000
_DIMENSIONS = 384
_WORDS = 20_000
_WORDS_OF_A_PASSAGE = 80


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


async def fill(services: LocalServices, collection: str, size: int) -> None:
    """Put the small documents and random passages into a collection, until there are so many."""
    there = await services.ingest(sorted(DOCUMENTS.iterdir()), collection, DOCUMENTS)
    there += await services.ingest(sorted(SAMPLES.iterdir()), collection, SAMPLES)
    documents = MilvusDocuments(MilvusConnection(services.uri))
    generator, chance = np.random.default_rng(size), random.Random(size)
    # As frequent as words are: the nth most frequent one 1/n as often as the first.
    weights = [1 / rank for rank in range(1, _WORDS + 1)]
    words = [f"word{number}" for number in range(_WORDS)]
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


async def measure(sizes: Sequence[int], folder: Path) -> dict[int, tuple[list[float], list[float], int]]:
    """Return, by size, the seconds of the search, those of all else, and how many answers hold the fact."""
    results: dict[int, tuple[list[float], list[float], int]] = {}
    async with local_services(folder) as services:
        store = TimedPassages(services.passages(services.settings.keyword_weight))
        chat = services.chat(Retrieval(services.embeddings, services.reranker, store, services.settings))
        for size in sizes:
            await fill(services, f"of_{size}", size)
        questions = small_questions()
        for question in questions[:3]:
            await ask(chat, question.text, f"of_{sizes[0]}")
        taken: dict[int, tuple[list[float], list[float]]] = {size: ([], []) for size in sizes}
        held = dict.fromkeys(sizes, 0)
        for number, question in enumerate(questions):
            # What comes second finds the passages' token vectors and the prompt read, so they take turns.
            for size in sizes if number % 2 else reversed(sizes):
                store.seconds.clear()
                started = time.monotonic()
                answer = await ask(chat, question.text, f"of_{size}")
                search_s = sum(store.seconds)
                taken[size][0].append(search_s)
                taken[size][1].append(time.monotonic() - started - search_s)
                held[size] += bool(question.fact.search(answer))
        for size in sizes:
            results[size] = (*taken[size], held[size])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000, help="of the large collection")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(measure((1_000, options.passages), Path(folder)))
    print(f"{'passages':>10}{'search':>10}{'all else':>10}{'answers that hold the fact':>30}")
    for size, (search, rest, held) in results.items():
        print(
            f"{size:>10,}{statistics.median(search) * 1000:>7.0f} ms{statistics.median(rest) * 1000:>7.0f} ms"
            f"{held:>24} of {len(rest)}"
        )
    small, large = (rest for _, rest, _ in results.values())
    ratio = statistics.median(one / other for one, other in zip(large, small, strict=True))
    print(f"all else, median of the paired ratios: {ratio:.2f}")


if __name__ == "__main__":
    main()
