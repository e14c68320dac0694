"""Sends payloads to the ingresses, batch by batch, and holds what comes back against what has to."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import psutil
from nats.aio.msg import Msg

from bridges.live.ingress import AudioIngress
from bridges.nats.ingress import Ingress
from tests.fuzz.graph import serving
from tests.fuzz.payloads import Payload, drawn, found
from tests.nats_client import nats_connected

BATCH = 256
_ANSWER_S = 60.0
_CONNECT = b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'


@dataclass
class Report:
    """What a run came to.

    Attributes:
        sent: Payloads.
        outcomes: Of requests, by subject and outcome.
        unanswered: Payloads without the answer that each has to have.
        seconds: How long it took.
        grown_bytes: What the process's memory grew by between a tenth of the run and its end.
    """

    sent: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    unanswered: list[Payload] = field(default_factory=list[Payload])
    seconds: float = 0.0
    grown_bytes: int = 0

    @property
    def faults(self) -> dict[str, int]:
        """How many requests failed inside Hearth, by subject."""
        return {subject: number for (subject, outcome), number in self.outcomes.items() if outcome == "internal"}


class RawPublisher:
    """Publishes bytes as no client library would send them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def connect(cls, url: str) -> "RawPublisher":
        host, port = url.removeprefix("nats://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(_CONNECT)
        return cls(reader, writer)

    def publish(self, payload: Payload, reply: str) -> None:
        size = len(payload.headers)
        total = size + len(payload.data)
        if size:
            head = b"HPUB %b %b %d %d\r\n" % (payload.subject, reply.encode(), size, total)
        else:
            head = b"PUB %b %b %d\r\n" % (payload.subject, reply.encode(), total)
        self._writer.write(head + payload.headers + payload.data + b"\r\n")

    async def drain(self) -> None:
        await self._writer.drain()

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            if line.startswith(b"PING"):
                self._writer.write(b"PONG\r\n")
            elif line.startswith(b"-ERR"):
                raise RuntimeError(f"the NATS server refused a payload: {line!r}")


async def run(
    url: str, total: int, seed: int, seconds: float | None = None, told: Callable[[Report], None] | None = None
) -> Report:
    """Send payloads until `total` are answered, or until the time is over.

    Args:
        url: Of a NATS server without other clients.
        total: How many.
        seed: Draws them; the same ones for the same seed.
        seconds: At most; None for as long as it takes.
        told: Called after each batch.

    Raises:
        AssertionError: An ingress has ended.
    """
    random, report, started = Random(seed), Report(), time.monotonic()
    client = await nats_connected(url)
    inbox, numbers = client.new_inbox(), count()
    waiting: dict[str, Payload] = {}
    all_there = asyncio.Event()

    async def heard(message: Msg) -> None:
        waiting.pop(message.subject, None)
        if not waiting:
            all_there.set()

    await client.subscribe(f"{inbox}.*", cb=heard)
    raw = await RawPublisher.connect(url)
    process, settled = psutil.Process(), 0
    async with serving(url, 4 * BATCH) as (ingress, audio, counted):
        report.outcomes = counted.outcomes
        kept = found()
        while report.sent < total and (seconds is None or time.monotonic() - started < seconds):
            batch, kept = [*kept, *(drawn(random) for _ in range(BATCH - len(kept)))], []
            all_there.clear()
            for payload in batch:
                reply = f"{inbox}.{next(numbers)}"
                if payload.is_answered:
                    waiting[reply] = payload
                raw.publish(payload, reply)
            await raw.drain()
            if waiting:
                await _until(all_there)
            report.sent += len(batch)
            report.unanswered += waiting.values()
            waiting.clear()
            check_alive(ingress, audio)
            report.seconds = time.monotonic() - started
            if not settled and (report.sent >= total / 10 or report.seconds >= (seconds or report.seconds + 1) / 10):
                settled = process.memory_info().rss
            report.grown_bytes = process.memory_info().rss - settled if settled else 0
            if told:
                told(report)
    await raw.close()
    await client.close()
    return report


async def _until(all_there: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_ANSWER_S):
            await all_there.wait()
    except TimeoutError:
        return


def check_alive(ingress: Ingress, audio: AudioIngress) -> None:
    """Raise `AssertionError` where an ingress takes nothing any more."""
    assert ingress.is_serving(), "the ingress takes no requests any more"
    assert audio.session_count >= 0
