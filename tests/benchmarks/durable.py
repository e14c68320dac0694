"""What it costs to keep requests until they are answered.

Two ingresses run in processes of their own, each on a NATS server of its own. One takes questions from core NATS, the
other keeps them in JetStream (`nats.durable`). Answers are written word by word by a stand-in that takes time and
hardly any CPU. Rounds of both alternate, so a ratio is the median of the rounds' ratios. CPU is what the ingress or the
NATS server, takes for one question with its stream of 20 words. Files of JetStream are in a temporary folder.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats.errors
import psutil
from nats.aio.client import Client

from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import CHAT_MESSAGE, subject_for
from tests import servers
from tests.benchmarks.benchmark import Benchmark, option
from tests.benchmarks.figures import Figure, at_most, median, milliseconds, percentile, plain, ratio
from tests.benchmarks.site import Site
from tests.nats_client import nats_connected

_KEPT = {"rows": ["chat-message"]}
_WORD_S = 0.005
_ANSWER_S = 60.0
_START_S = 30.0


@dataclass(frozen=True)
class Options:
    rounds: int = option(7, 1, "of both")
    chats: int = option(400, 8, "questions in each")
    at_once: int = option(16, 4, "questions")


@dataclass(frozen=True, slots=True)
class Running:
    """An ingress, and the NATS server in front of it."""

    url: str
    ingress: psutil.Process
    server: psutil.Process

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU time that the ingress and the server have taken."""
        ingress, server = (process.cpu_times() for process in (self.ingress, self.server))
        return ingress.user + ingress.system, server.user + server.system


@dataclass
class Measured:
    """What was measured of one of them."""

    seconds: list[float] = field(default_factory=list[float])
    p99_s: list[float] = field(default_factory=list[float])
    ingress_cpu_s: list[float] = field(default_factory=list[float])
    server_cpu_s: list[float] = field(default_factory=list[float])
    failed: int = 0


def run(options: Options, site: Site) -> list[Figure]:
    del site
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        core = stack.enter_context(_running(folder / "core", {}))
        kept = stack.enter_context(_running(folder / "kept", _KEPT))
        return asyncio.run(_measure(core, kept, options))


@contextmanager
def _running(folder: Path, durable: dict[str, Any]) -> Generator[Running]:
    with servers.nats_server(folder, "-js", "-sd", str(folder / "store")) as url:
        (ports,) = folder.glob("nats-server_*.ports")
        server = psutil.Process(int(ports.stem.removeprefix("nats-server_")))
        arguments = (url, json.dumps(durable), str(_WORD_S))
        command = [sys.executable, "-m", "tests.integration.durable_process", *arguments]
        with servers.running(command, folder / "ingress.log") as process:
            yield Running(url, psutil.Process(process.pid), server)


async def _measure(core: Running, kept: Running, options: Options) -> list[Figure]:
    sides = [(side, await nats_connected(side.url), Measured()) for side in (core, kept)]
    for _, client, _ in sides:
        await _until_taken(client)
    for number in range(options.rounds):
        for side, client, measured in sides:
            await _round(side, client, measured, options, number)
    for _, client, _ in sides:
        await client.close()
    (*_, plainly), (*_, durably) = sides
    return [
        milliseconds("core: an answer", plainly.seconds),
        milliseconds("kept: an answer", durably.seconds),
        milliseconds("core: 99th percentile of a round", plainly.p99_s),
        milliseconds("kept: 99th percentile of a round", durably.p99_s),
        median("core: CPU of the ingress for one question", plainly.ingress_cpu_s, "ms", scale=1000),
        median("kept: CPU of the ingress for one question", durably.ingress_cpu_s, "ms", scale=1000),
        ratio("the second to the first", durably.ingress_cpu_s, plainly.ingress_cpu_s),
        median("core: CPU of the NATS server for one question", plainly.server_cpu_s, "ms", scale=1000),
        median("kept: CPU of the NATS server for one question", durably.server_cpu_s, "ms", scale=1000),
        plain("questions without an answer", plainly.failed + durably.failed, "", at_most(0)),
    ]


async def _until_taken(client: Client) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            try:
                await _ask(client, "first")
            except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                await asyncio.sleep(0.1)
            else:
                return


async def _round(side: Running, client: Client, measured: Measured, options: Options, number: int) -> None:
    """Ask so many questions, so many at once."""
    before = side.cpu_s()
    numbers = iter(range(options.chats))
    seconds: list[float] = []

    async def asking() -> None:
        for one in numbers:
            begun = time.perf_counter()
            if await _ask(client, f"{number}-{one}"):
                seconds.append(time.perf_counter() - begun)

    await asyncio.gather(*(asking() for _ in range(options.at_once)))
    after = side.cpu_s()
    measured.seconds += seconds
    measured.p99_s.append(percentile(seconds, 99) or 0.0)
    measured.ingress_cpu_s.append((after[0] - before[0]) / options.chats)
    measured.server_cpu_s.append((after[1] - before[1]) / options.chats)
    measured.failed += options.chats - len(seconds)


async def _ask(client: Client, request_id: str) -> bool:
    request = messages_pb2.ChatRequest(request_id=request_id, message="When do they open?", enable_streaming=True)
    subject = subject_for(CHAT_MESSAGE, user_id=f"user-{request_id}")
    reply = await client.request(subject, request.SerializeToString(), timeout=_ANSWER_S)
    return messages_pb2.ChatResponse.FromString(reply.data).success


BENCHMARK = Benchmark("durable", __doc__, takes="a minute", needs=(), options=Options, run=run)


if __name__ == "__main__":
    BENCHMARK.main()
