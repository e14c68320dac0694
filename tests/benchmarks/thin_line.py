"""What the graph costs on this machine: start, memory, and the times of a question and of a sentence at a NATS client.

Run `uv run python -m tests.benchmarks.thin_line`. It brings up a stack of its own beside whatever runs, from
`hearth up`'s own code, asks questions of it, and takes it down. Figures are medians with the least and the most.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml

from bridges.command_line.client import HearthClient, connected
from bridges.command_line.local.local_stack import SERVE_CONFIG, LocalStack
from bridges.command_line.local.state import LocalState
from bridges.command_line.sound import saying
from bridges.command_line.sound.saying import Said
from bridges.generated.hearth.v1 import documents_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import UnavailableError

DOCUMENT = """# The ferry

## Tickets

A return ticket costs 18 euros. Children under six travel free.

## Timetable

The first ferry leaves the mainland at 6:40 in the morning. The last one returns from the island at 21:15.
"""
SENTENCE = "The first ferry leaves the mainland at six forty in the morning."
QUESTION = "When does the first ferry leave the mainland?"


@dataclass(frozen=True)
class Figure:
    """A measured quantity with the bar that it is held against."""

    name: str
    unit: str
    median: float
    least: float
    most: float
    bar: float

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float], bar: float) -> "Figure":
        return cls(name, unit, statistics.median(values), min(values), max(values), bar)

    def line(self) -> str:
        spread = f"{self.least:.3g} to {self.most:.3g}" if self.least != self.most else ""
        verdict = "met" if self.median <= self.bar else "MISSED"
        return f"{self.name:<58}{self.median:>9.3g} {self.unit:<4}{spread:>18}   at most {self.bar:g}: {verdict}"


def proportional_set_size(state: LocalState) -> int:
    """Return the bytes of memory of all processes of a stack, shared pages counted once among those that share them."""
    total = 0
    for started in state.processes.values():
        process = started.find()
        family = [process, *process.children(recursive=True)] if process else []
        total += sum(_pss(member.pid) for member in family)
    return total


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def config_without_check(folder: Path) -> Path:
    """Write serve_config.yaml with the sentence check off; only `user_config` differs, so no model is loaded again."""
    config = yaml.safe_load(SERVE_CONFIG.read_text())
    model = next(entry for entry in config["applications"] if entry["name"] == "language-model")
    model["deployments"][0]["user_config"]["answering"]["check_sentences"] = False
    changed = folder / "without_check.yaml"
    changed.write_text(yaml.safe_dump(config))
    return changed


async def until_ready(client: HearthClient) -> None:
    while True:
        try:
            if (await client.status(5)).ready:
                return
        except UnavailableError:
            await asyncio.sleep(0.1)


async def ask(client: HearthClient, question: str = QUESTION) -> tuple[float, int, str]:
    """Return the seconds to the first token, how many tokens came, and the answer."""
    request = messages_pb2.ChatRequest(
        message=question, enable_rag=True, enable_reranker=True, enable_streaming=True, collection="benchmark"
    )
    started = time.monotonic()
    first, tokens = 0.0, 0
    async with aclosing(client.ask(request, 60)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatResponse):
                assert item.success, item.error
                return first, tokens, item.response
            if item.content:
                first = first or time.monotonic() - started
                tokens += 1
    raise AssertionError("no response")


async def repeated(client: HearthClient, rounds: int, accept: Callable[[str], bool]) -> list[float]:
    """Ask the same question again and again; return the seconds to each first token but the first's."""
    firsts: list[float] = []
    for _ in range(rounds + 1):
        first, _, answer = await ask(client)
        assert accept(answer), answer
        firsts.append(first)
    return firsts[1:]


async def measure(stack: LocalStack, state: LocalState, folder: Path, rounds: int, ready_s: float) -> list[Figure]:
    figures = [Figure.of("start to ready", "s", [ready_s], 60)]
    async with connected(state.nats_url) as client:
        document = documents_pb2.IngestRequest(
            source="ferry.md", text=DOCUMENT, format=documents_pb2.TEXT_FORMAT_MARKDOWN, collection="benchmark"
        )
        await client.ingest(document, 60)
        checked = await repeated(client, rounds, lambda answer: "6:40" in answer)
        figures.append(Figure.of("first checked sentence, question repeated", "ms", _ms(checked), 600))
        # Chat asks the model how it wants to be used every ten seconds.
        await asyncio.to_thread(stack.deploy, state, lambda _: None, config_without_check(folder))
        await asyncio.sleep(12)
        unchecked = await repeated(client, rounds, bool)
        figures.append(Figure.of("first token, question repeated, sentence check off", "ms", _ms(unchecked), 100))
        spoken = [await say(client, f"{SENTENCE} Number {number}.") for number in range(rounds + 1)][1:]
        figures.append(Figure.of("first sound of a sentence", "ms", _ms([said.first_audio_s for said in spoken]), 60))
        factors = [said.total_s / said.seconds for said in spoken]
        figures.append(Figure.of("seconds to speak a second of speech", "s", factors, 1))
        gigabytes = proportional_set_size(state) / 1e9
        figures.append(Figure.of("proportional set size of all processes", "GB", [gigabytes], 4))
    return figures


async def say(client: HearthClient, text: str) -> Said:
    """Have a sentence said."""
    return await saying.say(client, messages_pb2.TTSRequest(text=text), 60, lambda *_: None)


def _ms(seconds: Sequence[float]) -> list[float]:
    return [1000 * value for value in seconds]


def run(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEARTH_STATE"] = folder
        stack = LocalStack()
        started = time.monotonic()
        try:
            state = stack.start(lambda _: None)
            stack.deploy(state, lambda _: None)

            async def work() -> list[Figure]:
                async with connected(state.nats_url) as client:
                    await until_ready(client)
                return await measure(stack, state, Path(folder), rounds, time.monotonic() - started)

            return asyncio.run(work())
        finally:
            stack.stop(lambda _: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="questions per figure (default 15)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    figures = run(arguments.rounds)
    machine = (
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, Python {platform.python_version()}"
    )
    print(f"The thin line on {machine}; medians of {arguments.rounds}\n")
    print("\n".join(figure.line() for figure in figures))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=2))


if __name__ == "__main__":
    main()
