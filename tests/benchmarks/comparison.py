"""Hearth against the design it replaces, with engines that cost nothing: both sides in one run, interleaved.

    uv run python -m tests.benchmarks.comparison

Three sides answer on one NATS server, each in an account of its own, and call the same model replicas: the replaced
design (`tests/benchmarks/replaced_design.py`), Hearth with its services apart, as `serve_config.yaml` has it, and
Hearth with the services in the ingress's replica. Each round measures all three, one after the other; a ratio is the
median of the rounds' ratios. CPU is that of all processes but this one, the client, less what they take when idle.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Before Ray is imported.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP="0",
    RAY_USAGE_STATS_ENABLED="0",
)

import httpx
import nats
import nats.errors
import psutil
import ray
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.command_line.local.local_stack import REPLICA_SITE, SERVE_ENVIRONMENT
from bridges.generated.hearth.v1 import status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import STATUS
from deployments.call import Call
from deployments.graph.definitions import CHAT
from deployments.graph.door import Door, application_door
from deployments.values.chat import ChatQuestion
from tests import servers
from tests.benchmarks.zero_cost_graph import PASSAGES, SYSTEM

REPLACED, APART, TOGETHER = "replaced", "apart", "together"
SIDES = (REPLACED, APART, TOGETHER)
SUBJECT = "ai.chat.request"
RETRIEVAL_CHAT = messages_pb2.ChatRequest(
    message="What does the handbook say?", enable_rag=True, enable_reranker=True
).SerializeToString()
IN_FLIGHT = 32
MAX_IN_FLIGHT = 8
"""Requests that each side works on at once: what `serve_config.yaml` has."""
STREAMS = 32
STREAM_TOKENS = 500
TOKEN_PERIOD_MS = 20
_GRAPH = "tests.benchmarks.zero_cost_graph"
_MODELS = {"language-model": "language_model", "embeddings": "embeddings", "reranker": "reranker"}
_SERVICES = ("Chat", "Retrieval", "Ingestion")
_ANSWER_S = 60


@dataclass(frozen=True)
class Stack:
    """What runs.

    Attributes:
        nats_port: Of the server.
        dashboard_url: Of Serve's REST API.
        ray_address: For `ray.init`.
    """

    nats_port: int
    dashboard_url: str
    ray_address: str

    def url(self, side: str) -> str:
        """Return where the clients of one side connect."""
        return f"nats://{side}:{side}@127.0.0.1:{self.nats_port}"


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
    """A line of the page: a quantity, and what its ratio to the replaced design is held against.

    Attributes:
        name: The field of `Samples`.
        title: What it is, with its unit.
        bars: The bar for each of Hearth's sides; none where it is only printed.
        lower_is_better: Whether the ratio has to stay below the bar.
    """

    name: str
    title: str
    bars: tuple[float, float] | None
    lower_is_better: bool = True


ROWS = (
    Row("latency_ms", "added latency, one at a time, ms", (0.35, 0.25)),
    Row("cpu_ms", "CPU per retrieval chat, one at a time, ms", (0.30, 0.20)),
    Row("cpu_ms_loaded", f"CPU per retrieval chat, {IN_FLIGHT} in flight, ms", (0.30, 0.20)),
    Row("requests_per_s", f"retrieval chats per s, {IN_FLIGHT} in flight", (4, 6), lower_is_better=False),
    Row("tokens_per_s", "tokens per s of one stream, a message each", (1.5, 2), lower_is_better=False),
    Row("first_token_ms", "first token of that stream, ms", None),
)


@dataclass(frozen=True)
class Figure:
    """A quantity of Hearth alone, with the bar that it is held against, if there is one."""

    title: str
    value: float
    bar: float | None = None
    lower_is_better: bool = True

    def line(self) -> str:
        return f"{self.title:<72}{self.value:>9.3g}  {_verdict(self.value, self.bar, lower=self.lower_is_better)}"


@contextmanager
def running_stack(folder: Path) -> Generator[Stack]:
    """Run all three sides for as long as the block lasts."""
    with ExitStack() as stack:
        accounts = "\n".join(f"  {side}: {{ users: [ {{ user: {side}, password: {side} }} ] }}" for side in SIDES)
        (folder / "nats.conf").write_text(f"accounts {{\n{accounts}\n}}\n")
        nats_url = stack.enter_context(servers.nats_server(folder / "nats", "-c", str(folder / "nats.conf")))
        path = os.pathsep.join((str(servers.ROOT), str(REPLICA_SITE)))
        cluster = stack.enter_context(servers.ray_cluster(folder / "ray", {"PYTHONPATH": path, **SERVE_ENVIRONMENT}))
        running = Stack(int(nats_url.rsplit(":", 1)[1]), cluster.dashboard_url, cluster.address)
        http_port = servers.free_port()
        deploy(running, http_port)
        corpus = folder / "corpus.json"
        passages = [{"text": passage.embedded_text(), "source": passage.source} for passage in PASSAGES]
        corpus.write_text(json.dumps({"system": SYSTEM, "passages": passages}))
        command = [servers.program("python"), "-m", "tests.benchmarks.replaced_design", running.url(REPLACED)]
        command += [f"http://127.0.0.1:{http_port}", str(corpus), str(MAX_IN_FLIGHT)]
        stack.enter_context(servers.running(command, folder / "replaced.log"))
        yield running


def deploy(stack: Stack, http_port: int) -> None:
    """Deploy the models, and both of Hearth's sides in front of them."""
    models = [
        {"name": name, "route_prefix": f"/{name}", "import_path": f"{_GRAPH}:{builder}", "args": {}}
        for name, builder in _MODELS.items()
    ]
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": http_port},
        "logging_config": {"log_level": "INFO", "enable_access_log": False},
        "applications": [*models, orchestration(stack, APART, ()), orchestration(stack, TOGETHER, _SERVICES)],
    }
    with httpx.Client(base_url=stack.dashboard_url, timeout=60, trust_env=False) as client:
        client.put("/api/serve/applications/", json=config).raise_for_status()

        def running() -> bool:
            applications = client.get("/api/serve/applications/").json()["applications"]
            failed = [entry["message"] for entry in applications.values() if entry["status"] == "DEPLOY_FAILED"]
            assert not failed, failed
            statuses = [entry["status"] for entry in applications.values()]
            return statuses == ["RUNNING"] * len(config["applications"])

        servers.wait_until("all applications", running, 120)


def orchestration(stack: Stack, side: str, in_process: Sequence[str]) -> dict[str, Any]:
    nats_settings = {"url": stack.url(side), "max_in_flight": MAX_IN_FLIGHT}
    args = {"nats": nats_settings, "memory": {"enabled": False}, "in_process": list(in_process)}
    return {"name": side, "route_prefix": None, "import_path": f"{_GRAPH}:orchestration", "args": args}


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
        answer = asyncio.get_running_loop().create_future()
        await self.post(payload, answer.set_result, subject)
        return await answer

    async def stream(self, message: str, **fields: Any) -> tuple[float, float, int]:
        """Return the seconds to the first token and to the last, and how many came."""
        self._number += 1
        request_id = f"{id(self):x}-{self._number}"
        request = messages_pb2.ChatRequest(request_id=request_id, message=message, enable_streaming=True, **fields)
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


async def measure_round(asker: Asker, samples: Samples, idle_share: float, options: argparse.Namespace) -> None:
    """Add one round to what was measured of one side."""

    async def ask() -> None:
        check(await asker.ask(RETRIEVAL_CHAT))

    for _ in range(10):
        await ask()
    latencies: list[float] = []
    processor = ProcessorTime(idle_share)
    for _ in range(options.requests):
        started = time.perf_counter()
        await ask()
        latencies.append(time.perf_counter() - started)
    samples.cpu_ms.append(1000 * processor.spent() / options.requests)
    samples.latency_ms.append(1000 * statistics.median(latencies))

    processor = ProcessorTime(idle_share)
    started = time.perf_counter()
    answered = await closed_loop(ask, IN_FLIGHT, options.seconds)
    samples.requests_per_s.append(answered / (time.perf_counter() - started))
    samples.cpu_ms_loaded.append(1000 * processor.spent() / answered)

    firsts: list[float] = []
    rates: list[float] = []
    for _ in range(5):
        first, last, count = await asker.stream(f"tokens={STREAM_TOKENS}")
        assert count == STREAM_TOKENS, count
        firsts.append(first)
        rates.append(count / last)
    samples.first_token_ms.append(1000 * statistics.median(firsts))
    samples.tokens_per_s.append(statistics.median(rates))


async def overload(asker: Asker, seconds: float) -> tuple[float, float]:
    """Ask at three times what can be done, whether or not there are answers.

    Returns:
        The share of what can be done that was done, and the 99th percentile of the seconds to a refusal.
    """

    async def ask() -> None:
        check(await asker.ask(RETRIEVAL_CHAT))

    peak = await closed_loop(ask, IN_FLIGHT, seconds / 2) / (seconds / 2)
    rate = 3 * peak
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
    for number in range(asked):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        await asker.post(RETRIEVAL_CHAT, answer_to(time.perf_counter()))
    # What waits when the load ends is still answered: it counts, and so does its time.
    await asyncio.wait_for(all_answered.wait(), _ANSWER_S)
    goodput = answered / (time.perf_counter() - started)
    assert refusals, "the load was not more than it can do"
    return goodput / peak, percentile(refusals, 99)


async def overloads(asker: Asker, side: str, options: argparse.Namespace) -> list[Figure]:
    """Return the medians of several overloads."""
    measured = [await overload(asker, options.overload) for _ in range(options.overloads)]
    goodput, refusal_s = (statistics.median(values) for values in zip(*measured, strict=True))
    return [
        Figure(f"{side}: goodput at 3 times capacity / peak", goodput, 0.9, lower_is_better=False),
        Figure(f"{side}: refusals there, 99th percentile, ms", 1000 * refusal_s, 20),
    ]


async def cancelled_streams(stack: Stack) -> Figure:
    """Leave streams of 50 tokens a second two handles above their model, all at once; return how long it goes on."""
    ray.init(address=stack.ray_address, namespace="benchmark", log_to_driver=False, logging_level=logging.ERROR)
    model = application_door("language-model", "LanguageModel")
    chat = CHAT.in_application(APART)
    question = ChatQuestion(f"tokens=100000 every={TOKEN_PERIOD_MS}")
    times: list[float] = []
    for _ in range(5):
        call = Call.within(_ANSWER_S)
        await model.call(call, "ended")
        streams = [chat.answer(call, question) for _ in range(STREAMS)]
        await asyncio.gather(*(_read(stream, 20) for stream in streams))
        left = time.monotonic()
        await asyncio.gather(*(stream.aclose() for stream in streams))
        times.extend(1000 * (ended - left) for ended in await _ended(model, call))
    ray.shutdown()
    title = f"apart: {STREAMS} streams left at once until their generators ended, 99th percentile, ms"
    return Figure(title, percentile(times, 99), 50)


async def _read(stream: Any, items: int) -> None:
    for _ in range(items):
        await anext(stream)


async def _ended(model: Door, call: Call) -> list[float]:
    ended: list[float] = []
    while len(ended) < STREAMS:
        ended += await model.call(call, "ended")
        await asyncio.sleep(0.02)
    return ended


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


async def unshared_memory(askers: dict[str, Asker]) -> list[Figure]:
    """Return the unshared memory of ingress and orchestration on both of Hearth's sides."""
    megabytes: dict[str, float] = {}
    for side in (APART, TOGETHER):
        found = await askers[side].process_ids()
        processes = {found[name] for name in ("NatsIngress", *_SERVICES)}
        megabytes[side] = sum(psutil.Process(pid).memory_full_info().uss for pid in processes) / 1e6
    return [
        Figure("apart: unshared memory of ingress and orchestration, MB", megabytes[APART]),
        Figure("together: the same, MB", megabytes[TOGETHER]),
        Figure("together / apart", megabytes[TOGETHER] / megabytes[APART], 0.30),
    ]


async def run(stack: Stack, options: argparse.Namespace) -> tuple[dict[str, Samples], list[Figure]]:
    async with AsyncExitStack() as connections:
        askers: dict[str, Asker] = {}
        for side in SIDES:
            connection = await nats.connect(stack.url(side))
            connections.push_async_callback(connection.close)
            await until_serving(connection)
            askers[side] = Asker(connection)
            await askers[side].start()
        processor = ProcessorTime()
        await asyncio.sleep(options.idle)
        idle_share = processor.spent() / options.idle
        samples = {side: Samples() for side in SIDES}
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            for side in SIDES:
                await measure_round(askers[side], samples[side], idle_share, options)
        figures = await unshared_memory(askers)
        print("overload", flush=True)
        for side in (APART, TOGETHER):
            figures += await overloads(askers[side], side, options)
        print("cancelled streams", flush=True)
        figures.append(await cancelled_streams(stack))
        return samples, figures


def page(samples: dict[str, Samples], figures: Sequence[Figure], rounds: int) -> str:
    """Return everything that was measured, as a table."""
    machine = (
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, Python {platform.python_version()}, "
        f"Ray {ray.__version__}"
    )
    lines = [
        f"Hearth against the replaced design, engines that cost nothing, on {machine}",
        f"Medians of {rounds} interleaved rounds, least and most of them in brackets; ratios to the replaced design",
        "",
        f"{'':<46}{'replaced':>22}{'apart':>24}{'ratio':>8}{'':>10}{'together':>24}{'ratio':>8}",
    ]
    for row in ROWS:
        line = f"{row.title:<46}{_spread(samples[REPLACED], row):>22}"
        for side, bar in zip((APART, TOGETHER), row.bars or (None, None), strict=True):
            value = ratio(samples, side, row)
            verdict = _verdict(value, bar, lower=row.lower_is_better)
            line += f"{_spread(samples[side], row):>24}{value:>8.2f}  {verdict:<16}"
        lines.append(line.rstrip())
    return "\n".join([*lines, "", *(figure.line() for figure in figures)])


def ratio(samples: dict[str, Samples], side: str, row: Row) -> float:
    """Return the median of the rounds' ratios of one side to the replaced design."""
    pairs = zip(getattr(samples[side], row.name), getattr(samples[REPLACED], row.name), strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _spread(samples: Samples, row: Row) -> str:
    values: list[float] = getattr(samples, row.name)
    return f"{statistics.median(values):.4g} [{min(values):.4g}, {max(values):.4g}]"


def _verdict(value: float, bar: float | None, *, lower: bool) -> str:
    if bar is None:
        return ""
    met = value <= bar if lower else value >= bar
    return f"({'≤' if lower else '≥'} {bar:g}{'' if met else ', MISSED'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default 7)")
    parser.add_argument("--requests", type=int, default=100, help="questions one at a time, each round (default 100)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help=f"with {IN_FLIGHT} in flight, each round (default 3)"
    )
    parser.add_argument("--overloads", type=int, default=5, help="rounds at three times capacity (default 5)")
    parser.add_argument("--overload", type=float, default=5.0, help="seconds of each (default 5)")
    parser.add_argument("--idle", type=float, default=5.0, help="seconds to measure the idle share (default 5)")
    parser.add_argument("--json", type=Path, help="also write everything here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        samples, figures = asyncio.run(run(stack, options))
    print(page(samples, figures, options.rounds))
    if options.json:
        ratios = {row.name: {side: ratio(samples, side, row) for side in (APART, TOGETHER)} for row in ROWS}
        measured = {side: asdict(values) for side, values in samples.items()}
        report = {"samples": measured, "ratios": ratios, "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
