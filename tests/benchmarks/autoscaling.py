"""What scaling by load is worth: load comes and goes, and the replicas with it.

Answers take a second and no CPU, and each replica of the ingress, of Chat and of the model works on four at once. So
one of each does four a second. Chats come at random times: few, then more than twice as many as one replica can answer,
then few again.

* **Scaled.** There may be three replicas of each, and `LoadPolicy` says how many there are. The delays are seconds
  here; an installation would take a minute.
* **Fixed.** The same load, with three replicas of each all the time.

Printed are the replicas at each change, how soon they followed the load, what became of the chats, and the 99th
percentile of an answer on both sides. A chat is lost that has no answer at all.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import nats
import nats.errors
from nats.aio.client import Client

from bridges.generated.hearth.v1 import status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import CHAT_MESSAGE, STATUS, subject_for
from tests.benchmarks.benchmark import Benchmark, option
from tests.benchmarks.figures import Figure, at_most, percentile, plain
from tests.benchmarks.site import Site
from tests.benchmarks.stand_in_graph import SCALED_MOST, Side

DEPLOYMENTS: tuple[str, ...] = ("NatsIngress", "Chat", "LanguageModel")
_QUESTION = "tokens=10 every=100"
_FEW, _MANY = 1.0, 9.0
"""Chats a second. A replica can answer four."""
_ANSWER_S = 90.0
_LOOK_S = 0.5

Replicas = Mapping[str, int]
"""How many run, by deployment."""


@dataclass(frozen=True)
class Options:
    quiet: float = option(20.0, 0.5, "seconds with few chats, before the many")
    busy: float = option(60.0, 1.0, "seconds with many")
    after: float = option(60.0, 0.5, "seconds with few, after the many")
    follow: bool = option(True, False, "whether to say how soon the replicas followed the load")
    fixed: bool = option(True, False, "whether to measure the fixed number of replicas, too")


@dataclass(frozen=True)
class Asked:
    """A chat and what became of it.

    Attributes:
        at: When it was asked, in seconds since the load began.
        seconds: To its answer; None where there was none.
        success: Whether it was answered, and not refused.
    """

    at: float
    seconds: float | None
    success: bool


@dataclass
class Seen:
    """What was seen of one side.

    Attributes:
        asked: All chats.
        replicas: Those that ran, each time they were looked at, by seconds since the load began.
    """

    asked: list[Asked] = field(default_factory=list[Asked])
    replicas: list[tuple[float, Replicas]] = field(default_factory=list[tuple[float, Replicas]])

    def seconds_until(self, after: float, wanted: Replicas) -> float | None:
        """Return how long after a time there were so many replicas; None where there never were."""
        return next((at - after for at, running in self.replicas if at >= after and running == wanted), None)

    def replica_seconds(self) -> float:
        """Return for how long replicas ran, all together."""
        pairs = zip(self.replicas, self.replicas[1:], strict=False)
        return sum((later - at) * sum(running.values()) for (at, running), (later, _) in pairs)

    def print_changes(self, side: Side) -> None:
        """Print the replicas whenever their number changed."""
        before: Replicas = {}
        for at, running in self.replicas:
            if running != before:
                print(f"{side} {at:6.1f} s  " + "  ".join(f"{name} {number}" for name, number in running.items()))
            before = running

    def figures(self, side: Side, options: Options) -> list[Figure]:
        """Return what is to be told of it."""
        busy_at, after_at = options.quiet, options.quiet + options.busy
        # Those that came when the replicas had had half of the time to come, too.
        steady = [one for one in self.asked if busy_at + options.busy / 2 <= one.at < after_at]
        return [
            plain(f"{side}: chats", len(self.asked)),
            plain(f"{side}: lost", sum(one.seconds is None for one in self.asked), "", at_most(0)),
            plain(f"{side}: refused", sum(one.seconds is not None and not one.success for one in self.asked)),
            _seconds(f"{side}: an answer, few chats, median", self._times(0, busy_at), 50),
            _seconds(f"{side}: an answer, many chats, 99th percentile", self._times(busy_at, after_at), 99),
            _seconds(f"{side}: the same in the second half of them", [_time(one) for one in steady], 99),
            _seconds(f"{side}: an answer, few chats again, 99th percentile", self._times(after_at, None), 99),
            plain(f"{side}: replicas of all three, at most", max(sum(one.values()) for _, one in self.replicas)),
            plain(f"{side}: replicas times seconds", self.replica_seconds()),
        ]

    def _times(self, since: float, until: float | None) -> list[float]:
        return [_time(one) for one in self.asked if since <= one.at < (until or float("inf"))]


def _time(one: Asked) -> float:
    return _ANSWER_S if one.seconds is None else one.seconds


def _seconds(title: str, values: list[float], percent: float) -> Figure:
    return Figure(title, percentile(values, percent), "s", len(values))


def run(options: Options, site: Site) -> list[Figure]:
    sides = [Side.SCALED, *([Side.FIXED] if options.fixed else [])]
    with site.stand_in_graph(sides) as graph:
        seen = {side: asyncio.run(_loaded(graph.nats_url(side), side, options)) for side in sides}
    for side, load in seen.items():
        load.print_changes(side)
    followed = _followed(seen[Side.SCALED], options) if options.follow else []
    return followed + [figure for side, load in seen.items() for figure in load.figures(side, options)]


def _followed(scaled: Seen, options: Options) -> list[Figure]:
    """Return how soon the replicas came with the load, and went with it."""
    most: Replicas = dict.fromkeys(DEPLOYMENTS, SCALED_MOST)
    least: Replicas = dict.fromkeys(DEPLOYMENTS, 1)
    busy_at, after_at = options.quiet, options.quiet + options.busy
    return [
        Figure("all three have their most replicas after", scaled.seconds_until(busy_at, most), "s"),
        Figure("and one each again, after the many chats", scaled.seconds_until(after_at, least), "s"),
    ]


async def _loaded(url: str, side: Side, options: Options) -> Seen:
    """Let the load come and go on one side."""
    client = await nats.connect(url)
    seen = Seen()
    try:
        await _until_serving(client)
        began = time.perf_counter()
        looking = asyncio.create_task(_look(client, side, began, seen))
        async with asyncio.TaskGroup() as group:
            at = 0.0
            for rate, seconds in ((_FEW, options.quiet), (_MANY, options.busy), (_FEW, options.after)):
                group.create_task(_ask(client, rate, began, at, at + seconds, seen))
                at += seconds
        looking.cancel()
        await asyncio.wait((looking,))
    finally:
        await client.close()
    return seen


async def _until_serving(client: Client) -> None:
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(nats.errors.NoRespondersError, nats.errors.TimeoutError):
                await client.request(STATUS.pattern, b"", timeout=5)
                return
            await asyncio.sleep(0.2)


async def _ask(client: Client, rate: float, began: float, since: float, until: float, seen: Seen) -> None:
    """Ask at random times, so many a second, whether or not there are answers; return when all are there."""
    times = random.Random(f"{rate} {since}")
    async with asyncio.TaskGroup() as group:
        at = since + times.expovariate(rate)
        while at < until:
            await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
            group.create_task(_ask_once(client, at, f"user{times.randrange(10)}", seen))
            at += times.expovariate(rate)


async def _ask_once(client: Client, at: float, user: str, seen: Seen) -> None:
    asked = time.perf_counter()
    request = messages_pb2.ChatRequest(message=_QUESTION).SerializeToString()
    try:
        reply = await client.request(subject_for(CHAT_MESSAGE, user_id=user), request, timeout=_ANSWER_S)
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
        seen.asked.append(Asked(at, None, success=False))
        return
    success = messages_pb2.ChatResponse.FromString(reply.data).success
    seen.asked.append(Asked(at, time.perf_counter() - asked, success))


async def _look(client: Client, side: Side, began: float, seen: Seen) -> None:
    """Note how many replicas run, until cancelled."""
    while True:
        reply = await client.request(STATUS.pattern, b"", timeout=_ANSWER_S)
        states = status_pb2.StatusResponse.FromString(reply.data).deployments
        running = {one.name: one.running for one in states if one.application in {side, f"{side}-model"}}
        if running:
            seen.replicas.append((time.perf_counter() - began, {name: running[name] for name in DEPLOYMENTS}))
        await asyncio.sleep(_LOOK_S)


BENCHMARK = Benchmark("autoscaling", __doc__, takes="six minutes", needs=(), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
