"""What Hearth costs, against the design that it replaces, with models that cost nothing.

Three sides answer on one NATS server, each in an account of its own, and call the same model replicas: the replaced
design (`tests/benchmarks/replaced_design.py`), Hearth with its services apart, and Hearth with the services in the
ingress's replica. Each round measures all three, one after the other; a ratio is the median of the rounds' ratios. CPU
is that of all processes but this one, the client, less what they take when idle.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import httpx
import nats
import nats.errors
import psutil
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import STATUS
from tests import servers
from tests.benchmarks.benchmark import Benchmark, option
from tests.benchmarks.figures import Bar, Figure, at_least, at_most, median, middle_of, percentile, plain, ratio
from tests.benchmarks.site import Site
from tests.benchmarks.stand_in_graph import MAX_IN_FLIGHT, ZERO_COST_SERVICES, Side, StandInGraph
from tests.benchmarks.zero_cost_graph import PASSAGES
from tests.benchmarks.zero_cost_models import ENDED, SYSTEM

SUBJECT = "ai.chat.request"
RETRIEVAL_CHAT = messages_pb2.ChatRequest(
    message="What does the handbook say?", enable_rag=True, enable_reranker=True
).SerializeToString()
STREAMS = 32
TOKEN_PERIOD_MS = 20
_ANSWER_S = 60
_NOBODY = "benchmark.nobody"


@dataclass(frozen=True)
class Options:
    rounds: int = option(7, 1, "interleaved rounds")
    requests: int = option(100, 3, "questions one at a time, each round")
    in_flight: int = option(32, 12, "questions that are open at once, where they are not asked one at a time")
    seconds: float = option(3.0, 0.2, "with questions open at once, each round")
    stream_tokens: int = option(500, 20, "of a stream")
    overloads: int = option(5, 1, "rounds at more than capacity")
    overload: float = option(5.0, 0.3, "seconds of each")
    loads: str = option("3,10", "15", "what is asked there, as multiples of capacity")
    leaves: int = option(5, 1, f"how often {STREAMS} streams are left at once")
    apart: bool = option(True, False, "whether Hearth is measured with its services apart, too")
    idle: float = option(5.0, 0.2, "seconds to measure the idle share")


@dataclass
class Samples:
    """What was measured of one side, one value a round."""

    latency_ms: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])
    cpu_ms_loaded: list[float] = field(default_factory=list[float])
    requests_per_s: list[float] = field(default_factory=list[float])
    tokens_per_s: list[float] = field(default_factory=list[float])
    first_token_ms: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Row:
    """A quantity of all sides.

    Attributes:
        title: What it is.
        unit: Of the quantity.
        values: Of the rounds.
        bars: What the ratio of each of Hearth's sides to the replaced design should keep to.
    """

    title: str
    unit: str
    values: Callable[[Samples], list[float]]
    bars: Mapping[Side, Bar] = field(default_factory=dict[Side, Bar])


def _bars(apart: Bar, together: Bar) -> dict[Side, Bar]:
    return {Side.APART: apart, Side.TOGETHER: together}


ROWS = (
    Row("added latency, one at a time", "ms", lambda one: one.latency_ms, _bars(at_most(0.35), at_most(0.25))),
    Row("CPU per retrieval chat, one at a time", "ms", lambda one: one.cpu_ms, _bars(at_most(0.3), at_most(0.2))),
    Row("CPU per retrieval chat, many at once", "ms", lambda one: one.cpu_ms_loaded, _bars(at_most(0.3), at_most(0.2))),
    Row("retrieval chats, many at once", "per s", lambda one: one.requests_per_s, _bars(at_least(4), at_least(6))),
    Row(
        "tokens of one stream, a message each",
        "per s",
        lambda one: one.tokens_per_s,
        _bars(at_least(1.5), at_least(2)),
    ),
    Row("first token of that stream", "ms", lambda one: one.first_token_ms),
)


@contextmanager
def replaced_design(graph: StandInGraph) -> Generator[None]:
    """Run the design that Hearth replaces for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.json"
        passages = [{"text": passage.embedded_text(), "source": passage.source} for passage in PASSAGES]
        corpus.write_text(json.dumps({"system": SYSTEM, "passages": passages}))
        command = [servers.program("python"), "-m", "tests.benchmarks.replaced_design", graph.nats_url(Side.REPLACED)]
        command += [graph.http_url, str(corpus), str(MAX_IN_FLIGHT)]
        with servers.running(command, Path(folder) / "replaced.log"):
            yield


class Asker:
    """A client over one NATS connection. It shares the cores with what it measures, so it costs as little as it can."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._number = 0
        self._waiting: dict[str, Callable[[bytes], None]] = {}

    async def start(self) -> None:
        """Hear answers from now on."""

        async def answered(message: Msg) -> None:
            self._waiting.pop(message.subject)(message.data)

        await self._client.subscribe(f"{self._inbox}.*", cb=answered)

    async def post(self, payload: bytes, answered: Callable[[bytes], None], subject: str = SUBJECT) -> None:
        """Send a request; `answered` is called with what comes back."""
        self._number += 1
        reply = f"{self._inbox}.{self._number}"
        self._waiting[reply] = answered
        await self._client.publish(subject, payload, reply=reply)

    async def ask(self, payload: bytes, subject: str = SUBJECT) -> bytes:
        """Return what comes back."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        await self.post(payload, answer.set_result, subject)
        return await asyncio.wait_for(answer, _ANSWER_S)

    async def stream(self, message: str) -> tuple[float, float, int]:
        """Return the seconds to the first token and to the last, and how many came."""
        self._number += 1
        request_id = f"{id(self):x}-{self._number}"
        request = messages_pb2.ChatRequest(request_id=request_id, message=message, enable_streaming=True)
        finished = asyncio.Event()
        first, last, count = 0.0, 0.0, 0

        async def chunk(received: Msg) -> None:
            nonlocal first, last, count
            last = time.perf_counter()
            first = first or last
            if messages_pb2.ChatStreamChunk.FromString(received.data).done:
                finished.set()
            else:
                count += 1

        subscription = await self._client.subscribe(f"ai.chat.response.stream.{request_id}", cb=chunk)
        started = time.perf_counter()
        await self._client.publish(SUBJECT, request.SerializeToString())
        await asyncio.wait_for(finished.wait(), _ANSWER_S)
        await subscription.unsubscribe()
        return first - started, last - started, count

    async def process_ids(self) -> dict[str, int]:
        """Return the process of each of Hearth's deployments."""
        components = status_pb2.StatusResponse.FromString(await self.ask(b"", STATUS.pattern)).components
        return {part.name: part.process_id for part in components if part.process_id}


async def until_serving(client: Client) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                reply = await client.request(SUBJECT, RETRIEVAL_CHAT, timeout=5)
            except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                await asyncio.sleep(0.2)
                continue
            check(reply.data)
            return


def check(payload: bytes) -> None:
    """Fail where a retrieval chat did not succeed."""
    response = messages_pb2.ChatResponse.FromString(payload)
    assert response.success, response.error
    assert response.used_rag


class ProcessorTime:
    """The CPU time of all processes that this one has started.

    Args:
        idle_share: Cores that they take when idle.
    """

    def __init__(self, idle_share: float = 0.0) -> None:
        self._idle_share = idle_share
        self._started = time.perf_counter()
        self._before = _processor_times()

    def spent(self) -> float:
        """Return the seconds of CPU since the start, less the idle share."""
        after = _processor_times()
        spent = sum(after[pid] - self._before.get(pid, 0.0) for pid in after)
        return spent - self._idle_share * (time.perf_counter() - self._started)


def _processor_times() -> dict[int, float]:
    found: dict[int, float] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = times.user + times.system
    return found


async def closed_loop(ask: Callable[[], Awaitable[None]], in_flight: int, seconds: float) -> int:
    """Keep `in_flight` questions open for `seconds`; return how many were answered."""
    deadline = time.perf_counter() + seconds
    answered = 0

    async def one() -> None:
        nonlocal answered
        while time.perf_counter() < deadline:
            await ask()
            answered += 1

    await asyncio.gather(*(one() for _ in range(in_flight)))
    return answered


async def measure_round(asker: Asker, samples: Samples, idle_share: float, options: Options) -> None:
    """Add one round to what was measured of one side."""

    async def ask() -> None:
        check(await asker.ask(RETRIEVAL_CHAT))

    for _ in range(min(10, options.requests)):
        await ask()
    latencies: list[float] = []
    processor = ProcessorTime(idle_share)
    for _ in range(options.requests):
        started = time.perf_counter()
        await ask()
        latencies.append(time.perf_counter() - started)
    samples.cpu_ms.append(1000 * processor.spent() / max(1, options.requests))
    samples.latency_ms.append(1000 * middle_of(latencies))

    processor = ProcessorTime(idle_share)
    started = time.perf_counter()
    answered = await closed_loop(ask, options.in_flight, options.seconds)
    samples.requests_per_s.append(answered / (time.perf_counter() - started))
    samples.cpu_ms_loaded.append(1000 * processor.spent() / answered)

    firsts: list[float] = []
    rates: list[float] = []
    for _ in range(5):
        first, last, count = await asker.stream(f"tokens={options.stream_tokens}")
        assert count == options.stream_tokens, count
        firsts.append(first)
        rates.append(count / last)
    samples.first_token_ms.append(1000 * middle_of(firsts))
    samples.tokens_per_s.append(middle_of(rates))


@dataclass(frozen=True, slots=True)
class Overload:
    """What came of asking for more than can be done.

    Attributes:
        of_peak: The share of what can be done that was done.
        of_rest: The same, to what can be done beside as many messages that reach nobody: the client and the NATS
            server take their part of the cores for every message, whatever becomes of it.
        refused_s: The 99th percentile of the seconds to a refusal.
    """

    of_peak: float
    of_rest: float
    refused_s: float


async def overload(asker: Asker, load: float, options: Options) -> Overload:
    """Ask for `load` times of what can be done, whether or not there are answers."""

    async def ask() -> None:
        check(await asker.ask(RETRIEVAL_CHAT))

    seconds = options.overload
    peak = await closed_loop(ask, options.in_flight, seconds / 2) / (seconds / 2)
    rate = load * peak
    async with asyncio.TaskGroup() as group:
        unheard = group.create_task(_ask_nobody(asker, rate - peak))
        rest = await closed_loop(ask, options.in_flight, seconds / 2) / (seconds / 2)
        unheard.cancel()

    asked, answered = int(rate * seconds), 0
    refusals: list[float] = []
    all_answered = asyncio.Event()

    def answer_to(sent: float) -> Callable[[bytes], None]:
        def received(payload: bytes) -> None:
            nonlocal answered
            response = messages_pb2.ChatResponse.FromString(payload)
            if response.success:
                answered += 1
            else:
                refusals.append(time.perf_counter() - sent)
            if answered + len(refusals) == asked:
                all_answered.set()

        return received

    started = time.perf_counter()
    for number_asked in range(asked):
        await asyncio.sleep(max(0.0, started + number_asked / rate - time.perf_counter()))
        await asker.post(RETRIEVAL_CHAT, answer_to(time.perf_counter()))
    # What waits when the load has ended is still answered: it counts, and so does its time.
    await asyncio.wait_for(all_answered.wait(), _ANSWER_S)
    goodput = answered / (time.perf_counter() - started)
    refused_s = percentile(refusals, 99)
    if refused_s is None:
        raise RuntimeError("nothing was refused: the load was not more than it can do")
    return Overload(goodput / peak, goodput / rest, refused_s)


async def _ask_nobody(asker: Asker, rate: float) -> None:
    """Ask so many questions a second where nobody listens: the NATS server answers each one that nobody does."""
    started = time.perf_counter()
    for asked in count():
        await asyncio.sleep(max(0.0, started + asked / rate - time.perf_counter()))
        await asker.post(RETRIEVAL_CHAT, lambda _: None, _NOBODY)


async def overloads(asker: Asker, side: Side, options: Options) -> list[Figure]:
    """Return the medians of several overloads with each load; nothing where there are to be none."""
    figures: list[Figure] = []
    for load in (float(one) for one in options.loads.split(",")):
        measured = [await overload(asker, load, options) for _ in range(options.overloads)]
        title = f"{side}: at {load:g} times capacity"
        figures += [
            median(f"{title}, goodput / peak", [one.of_peak for one in measured], "", at_least(0.95)),
            median(f"{title}, goodput / peak beside such traffic", [one.of_rest for one in measured]),
            median(
                f"{title}, refusals, 99th percentile", [1000 * one.refused_s for one in measured], "ms", at_most(20)
            ),
        ]
    return figures if options.overloads else []


async def left_streams(graph: StandInGraph, leaves: int) -> Figure:
    """Leave streams of 50 tokens a second two handles above their model, all at once; return how long it goes on."""
    times: list[float] = []
    asked = {"question": f"tokens=100000 every={TOKEN_PERIOD_MS}", "streams": STREAMS, "items": 20}
    async with httpx.AsyncClient(base_url=graph.http_url, timeout=_ANSWER_S, trust_env=False) as client:
        for _ in range(leaves):
            await _ended(client)
            left_at = cast("float", await _answer_of(client, "/leaver", asked))
            times.extend(1000 * (ended_at - left_at) for ended_at in await _until_ended(client))
    title = f"apart: {STREAMS} streams left at once until their generators ended, 99th percentile"
    return Figure(title, percentile(times, 99), "ms", len(times), bar=at_most(50))


async def _until_ended(client: httpx.AsyncClient) -> list[float]:
    ended: list[float] = []
    async with asyncio.timeout(_ANSWER_S):
        while len(ended) < STREAMS:
            ended += await _ended(client)
            await asyncio.sleep(0.02)
    return ended


async def _ended(client: httpx.AsyncClient) -> list[float]:
    return cast("list[float]", await _answer_of(client, f"/language-model{ENDED}", {}))


async def _answer_of(client: httpx.AsyncClient, path: str, body: Mapping[str, Any]) -> object:
    response = await client.post(path, json=dict(body))
    response.raise_for_status()
    return response.json()


async def unshared_memory(askers: Mapping[Side, Asker]) -> list[Figure]:
    """Return the unshared memory of ingress and orchestration on Hearth's sides."""
    megabytes: dict[Side, float] = {}
    for side in _hearth(askers):
        found = await askers[side].process_ids()
        processes = {found[name] for name in ("NatsIngress", *ZERO_COST_SERVICES)}
        megabytes[side] = sum(psutil.Process(pid).memory_full_info().uss for pid in processes) / 1e6
    title = "unshared memory of ingress and orchestration"
    figures = [plain(f"{side}: {title}", size, "MB") for side, size in megabytes.items()]
    if Side.APART in megabytes:
        of_apart = megabytes[Side.TOGETHER] / megabytes[Side.APART]
        figures.append(plain(f"together / apart: {title}", of_apart, "", at_most(0.30)))
    return figures


def _hearth(sides: Iterable[Side]) -> list[Side]:
    return [side for side in sides if side is not Side.REPLACED]


async def measure(graph: StandInGraph, options: Options) -> list[Figure]:
    async with AsyncExitStack() as connections:
        askers: dict[Side, Asker] = {}
        for side in sides_of(options):
            connection = await nats.connect(graph.nats_url(side))
            connections.push_async_callback(connection.close)
            await until_serving(connection)
            askers[side] = Asker(connection)
            await askers[side].start()
        processor = ProcessorTime()
        await asyncio.sleep(options.idle)
        idle_share = processor.spent() / options.idle
        samples = {side: Samples() for side in askers}
        for at in range(options.rounds):
            print(f"round {at + 1} of {options.rounds}", flush=True)
            for side, asker in askers.items():
                await measure_round(asker, samples[side], idle_share, options)
        figures = [*compared(samples), *await unshared_memory(askers)]
        for side in _hearth(askers):
            figures += await overloads(askers[side], side, options)
        return [*figures, await left_streams(graph, options.leaves)] if options.apart else figures


def compared(samples: Mapping[Side, Samples]) -> list[Figure]:
    """Return each quantity of all sides, and the ratios of Hearth's to the replaced design's."""
    figures: list[Figure] = []
    for row in ROWS:
        figures += [median(f"{side}: {row.title}", row.values(samples[side]), row.unit) for side in samples]
        replaced = row.values(samples[Side.REPLACED])
        figures += [
            ratio(f"{side} / replaced: {row.title}", row.values(samples[side]), replaced, row.bars.get(side))
            for side in _hearth(samples)
        ]
    return figures


def sides_of(options: Options) -> list[Side]:
    return [Side.REPLACED, *([Side.APART] if options.apart else []), Side.TOGETHER]


def run(options: Options, site: Site) -> list[Figure]:
    with site.stand_in_graph(sides_of(options)) as graph, replaced_design(graph):
        return asyncio.run(measure(graph, options))


BENCHMARK = Benchmark("comparison", __doc__, takes="five minutes", needs=(), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
