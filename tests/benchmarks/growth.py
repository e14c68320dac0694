"""What grows with its work, and what faster: requests at once, streams, replicas, sessions, passages, each a curve.

* CPU and latency of a retrieval chat over requests that are open at once, with models that cost nothing.
* Tokens a second over streams that are open at once, with the same.
* Seconds and CPU until replicas that do nothing are there, over their number, in the same cluster.
* CPU of a live session over replicas that share sessions, each having as many.
* The first answer over the passages of a collection, with the shipped models and Milvus Lite, without Ray and NATS.

Each curve becomes a picture in the folder that `--folder` names; GROWTH.md shows them. Points are few and short, so
that all of it can be looked at after a change.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import nats

from bridges.generated.messages.v1 import messages_pb2
from deployments.retrieval.service import Retrieval
from tests import servers
from tests.benchmarks.answers import ask
from tests.benchmarks.audio_sessions import Ours, sound, two_cores
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.comparison import Asker, ProcessorTime, check, until_serving
from tests.benchmarks.figures import Figure, at_most, middle_of, plain
from tests.benchmarks.large_collection import TimedPassages, fill
from tests.benchmarks.local_services import local_services
from tests.benchmarks.plot import Curve, Plot
from tests.benchmarks.question_sets import small_questions, some_of
from tests.benchmarks.shipped import shipped_answering
from tests.benchmarks.site import Site, deploy
from tests.benchmarks.stand_in_graph import ZERO_COST_MODELS, Config, Side, StandInGraph, serve_config

FOLDER = Path(__file__).with_name("growth")
_AS_ITS_WORK = 1.15
"""What grows at most so much faster than its work grows as it does: of this share two measurements differ."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Options:
    curves: str = option("graph,sessions,passages", "graph,passages", "that are measured")
    folder: str = option(str(FOLDER), "", "for the pictures; empty for none")
    at_once: str = option("1,4,16,64,256", "1,4", "requests that are open at once")
    streams: str = option("1,2,4,8", "1,2", "streams that are open at once; the ingress takes eight")
    replicas: str = option("1,2,4,8", "1,2", "replicas that are started")
    sharing: str = option("1,2,4", "1,2", "replicas that share live sessions")
    sessions: int = option(15, 3, "live sessions of each of these")
    passages: str = option("1000,10000,100000", "60,120", "of a collection, without a thousands separator")
    questions: int = option(8, 1, "over each number of passages")
    seconds: float = option(2.0, 0.2, "of each point over requests at once, and over replicas that share sessions")
    stream_tokens: int = option(2000, 20, "of a stream")
    idle: float = option(4.0, 0.2, "seconds to measure the idle share")


@dataclass(frozen=True)
class Grown:
    """One picture, and how its first line goes on.

    Attributes:
        name: Of the picture's file.
        plot: The picture.
        per_unit: What one unit of work costs; it stays where the cost grows as its work.
    """

    name: str
    plot: Plot
    per_unit: Curve

    def figure(self) -> Figure:
        """Return what a unit costs where there are most, to what it costs where there are fewest."""
        points = self.per_unit.points
        title = f"{self.per_unit.name}: at {points[-1][0]:,.0f} to at {points[0][0]:,.0f}"
        return plain(title, points[-1][1] / points[0][1], "", at_most(_AS_ITS_WORK))


def numbers(text: str) -> list[int]:
    """Return the numbers of a list with commas."""
    return [int(one) for one in text.split(",") if one.strip()]


async def graph_curves(graph: StandInGraph, options: Options) -> list[Grown]:
    """Return how requests, streams and starts of replicas grow, on a cluster with models that cost nothing."""
    async with AsyncExitStack() as running:
        connection = await nats.connect(graph.nats_url(Side.TOGETHER))
        running.push_async_callback(connection.close)
        await until_serving(connection)
        asker = Asker(connection)
        await asker.start()
        processor = ProcessorTime()
        await asyncio.sleep(options.idle)
        idle_share = processor.spent() / options.idle
        requests = await over_requests(asker, idle_share, options)
        streams = await over_streams(asker, options)
    return [*requests, streams, *await asyncio.to_thread(over_starts, graph, idle_share, options)]


async def over_requests(asker: Asker, idle_share: float, options: Options) -> list[Grown]:
    """Return CPU and latency of a retrieval chat over requests that are open at once."""
    cpu: Points = []
    latency: Points = []
    for at_once in numbers(options.at_once):
        processor = ProcessorTime(idle_share)
        took = await _closed_loop(asker, at_once, options.seconds)
        cpu.append((at_once, 1000 * processor.spent() / len(took)))
        latency.append((at_once, 1000 * middle_of(took)))
    across = "requests open at once"
    by_one = Curve("latency per request at once", [(at_once, ms / at_once) for at_once, ms in latency])
    cpu_plot = Plot("CPU of a retrieval chat", across, "ms of CPU", [Curve("CPU", cpu)])
    latency_plot = Plot("Latency of a retrieval chat", across, "ms, median", [Curve("latency", latency)])
    return [
        Grown("cpu_of_a_request", cpu_plot, Curve("CPU of a request", cpu)),
        Grown("latency", latency_plot, by_one),
    ]


async def _closed_loop(asker: Asker, at_once: int, seconds: float) -> list[float]:
    """Keep so many questions open, each of a user of its own; return the seconds that each answer took."""
    deadline = time.perf_counter() + seconds
    took: list[float] = []

    async def one(user: int) -> None:
        request = messages_pb2.ChatRequest(
            message="What does the handbook say?", user_id=f"user-{user}", enable_rag=True, enable_reranker=True
        ).SerializeToString()
        while time.perf_counter() < deadline:
            started = time.perf_counter()
            check(await asker.ask(request))
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(one(user) for user in range(at_once)))
    return took


async def over_streams(asker: Asker, options: Options) -> Grown:
    """Return the tokens a second of all streams over their number."""
    rates: Points = []
    await asker.stream("tokens=20")
    for streams in numbers(options.streams):
        started = time.perf_counter()
        done = await asyncio.gather(*(asker.stream(f"tokens={options.stream_tokens}") for _ in range(streams)))
        rates.append((streams, sum(count for *_, count in done) / (time.perf_counter() - started)))
    plot = Plot("Tokens of all streams", "streams open at once", "tokens a second", [Curve("tokens", rates)])
    return Grown("tokens", plot, Curve("time of a token", [(streams, 1e6 / rate) for streams, rate in rates]))


def over_starts(graph: StandInGraph, idle_share: float, options: Options) -> list[Grown]:
    """Return seconds and CPU until replicas are there, over their number; the graph is as before then."""
    seconds: Points = []
    cpu: Points = []
    for replicas in numbers(options.replicas):
        deploy(graph.dashboard_url, serve_config(graph))
        processor, started = ProcessorTime(idle_share), time.perf_counter()
        deploy(graph.dashboard_url, _with_replicas(serve_config(graph), replicas))
        seconds.append((replicas, time.perf_counter() - started))
        cpu.append((replicas, processor.spent()))
    deploy(graph.dashboard_url, serve_config(graph))
    per_replica = Curve("CPU of a replica's start", [(replicas, spent / replicas) for replicas, spent in cpu])
    plot = Plot(
        "Start of replicas",
        "replicas started at once",
        "seconds",
        [Curve("until all are there", seconds), Curve("CPU of all", cpu)],
    )
    return [Grown("start", plot, per_replica)]


def _with_replicas(config: Config, replicas: int) -> Config:
    """Return a configuration with one more application that has so many replicas."""
    more = {
        "name": "started",
        "route_prefix": None,
        "import_path": f"{ZERO_COST_MODELS}:embeddings",
        "deployments": [{"name": "Embeddings", "num_replicas": replicas, "ray_actor_options": {"num_cpus": 0}}],
    }
    return {**config, "applications": [*config["applications"], more]}


async def session_curve(options: Options) -> Grown:
    """Return the CPU of a live session over the replicas that share them."""
    heard = await sound()
    cpu: Points = []
    with ExitStack() as running:
        core = running.enter_context(two_cores())
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        ours = Ours(running.enter_context(servers.nats_server(folder)), core, heard)
        for replicas in numbers(options.sharing):
            trial = await ours.shared(replicas, replicas * options.sessions, options.seconds, options.seconds)
            cpu.append((replicas, trial.cpu_ms))
    curve = Curve("CPU of a session", cpu)
    plot = Plot("CPU of a live session", "replicas that share sessions", "ms of CPU a second", [curve])
    return Grown("sessions", plot, curve)


async def passage_curve(site: Site, options: Options) -> Grown:
    """Return what the first answer takes over the passages of a collection."""
    search: Points = []
    whole: Points = []
    async with local_services(site) as services:
        store = TimedPassages(services.passages(services.settings.keyword_weight))
        retrieval = Retrieval(services.embeddings, services.reranker, store, services.settings)
        chat = services.chat(retrieval, services.language_model(), shipped_answering())
        questions = some_of(small_questions(), options.questions)
        for size in numbers(options.passages):
            collection = f"grown_{size}"
            await fill(services, collection, size, (question.kind for question in questions))
            # The first search loads the collection.
            await ask(chat, questions[0].text, collection)
            store.seconds.clear()
            took: list[float] = []
            for question in questions:
                started = time.monotonic()
                await ask(chat, question.text, collection)
                took.append(time.monotonic() - started)
            search.append((size, middle_of(store.seconds)))
            whole.append((size, middle_of(took)))
    across = "passages in the collection"
    plot = Plot("An answer", across, "seconds, median", [Curve("answer", whole), Curve("search alone", search)])
    return Grown("passages", plot, Curve("search of a passage", [(size, took / size) for size, took in search]))


def table(grown: Sequence[Grown]) -> str:
    """Return all points as lines of text."""
    lines: list[str] = []
    for one in grown:
        for curve in one.plot.curves:
            points = ", ".join(f"{x:,.0f}: {y:.4g}" for x, y in curve.points)
            lines.append(f"{one.plot.title}, {curve.name} ({one.plot.up}) by {one.plot.across}: {points}")
    return "\n".join(lines)


def run(options: Options, site: Site) -> list[Figure]:
    curves = options.curves.split(",")
    grown: list[Grown] = []
    if "graph" in curves:
        with site.stand_in_graph([Side.TOGETHER]) as graph:
            grown += asyncio.run(graph_curves(graph, options))
    if "sessions" in curves:
        grown.append(asyncio.run(session_curve(options)))
    if "passages" in curves:
        grown.append(asyncio.run(passage_curve(site, options)))
    print(table(grown))
    for one in grown if options.folder else ():
        one.plot.write(Path(options.folder) / f"{one.name}.svg")
    return [one.figure() for one in grown]


BENCHMARK = Benchmark(
    "growth", __doc__, takes="eight minutes", needs=(Need.MODELS, Need.TWO_CORES), options=Options, run=run
)

if __name__ == "__main__":
    BENCHMARK.main()
