"""Whether one user, or one kind of work, makes others wait.

* **One who asks ten times as much.** Nine users ask now and then, a tenth does so at ten times their rate. Together
  they ask for more than the places can do. Each answer takes its time and no CPU, so that what is waited for are the
  places. Rounds without the tenth and with it alternate.
* **Documents.** Large documents go into the shipped graph, real models and all, while others chat and ask how the graph
  is. Rounds without documents and with them alternate.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import nats
from nats.aio.client import Client

from bridges.command_line.client import HearthClient, connected
from bridges.generated.hearth.v1 import documents_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import CHAT_MESSAGE, CHAT_REQUEST, DOCUMENTS_INGEST, STATUS, subject_for
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.comparison import until_serving
from tests.benchmarks.figures import Figure, at_least, at_most, milliseconds, percentile, plain, ratio, share
from tests.benchmarks.shipped_client import until_ready
from tests.benchmarks.site import Site
from tests.benchmarks.stand_in_graph import MAX_IN_FLIGHT, Side

_TOKENS = 10
_TOKEN_MS = 20
_OTHERS = 9
_TIMES = 10
_LOAD = 1.1
"""What all users together ask for, as a multiple of what the places can do."""
_ANSWER_S = 120.0
_STATUS_EVERY_S = 0.25
_DOCUMENT_BYTES = 120_000
_COLLECTION = "neighbours"


@dataclass(frozen=True)
class Options:
    rounds: int = option(5, 1, "without the tenth user and with it")
    seconds: float = option(20.0, 1.0, "of each")
    documents: int = option(10, 1, "that go in at once")
    document_rounds: int = option(3, 1, "without documents and with them")
    chats: int = option(5, 1, "questions of each, one after the other")


def run(options: Options, site: Site) -> list[Figure]:
    with site.stand_in_graph([Side.TOGETHER]) as graph:
        figures = asyncio.run(_users(graph.nats_url(Side.TOGETHER), options))
    with site.shipped_graph() as shipped:
        return figures + asyncio.run(_documents(shipped.nats_url, options))


@dataclass
class Answers:
    """What became of the questions of some users.

    Attributes:
        seconds: To each answer.
        refused: How many had none.
    """

    seconds: list[float] = field(default_factory=list[float])
    refused: int = 0

    async def ask(self, client: Client, subject: str, request: messages_pb2.ChatRequest) -> None:
        """Ask, and note what became of it."""
        asked = time.perf_counter()
        reply = await client.request(subject, request.SerializeToString(), timeout=_ANSWER_S)
        if messages_pb2.ChatResponse.FromString(reply.data).success:
            self.seconds.append(time.perf_counter() - asked)
        else:
            self.refused += 1


async def _users(url: str, options: Options) -> list[Figure]:
    client = await nats.connect(url)
    try:
        await until_serving(client)
        seconds_each = _TOKENS * _TOKEN_MS / 1000
        rate = _LOAD * MAX_IN_FLIGHT / seconds_each / (_OTHERS + _TIMES)
        alone: list[float] = []
        beside: list[float] = []
        greedy = Answers()
        refused = 0
        for number in range(options.rounds):
            for answers in (others_alone := Answers(), others_beside := Answers()):
                async with asyncio.TaskGroup() as group:
                    for user in range(_OTHERS):
                        group.create_task(_asking(client, f"user{user}", rate, options.seconds, number, answers))
                    if answers is others_beside:
                        group.create_task(_asking(client, "greedy", _TIMES * rate, options.seconds, number, greedy))
            alone.append(percentile(others_alone.seconds, 99) or 0.0)
            beside.append(percentile(others_beside.seconds, 99) or 0.0)
            refused += others_alone.refused + others_beside.refused
    finally:
        await client.close()
    return [
        milliseconds("nine users, 99th percentile of an answer", alone),
        milliseconds("the same beside a user who asks ten times as much", beside),
        ratio("the second to the first, medians of paired rounds", beside, alone, at_most(1.2)),
        plain("questions of the nine that were refused", refused, "", at_most(0)),
        milliseconds("the answers of the tenth", greedy.seconds),
    ]


async def _asking(client: Client, user: str, rate: float, seconds: float, seed: int, answers: Answers) -> None:
    """Ask at random times, so many a second, whether or not there are answers; return when all are there."""
    request = messages_pb2.ChatRequest(message=f"tokens={_TOKENS} every={_TOKEN_MS}")
    subject = subject_for(CHAT_MESSAGE, user_id=user)
    times = random.Random(f"{user} {seed}")
    ends = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        at = time.perf_counter() + times.expovariate(rate)
        while at < ends:
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            group.create_task(answers.ask(client, subject, request))
            at += times.expovariate(rate)


async def _documents(url: str, options: Options) -> list[Figure]:
    async with connected(url) as client:
        await until_ready(client)
        await _ingest(client, 0, 0)
        quiet, busy = Answers(), Answers()
        statuses: list[float] = []
        ingested: list[bool] = []
        for at in range(options.document_rounds):
            await _chats(client, options.chats, quiet, at, "quiet")
            async with asyncio.TaskGroup() as group:
                going_in = [group.create_task(_ingest(client, number, at + 1)) for number in range(options.documents)]
                asking = group.create_task(_every(_STATUS_EVERY_S, lambda: _status(client, statuses)))
                await _chats(client, options.chats, busy, at, "busy")
                ingested += await asyncio.gather(*going_in)
                asking.cancel()
    return [
        milliseconds("a chat with the shipped models, nothing else going on", quiet.seconds),
        milliseconds("the same while documents of 120 kB go in, ten at once", busy.seconds),
        plain("chats refused or failed there", busy.refused, "", at_most(0)),
        Figure("the longest of them", max(busy.seconds, default=None), "s", bar=at_most(30)),
        Figure("a status asked there, 99th percentile", _ms(percentile(statuses, 99)), "ms", bar=at_most(500)),
        share("documents that went in", sum(ingested), len(ingested), at_least(100)),
    ]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


async def _chats(client: HearthClient, number: int, answers: Answers, at: int, kind: str) -> None:
    for asked in range(number):
        # Another question each time, so that the model has not read it before.
        question = f"In {kind} year {1900 + 10 * at + asked}, when was the harbour wall repaired?"
        request = messages_pb2.ChatRequest(message=question, enable_rag=True, collection=_COLLECTION)
        await answers.ask(client.connection, CHAT_REQUEST.pattern, request)


async def _status(client: HearthClient, seconds: list[float]) -> None:
    asked = time.perf_counter()
    await client.connection.request(STATUS.pattern, b"", timeout=_ANSWER_S)
    seconds.append(time.perf_counter() - asked)


async def _ingest(client: HearthClient, number: int, version: int) -> bool:
    """Put a document in as a client does that sends it in one part; return whether it went in."""
    text = _document(number, version)
    request = documents_pb2.IngestRequest(collection=_COLLECTION, source=f"harbour-{number}.md", text=text)
    reply = await client.connection.request(DOCUMENTS_INGEST.pattern, request.SerializeToString(), timeout=600)
    return not documents_pb2.IngestResponse.FromString(reply.data).error


def _document(number: int, version: int) -> str:
    chosen = random.Random(f"{number} {version}")
    words = "harbour wall ferry tide keeper stone lamp winter repair boat rope anchor cellar market".split()
    lines: list[str] = []
    length = 0
    while length < (_DOCUMENT_BYTES if version else 2_000):
        line = f"In {chosen.randrange(1800, 2000)} the {' '.join(chosen.choices(words, k=12))}."
        lines.append(line)
        length += len(line) + 1
    return "\n".join(lines)


async def _every(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await do()
        await asyncio.sleep(seconds)


BENCHMARK = Benchmark("neighbours", __doc__, takes="eight minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
