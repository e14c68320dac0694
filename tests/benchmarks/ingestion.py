"""Ingestion against the bare embedder: chunks per second, and the memory of the processes while it runs.

    uv run python -m tests.benchmarks.ingestion

Documents of real text, until there are 10,000 chunks, go as files through NATS and the shipped graph into Milvus, as
`hearth ingest` sends them. Before and after, the embedding model embeds chunks of the same files in this process: with
nothing else running, and beside the graph at rest, which on two cores takes a tenth of them. Memory is what each
process shares with nobody.

With --ask a question is asked every five seconds, too, at rest and while documents go in; its answer takes cores from
the embedding model, so the ratios are then not those of ingestion alone.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path

import psutil

from bridges.command_line.client import connected
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.main import SAMPLES
from bridges.generated.messages.v1 import messages_pb2
from deployments.call import Call
from deployments.engines.vectors.onnx_embeddings import OnnxEmbeddings
from deployments.ingestion.chunking import chunk_text
from deployments.models.store import ModelStore
from deployments.values.documents import TextFormat
from tests.benchmarks.real_texts import default_folder, documents
from tests.benchmarks.spoken_answers import stack, until_ready

_SAMPLE = 1_000
_TOGETHER = 128
_WAIT_S = 300.0
_LOOK_S = 5.0
_PART_CHARACTERS = 40_000
_ASKED = "house"
_ASKED_AT_REST = 6
_QUESTION = "How long does the remote site keep monthly snapshots?"
_OF_THE_PATH = ("Embeddings", "Ingestion", "NatsIngress", "milvus-lite")


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
            made, _ = chunk_text(file.read_text(), TextFormat.PLAIN, headings=(file.stem,))
            pieces.extend(f"{' > '.join(chunk.headings)}\n{chunk.text}" for chunk in made)
            if len(pieces) >= chunks:
                break
    return files, pieces


def real_parts(folder: Path) -> list[str]:
    """Return the real texts in parts of some 40 pages."""
    whole = [file.read_text() for file in documents(folder) if file.suffix in {".txt", ".md"}]
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
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        name = next((name for name in _OF_THE_PATH if name in command), "")
        if name:
            found[name] = process.memory_full_info().uss
    return found


async def watch(seen: dict[str, list[int]]) -> None:
    """Look at the memory until cancelled."""
    while True:
        for name, size in (await asyncio.to_thread(memory)).items():
            seen[name].append(size)
        await asyncio.sleep(_LOOK_S)


async def ingest_samples(url: str) -> None:
    """Put the documents that come with Hearth into a collection of their own."""
    options = IngestOptions(_ASKED, _WAIT_S, SAMPLES)
    async with connected(url) as client:
        await ingest_files(client, sorted(SAMPLES.iterdir()), options, IngestSummary(), Unobserved())


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


async def ready(url: str) -> None:
    """Return once the graph answers."""
    async with connected(url) as client:
        await until_ready(client)


async def ingest(
    url: str, files: list[Path], base: Path, beside: Sequence[Coroutine[None, None, None]]
) -> tuple[IngestSummary, float]:
    """Ingest the files with other things going on beside; return what became of them and the seconds it took."""
    summary = IngestSummary()
    async with connected(url) as client:
        tasks = [asyncio.create_task(one) for one in beside]
        started = time.monotonic()
        await ingest_files(client, files, IngestOptions("bulk", _WAIT_S, base), summary, Unobserved())
        seconds = time.monotonic() - started
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return summary, seconds


def show(
    summary: IngestSummary,
    seconds: float,
    alone: Sequence[float],
    beside: Sequence[float],
    seen: dict[str, list[int]],
) -> None:
    rate = summary.chunks / seconds
    print(f"{summary.documents} documents, {summary.chunks} chunks in {seconds:.0f} s: {rate:.1f} chunks per second")
    for name, rates in (("alone", alone), ("beside the graph at rest", beside)):
        shown = ", ".join(f"{one:.1f}" for one in rates)
        ratio = rate / statistics.mean(rates)
        print(f"bare embedder {name}, before and after: {shown} chunks per second; ratio to their mean {ratio:.2f}")
    print(f"{'unshared memory, MB':<24}{'start':>8}{'quarter':>9}{'half':>7}{'end':>7}{'most':>7}")
    for name, sizes in seen.items():
        points = [sizes[0], sizes[len(sizes) // 4], sizes[len(sizes) // 2], sizes[-1], max(sizes)]
        print(f"{name:<24}{''.join(f'{point / 1e6:>8.0f}' for point in points)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000, help="how many, at least")
    parser.add_argument("--ask", action="store_true", help="ask questions, too")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="of the texts; default: %(default)s")
    options = parser.parse_args()
    model = ModelStore.from_environment().locate("all-minilm-l6-v2", "embeddings")
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        (folder / "files").mkdir()
        files, pieces = write_files(folder / "files", real_parts(options.folder), options.chunks)
        sample = pieces[:: max(1, len(pieces) // _SAMPLE)]
        engine = OnnxEmbeddings(model)
        asyncio.run(bare_rate(engine, sample[:_TOGETHER]))
        alone = [asyncio.run(bare_rate(engine, sample))]
        print(f"{len(files)} files; bare embedder {alone[0]:.1f} chunks per second", file=sys.stderr)
        url = running.enter_context(stack())
        asyncio.run(ready(url))
        beside = [asyncio.run(bare_rate(engine, sample))]
        seen: dict[str, list[int]] = defaultdict(list)
        going_on = [watch(seen)]
        at_rest: list[float] = []
        waited: list[float] = []
        if options.ask:
            asyncio.run(ingest_samples(url))
            at_rest += [asyncio.run(ask(url)) for _ in range(_ASKED_AT_REST)]
            going_on.append(ask_over_and_over(url, waited))
        summary, seconds = asyncio.run(ingest(url, files, folder / "files", going_on))
        beside.append(asyncio.run(bare_rate(engine, sample)))
        running.close()
        alone.append(asyncio.run(bare_rate(engine, sample)))
        show(summary, seconds, alone, beside, seen)
        if options.ask:
            rest, busy = statistics.median(at_rest[1:]), statistics.median(waited)
            print(f"first text of an answer at rest {rest:.2f} s, while documents go in {busy:.2f} s, ", end="")
            print(f"at most {max(waited):.2f} s of {len(waited)}")


if __name__ == "__main__":
    main()
