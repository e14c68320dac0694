"""What clients notice of an upgrade: chats and live sessions while the orchestration, or all of a cluster, is replaced.

The real graph in front of models that take the time that they are told to. Clients ask over core NATS, each with a
request id, at a steady rate, and have their answers streamed; open sessions speak every few seconds and are answered
aloud. Meanwhile one of these things happens:

* redeploy: Serve is given another configuration of the orchestration, over its REST interface.
* scale-down: from two replicas of each ingress to one.
* handover: a second cluster begins in the same queue group, then the first one is shut down, as Kubernetes does it in
  an upgrade that starts a new cluster: `hearth drain`, then SIGTERM. Both clusters run on this machine.
* node: one of two nodes is shut down in that way.
* sigterm: the same without `hearth drain`.
* imports: nothing of that. As many processes as a redeployment starts import what a replica imports, at the priority of
  Ray's workers: what the start of new replicas costs on this machine, whatever becomes of the old ones.

Each once with requests taken from core NATS and once from a stream that keeps them (`nats.durable.rows`). "Lost" is
what nobody answered within 65 seconds; "twice" is anything that came twice: a final message, the end of a stream, a
word.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from nats.aio.client import Client

from tests.benchmarks.barge_in import until_ready
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Bar, Figure, at_most, plain
from tests.benchmarks.site import Site
from tests.benchmarks.stand_in_graph import ZERO_COST_SERVICES, Side
from tests.benchmarks.timed_models import QUESTION
from tests.benchmarks.upgrade_chats import Chats, Tally, errors, tally
from tests.benchmarks.upgrade_stage import Graph, Leaving, Mode, OwnStage, Wanted, own_stage, shut_down
from tests.benchmarks.upgrade_talk import Talks, TalkTally, spoken_question
from tests.nats_client import nats_connected
from tests.servers import ROOT

_GRACE_S = 70.0
"""`graceful_shutdown_timeout_s` of the ingresses as shipped."""
_READY_S = 60.0
_WORKER_NICENESS = 15
"""Ray's default of `worker_niceness`."""
_BOTH_S = 5.0
"""Seconds in which both clusters take requests."""


@dataclass(frozen=True)
class Options:
    scenarios: str = option(
        "redeploy,scale-down,handover,node,sigterm", "redeploy", "what happens, separated by commas"
    )
    modes: str = option("core,durable", "core", "how requests are taken, separated by commas")
    requests: int = option(5000, 40, "in each scenario, at least; more where what happens takes longer")
    rate: float = option(25.0, 10.0, "requests a second")
    sessions: int = option(50, 2, "that are open")
    period: float = option(10.0, 6.0, "seconds from one utterance of a session to its next")
    steady: float = option(40.0, 3.0, "seconds before it happens")
    after: float = option(10.0, 1.0, "seconds behind it that still count to it")
    together: bool = option(False, True, "whether Chat, Retrieval and Ingestion are in the ingresses' replicas, too")
    surge: bool = option(True, True, "whether a new replica takes requests before an old one leaves, as shipped")


@dataclass(frozen=True)
class Upgraded:
    """What clients noticed.

    Attributes:
        steady: Requests that were sent before it happened.
        during: Those that were sent while it happened, and in the seconds behind.
        all: All of them.
        silence_s: The longest time without an answer.
        talk: What became of the sessions.
        leaving: How long what left took.
        took_s: Seconds from its beginning to its end.
        busy: Share of the machine's cores that was busy before it happened, in per cent.
    """

    steady: Tally
    during: Tally
    all: Tally
    silence_s: float
    talk: TalkTally
    leaving: Leaving
    took_s: float
    busy: float


async def upgraded(
    client: Client, question: bytes, options: Options, change: Callable[[], Awaitable[Leaving]]
) -> Upgraded:
    """Have clients use a graph that answers already, while something happens to it."""
    chats, talks = Chats(client), Talks(client, question, options.sessions, options.period)
    await chats.listen()
    await talks.listen()
    is_over = asyncio.Event()
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(chats.ask_steadily(options.requests, options.rate, is_over))
        group.create_task(talks.speak(is_over))
        psutil.cpu_percent()
        await asyncio.sleep(options.steady)
        busy = psutil.cpu_percent()
        changed = time.monotonic()
        leaving = await change()
        over = time.monotonic()
        await asyncio.sleep(max(options.after, began + options.requests / options.rate - over))
        is_over.set()
    await chats.until_answered()
    for error, number in errors(chats.asked.values()).items():
        print(f"  {number} times: {error}", file=sys.stderr)
    # The very first requests find nothing warm.
    steady = chats.sent_in(began + min(2.0, options.steady / 3), changed - 0.5)
    until = over + options.after
    during = chats.sent_in(changed - 0.5, until)
    slowest = sorted(during, key=lambda one: one.sent_at - one.answered_at)[:12]
    told = ", ".join(f"{one.answered_at - one.sent_at:.2f} at {one.sent_at - changed:.1f}" for one in slowest)
    print(f"  slowest, in s, of what was sent at s behind the beginning: {told}", file=sys.stderr)
    return Upgraded(
        tally(steady),
        tally(during),
        tally(chats.asked.values()),
        chats.longest_silence_s(changed, until),
        talks.tally(),
        leaving,
        over - changed,
        busy,
    )


def figures(name: str, found: Upgraded) -> list[Figure]:
    """Return what clients noticed of one scenario in one mode."""
    is_promised = not name.startswith(("sigterm", "imports"))
    none = at_most(0) if is_promised else None

    def one(title: str, value: float, unit: str = "", bar: Bar | None = None) -> Figure:
        return plain(f"{name}: {title}", value, unit, bar)

    asked, talk = found.all, found.talk
    return [
        one("requests sent", asked.sent),
        one("answered once", asked.once),
        one("answered twice", asked.twice, "", none),
        one("refused", asked.refused, "", none),
        one("lost", asked.lost, "", none),
        one("answered once, with a stream that was not whole", asked.broken, "", none),
        one("to the answer before, median", 1000 * found.steady.at(50), "ms"),
        one("to the answer before, 99th percentile", 1000 * found.steady.at(99), "ms"),
        one("to the answer meanwhile, median", 1000 * found.during.at(50), "ms"),
        one("to the answer meanwhile, 99th percentile", 1000 * found.during.at(99), "ms"),
        one(
            "99th percentile meanwhile, to that before",
            found.during.at(99) / found.steady.at(99),
            "",
            at_most(2) if is_promised else None,
        ),
        one("longest time without an answer", found.silence_s, "s"),
        one("utterances spoken", talk.utterances),
        one("with one final transcript", talk.heard_once),
        one("with several", talk.in_parts, "", none),
        one("with none", talk.unheard, "", none),
        one("with one whole answer", talk.answered_once),
        one("with several answers", talk.answered_twice, "", none),
        one("without a whole answer", talk.unanswered, "", none),
        one(f"sessions of {talk.sessions} that ended early", talk.ended_early, "", none),
        one("seconds it took", found.took_s, "s"),
        one(
            "longest that an old replica took to leave",
            max(found.leaving.seconds.values(), default=0.0),
            "s",
            at_most(_GRACE_S),
        ),
        one("cores that were busy before", found.busy, "%"),
    ]


@dataclass(frozen=True)
class Run:
    """One scenario in one mode.

    Attributes:
        options: Of the benchmark.
        mode: How requests are taken.
        question: What sessions say.
    """

    options: Options
    mode: Mode
    question: bytes

    @property
    def wanted(self) -> Wanted:
        """What the orchestration is as deployed."""
        return Wanted(self.mode, surge=self.options.surge, together=self.options.together)

    def use(self, graph: Graph, change: Callable[[], Awaitable[Leaving]]) -> Upgraded:
        """Have clients use a graph while something happens."""

        async def using() -> Upgraded:
            async with await nats_connected(graph.nats_url) as client:
                await until_ready(client)
                await until_answered(client)
                return await upgraded(client, self.question, self.options, change)

        return asyncio.run(using())

    def redeploy(self, site: Site) -> Upgraded:
        """Give the orchestration another configuration."""
        if self.mode is Mode.CORE:
            with site.stand_in_graph({Side.LIVE}) as stand_in:
                return self._redeploy(Graph(stand_in))
        with _stage() as stage, stage.graph("cluster", self.wanted) as (graph, _):
            return self._redeploy(graph)

    def _redeploy(self, graph: Graph) -> Upgraded:
        return self.use(graph, lambda: graph.apply(replace(self.wanted, revision=1)))

    def only_import(self, site: Site) -> Upgraded:
        """Start processes that import what replicas do."""
        del site
        with _stage() as stage, stage.graph("cluster", self.wanted) as (graph, _):
            number = len(graph.replicas()) + (0 if self.options.together else len(ZERO_COST_SERVICES))
            return self.use(graph, lambda: import_in_processes(number))

    def scale_down(self, site: Site) -> Upgraded:
        """Take the second replica of each ingress away."""
        del site
        with _stage() as stage, stage.graph("cluster", replace(self.wanted, replicas=2)) as (graph, _):
            return self.use(graph, lambda: graph.apply(self.wanted))

    def hand_over(self, site: Site) -> Upgraded:
        """Replace a cluster by another one."""
        del site
        with _stage() as stage, ExitStack() as new, stage.graph("old", self.wanted) as (graph, node):

            async def change() -> Leaving:
                await asyncio.to_thread(new.enter_context, stage.graph("new", self.wanted))
                await asyncio.sleep(_BOTH_S)
                return await shut_down(node, hook=True)

            return self.use(graph, change)

    def shut_down_node(self, site: Site) -> Upgraded:
        """Shut one of two nodes down."""
        return self._shut_down_node(hook=True, site=site)

    def end_node(self, site: Site) -> Upgraded:
        """End one of two nodes, without a word before."""
        return self._shut_down_node(hook=False, site=site)

    def _shut_down_node(self, site: Site, *, hook: bool) -> Upgraded:
        del site
        with _stage() as stage, stage.graph_on_two_nodes(self.wanted) as (graph, node):
            return self.use(graph, lambda: shut_down(node, hook=hook))


SCENARIOS: Mapping[str, Callable[[Run, Site], Upgraded]] = {
    "redeploy": Run.redeploy,
    "imports": Run.only_import,
    "scale-down": Run.scale_down,
    "handover": Run.hand_over,
    "node": Run.shut_down_node,
    "sigterm": Run.end_node,
}


async def import_in_processes(number: int) -> Leaving:
    """Have so many processes import what a replica of an ingress imports; return when they have ended."""
    command = ("nice", "-n", str(_WORKER_NICENESS), sys.executable, "-c", "import bridges.application")
    processes = [await asyncio.create_subprocess_exec(*command, cwd=ROOT) for _ in range(number)]
    if any([await process.wait() for process in processes]):
        raise RuntimeError("what replicas import could not be imported")
    return Leaving()


@contextmanager
def _stage() -> Generator[OwnStage]:
    with tempfile.TemporaryDirectory() as folder, own_stage(Path(folder)) as stage:
        yield stage


async def until_answered(client: Client) -> None:
    """Return when chats are answered."""
    chats = Chats(client)
    await chats.listen()
    async with asyncio.timeout(_READY_S):
        while not any(one.finals for one in chats.asked.values()):
            await chats.ask()
            await asyncio.sleep(0.5)


def run(options: Options, site: Site) -> list[Figure]:
    question = asyncio.run(spoken_question(QUESTION))
    found: list[Figure] = []
    for mode in options.modes.split(","):
        for scenario in options.scenarios.split(","):
            print(f"{scenario}, {mode}", file=sys.stderr)
            figures_of_it = figures(
                f"{scenario}, {mode}", SCENARIOS[scenario](Run(options, Mode(mode), question), site)
            )
            print("\n".join(figure.line() for figure in figures_of_it), file=sys.stderr)
            found += figures_of_it
    return found


BENCHMARK = Benchmark(
    "upgrade",
    __doc__,
    takes="an hour",
    needs=(Need.MODELS,),
    options=Options,
    run=run,
)

if __name__ == "__main__":
    BENCHMARK.main()
