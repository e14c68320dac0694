"""What the graph costs on this machine: start, memory, and the times of a question and of a sentence at a NATS client.

It brings up a stack of its own beside whatever runs, from `hearth up`'s own code, asks questions of it, and takes it
down. Its smallest form asks a graph that is started in another way, and leaves out the start and what needs another
configuration.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from bridges.command_line.client import HearthClient, connected
from bridges.command_line.local.local_stack import LocalStack
from bridges.command_line.local.state import LocalState
from bridges.command_line.sound.saying import Said, unheard
from bridges.command_line.sound.saying import say as said_by
from bridges.generated.hearth.v1 import documents_pb2
from bridges.generated.messages.v1 import messages_pb2
from tests import servers
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, median, milliseconds, plain
from tests.benchmarks.shipped import serve_config
from tests.benchmarks.shipped_client import until_ready
from tests.benchmarks.site import Site

DOCUMENT = """# The ferry

## Tickets

A return ticket costs 18 euros. Children under six travel free.

## Timetable

The first ferry leaves the mainland at 6:40 in the morning. The last one returns from the island at 21:15.
"""
SENTENCE = "The first ferry leaves the mainland at six forty in the morning."
QUESTION = "When does the first ferry leave the mainland?"
COLLECTION = "benchmark"
_PROFILE_S = 12.0
"""Chat asks the model how it wants to be used every ten seconds."""


@dataclass(frozen=True)
class Options:
    rounds: int = option(15, 2, "questions per figure")
    start: bool = option(True, False, "whether a stack is started for it, and its start measured")


def proportional_set_size() -> int:
    """Return the bytes of memory of all processes that were started here.

    Shared pages are counted once among those that share them.
    """
    return sum(_pss(process.pid) for process in psutil.Process().children(recursive=True))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@dataclass(frozen=True)
class StartedStack:
    """A stack that was started as `hearth up` does.

    Attributes:
        nats_url: Where its clients connect.
        ready_s: Seconds from its start until it was ready.
        leave_out_check: Turns the sentence check off. Only `user_config` differs, so no model is loaded again.
    """

    nats_url: str
    ready_s: float
    leave_out_check: Callable[[], None]


@contextmanager
def started_stack() -> Generator[StartedStack]:
    """Run what `hearth up` runs, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder, state_in(Path(folder)):
        stack = LocalStack()
        unchecked = Path(folder) / "unchecked.yaml"
        unchecked.write_text(yaml.safe_dump(serve_config(check_sentences=False)))
        started = time.monotonic()
        try:
            state = stack.start(_untold)
            stack.deploy(state)
            asyncio.run(_ready(state.nats_url))
            ready_s = time.monotonic() - started
            yield StartedStack(state.nats_url, ready_s, lambda: _deployed(stack, state, unchecked))
        finally:
            stack.stop(_untold)


def _deployed(stack: LocalStack, state: LocalState, config: Path) -> None:
    """Deploy a configuration, and return once it runs."""
    stack.deploy(state, config)
    servers.wait_until("the graph", lambda: not stack.not_running(state), 180)


@contextmanager
def state_in(folder: Path) -> Generator[None]:
    """Have the command line's code keep its state in a folder, for as long as the block lasts."""
    before = os.environ.get("HEARTH_STATE")
    os.environ["HEARTH_STATE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["HEARTH_STATE"]
        else:
            os.environ["HEARTH_STATE"] = before


def _untold(message: str) -> None:
    del message


async def _ready(url: str) -> None:
    async with connected(url) as client:
        await until_ready(client)


async def ask(client: HearthClient, question: str = QUESTION) -> tuple[float, str]:
    """Return the seconds to the first token, and the answer."""
    request = messages_pb2.ChatRequest(
        message=question, enable_rag=True, enable_reranker=True, enable_streaming=True, collection=COLLECTION
    )
    started = time.monotonic()
    first = 0.0
    async with aclosing(client.ask(request, 60)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatResponse):
                assert item.success, item.error
                return first, item.response
            if item.content:
                first = first or time.monotonic() - started
    raise AssertionError("no response")


async def repeated(client: HearthClient, rounds: int, accept: Callable[[str], bool]) -> list[float]:
    """Ask the same question again and again; return the seconds to each first token but the first's."""
    firsts: list[float] = []
    for _ in range(rounds + 1):
        first, answer = await ask(client)
        assert accept(answer), answer
        firsts.append(first)
    return firsts[1:]


async def questions(url: str, rounds: int) -> list[Figure]:
    """Return how soon a question is answered."""
    async with connected(url) as client:
        await until_ready(client)
        document = documents_pb2.IngestRequest(
            source="ferry.md", text=DOCUMENT, format=documents_pb2.TEXT_FORMAT_MARKDOWN, collection=COLLECTION
        )
        await client.ingest(document, 60)
        checked = await repeated(client, rounds, lambda answer: "6:40" in answer)
    return [milliseconds("first checked sentence, question repeated", checked, at_most(600))]


async def unchecked_questions(stack: StartedStack, rounds: int) -> list[Figure]:
    """Return how soon the first token of an answer comes that is not checked."""
    await asyncio.to_thread(stack.leave_out_check)
    await asyncio.sleep(_PROFILE_S)
    async with connected(stack.nats_url) as client:
        unchecked = await repeated(client, rounds, bool)
    return [milliseconds("first token, question repeated, sentence check off", unchecked, at_most(100))]


async def sentences(url: str, rounds: int) -> list[Figure]:
    """Return how soon a sentence is heard, and how fast it is made."""
    async with connected(url) as client:
        spoken = [await say(client, f"{SENTENCE} Number {at}.") for at in range(rounds + 1)][1:]
    factors = [said.total_s / said.seconds for said in spoken]
    return [
        milliseconds("first sound of a sentence", [said.first_audio_s for said in spoken], at_most(60)),
        median("seconds to speak a second of speech", factors, "s", at_most(1)),
    ]


async def say(client: HearthClient, text: str) -> Said:
    """Have a sentence said."""
    return await said_by(client, messages_pb2.TTSRequest(text=text), 60, unheard)


def memory() -> Figure:
    return plain("proportional set size of all processes", proportional_set_size() / 1e9, "GB", at_most(4))


def run(options: Options, site: Site) -> list[Figure]:
    if options.start:
        with started_stack() as stack:
            figures = [plain("start to ready, everything installed", stack.ready_s, "s", at_most(60))]
            figures += asyncio.run(questions(stack.nats_url, options.rounds))
            figures += asyncio.run(unchecked_questions(stack, options.rounds))
            figures += asyncio.run(sentences(stack.nats_url, options.rounds))
            return [*figures, memory()]
    with site.shipped_graph() as graph:
        figures = asyncio.run(questions(graph.nats_url, options.rounds))
        return [*figures, *asyncio.run(sentences(graph.nats_url, options.rounds)), memory()]


BENCHMARK = Benchmark("thin_line", __doc__, takes="three minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
