"""Ingestion against the bare embedder: chunks per second, and the memory of the processes while it runs.

Documents of real text, until there are 10,000 chunks, go as files through NATS and the shipped graph into Milvus, as
`hearth ingest` sends them. Before and after, the embedding model embeds chunks of the same files in this process: with
nothing else running, and beside the graph at rest, which on two cores takes a tenth of them. Memory is what each
process shares with nobody. Without real texts the small documents of the benchmarks are taken.

With --ask a question is asked every five seconds, too, at rest and while documents go in; its answer takes cores from
the embedding model, so the ratios are then not those of ingestion alone.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bridges.command_line.client import connected
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.files.naming import name_files
from bridges.command_line.main import SAMPLES
from bridges.generated.messages.v1 import messages_pb2
from deployments.call import Call
from deployments.engines.vectors.onnx_embeddings import OnnxEmbeddings
from deployments.engines.vectors.onnx_encoder import OnnxEncoder
from deployments.ingestion.chunking import chunk_text
from deployments.models.store import ModelStore
from deployments.values.documents import TextFormat
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, median, plain
from tests.benchmarks.question_sets import DOCUMENTS
from tests.benchmarks.real_texts import default_folder, documents
from tests.benchmarks.shipped import embeddings_folder
from tests.benchmarks.shipped_client import until_ready
from tests.benchmarks.site import Site

_SAMPLE = 1_000
_TOGETHER = 128
_WAIT_S = 300.0
_LOOK_S = 5.0
_PART_CHARACTERS = 40_000
_ASKED = "house"
_QUESTION = "How long does the remote site keep monthly snapshots?"
_OF_THE_PATH = ("Embeddings", "Ingestion", "NatsIngress", "milvus-lite")


@dataclass(frozen=True)
class Options:
    chunks: int = option(10_000, 10, "how many, at least")
    ask: bool = option(False, True, "whether questions are asked, too")
    asked_at_rest: int = option(5, 1, "questions before documents go in")
    real_texts: bool = option(True, False, "whether real texts are fetched")
    folder: str = option("", "", "of the real texts; empty: one in the cache of this user")


def write_files(folder: Path, texts: Sequence[str], chunks: int) -> tuple[list[Path], list[str]]:
    """Write texts as files, again under other names until there are enough chunks.

    Returns:
        The files, and what is embedded of them.
    """
    files: list[Path] = []
    pieces: list[str] = []
    while len(pieces) < chunks:
        for text in texts:
            file = folder / f"{len(files):04}.txt"
            # No two files are the same.
            file.write_text(f"Number {len(files)}\n\n{text}")
            files.append(file)
            made = chunk_text(file.read_text(), TextFormat.PLAIN, headings=(file.stem,)).chunks
            pieces.extend(f"{' > '.join(chunk.headings)}\n{chunk.text}" for chunk in made)
            if len(pieces) >= chunks:
                break
    return files, pieces


def parts(options: Options) -> list[str]:
    """Return the texts in parts of some 40 pages."""
    folder = Path(options.folder) if options.folder else default_folder()
    files = documents(folder) if options.real_texts else sorted(DOCUMENTS.iterdir())
    whole = [file.read_text() for file in files if file.suffix in {".txt", ".md"}]
    return [text[at : at + _PART_CHARACTERS] for text in whole for at in range(0, len(text), _PART_CHARACTERS)]


async def bare_rate(engine: OnnxEmbeddings, pieces: Sequence[str]) -> float:
    """Return the chunks per second of the embedding model alone."""
    started = time.monotonic()
    for at in range(0, len(pieces), _TOGETHER):
        await engine.embed(Call.within(_WAIT_S), pieces[at : at + _TOGETHER])
    return len(pieces) / (time.monotonic() - started)


def memory() -> dict[str, int]:
    """Return the unshared memory of the processes on the path of a document, in bytes."""
    found: dict[str, int] = {"this client": psutil.Process().memory_full_info().uss}
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            name = next((name for name in _OF_THE_PATH if name in command), "")
            if name:
                found[name] = process.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
    return found


async def watch(seen: dict[str, list[int]]) -> None:
    """Look at the memory until cancelled."""
    while True:
        for name, size in (await asyncio.to_thread(memory)).items():
            seen[name].append(size)
        await asyncio.sleep(_LOOK_S)


async def ingest_samples(url: str) -> None:
    """Put the documents that come with Hearth into a collection of their own."""
    files = name_files(sorted(SAMPLES.iterdir()), [SAMPLES], prefix="").files
    async with connected(url) as client:
        await ingest_files(client, files, IngestOptions(_ASKED, _WAIT_S), IngestSummary(), Unobserved())


async def ask(url: str) -> float:
    """Return the seconds until the first text of an answer."""
    started = time.monotonic()
    request = messages_pb2.ChatRequest(
        message=_QUESTION, collection=_ASKED, enable_rag=True, enable_reranker=True, enable_streaming=True
    )
    async with connected(url) as client, aclosing(client.ask(request, _WAIT_S)) as items:
        await anext(items)
        return time.monotonic() - started


async def ask_over_and_over(url: str, taken: list[float]) -> None:
    """Ask until cancelled."""
    while True:
        taken.append(await ask(url))
        await asyncio.sleep(_LOOK_S)


async def ingest(
    url: str, files: list[Path], base: Path, beside: Sequence[Coroutine[None, None, None]]
) -> tuple[IngestSummary, float]:
    """Ingest the files with other things going on beside; return what became of them and the seconds it took."""
    summary = IngestSummary()
    async with connected(url) as client:
        tasks = [asyncio.create_task(one) for one in beside]
        started = time.monotonic()
        named = name_files(files, [base], prefix="").files
        await ingest_files(client, named, IngestOptions("bulk", _WAIT_S), summary, Unobserved())
        seconds = time.monotonic() - started
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return summary, seconds


@dataclass
class Measured:
    """What was measured.

    Attributes:
        alone: Chunks per second of the bare embedding model, with nothing else running, before and after.
        beside: The same beside the graph at rest.
        rate: Chunks per second through the graph.
        memory: Unshared bytes of each process, as often as it was looked at.
        at_rest: Seconds to the first text of an answer while nothing else goes on.
        busy: The same while documents go in.
    """

    alone: list[float] = field(default_factory=list[float])
    beside: list[float] = field(default_factory=list[float])
    rate: float = 0.0
    memory: dict[str, list[int]] = field(default_factory=lambda: defaultdict[str, list[int]](list))
    at_rest: list[float] = field(default_factory=list[float])
    busy: list[float] = field(default_factory=list[float])

    def figures(self) -> list[Figure]:
        found = [plain("through NATS, the graph and Milvus", self.rate, "per s")]
        for name, rates in (("alone", self.alone), ("beside the graph at rest", self.beside)):
            mean = statistics.mean(rates)
            found.append(plain(f"bare embedder {name}, mean of before and after", mean, "per s"))
            found.append(plain(f"through the graph to bare embedder {name}", self.rate / mean))
        found += _of_memory(self.memory)
        if self.at_rest:
            found.append(median("first text of an answer, at rest", self.at_rest, "s"))
        if self.busy:
            found.append(median("first text of an answer, while documents go in", self.busy, "s"))
            found.append(plain("the same, at most", max(self.busy), "s"))
        return found


def _of_memory(seen: Mapping[str, Sequence[int]]) -> list[Figure]:
    found: list[Figure] = []
    for name, sizes in seen.items():
        points = {"at the start": sizes[0], "half of the way": sizes[len(sizes) // 2], "at the end": sizes[-1]}
        found += [plain(f"unshared memory of {name}, {when}", size / 1e6, "MB") for when, size in points.items()]
    return found


async def through_graph(url: str, folder: Path, files: list[Path], options: Options, into: Measured) -> None:
    """Put the files in, and ask meanwhile if asked for."""
    going_on = [watch(into.memory)]
    if options.ask:
        await ingest_samples(url)
        # The first answer finds nothing warm.
        await ask(url)
        into.at_rest += [await ask(url) for _ in range(options.asked_at_rest)]
        going_on.append(ask_over_and_over(url, into.busy))
    summary, seconds = await ingest(url, files, folder, going_on)
    if summary.failed:
        raise RuntimeError(f"not ingested: {summary.failed}")
    into.rate = summary.chunks / seconds


async def ready(url: str) -> None:
    """Return once the graph answers."""
    async with connected(url) as client:
        await until_ready(client)


def run(options: Options, site: Site) -> list[Figure]:
    measured = Measured()
    engine = OnnxEmbeddings(OnnxEncoder(embeddings_folder(ModelStore.from_environment())))
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        files, pieces = write_files(folder, parts(options), options.chunks)
        sample = pieces[:: max(1, len(pieces) // _SAMPLE)]
        asyncio.run(bare_rate(engine, sample[:_TOGETHER]))
        measured.alone.append(asyncio.run(bare_rate(engine, sample)))
        print(f"{len(files)} files; bare embedder {measured.alone[0]:.1f} chunks per second", file=sys.stderr)
        with site.shipped_graph() as graph:
            asyncio.run(ready(graph.nats_url))
            measured.beside.append(asyncio.run(bare_rate(engine, sample)))
            asyncio.run(through_graph(graph.nats_url, folder, files, options, measured))
            measured.beside.append(asyncio.run(bare_rate(engine, sample)))
        measured.alone.append(asyncio.run(bare_rate(engine, sample)))
    asyncio.run(engine.close())
    return measured.figures()


BENCHMARK = Benchmark(
    "ingestion", __doc__, takes="eight minutes", needs=(Need.MODELS, Need.TEXTS), options=Options, run=run
)

if __name__ == "__main__":
    BENCHMARK.main()
