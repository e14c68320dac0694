"""Clients that ask at a steady rate over core NATS, as the contract has it, and note all that comes back."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import nats.errors
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.connection import NatsClient
from bridges.subjects import CHAT_STREAM
from deployments.ending import end
from tests.faults.asked import ANSWERS, Asked, Kind, ask

_RECONNECT_WAIT_S = 0.1
_CONNECT_S = 20.0
_LAST_S = 0.1
_AGAIN_S = 0.5
_WAIT_LONGER_S = 10.0
"""Behind the time-out, and at most as long as that: an answer that comes then is late, and not lost."""


@dataclass(slots=True)
class Load:
    """One connection, over which all of the clients ask.

    Attributes:
        url: Of the NATS server.
        kinds: What is asked, in turn.
        makes_sure: Whether clients make sure, as core NATS confirms nothing to who publishes: they ask with a reply
            subject, and ask again where the server says that nobody listens, and, of what has a request id, where they
            had lost their connection and have no answer yet.
        asked: What was asked, by name.
    """

    url: str
    kinds: Sequence[Kind]
    makes_sure: bool
    asked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    _client: NatsClient = field(default_factory=NatsClient)
    _inbox: str = ""
    _again: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        """Connect and listen."""
        async with asyncio.timeout(_CONNECT_S):
            await self._client.connect(
                self.url,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_S,  # pyright: ignore[reportArgumentType] - only ever slept for
                reconnected_cb=self._reconnected,
                error_cb=_expected,
            )
        self._inbox = self._client.new_inbox()
        for subject in ANSWERS:
            heard = self._streamed if subject is CHAT_STREAM else self._final
            await self._client.subscribe(subject.wildcard, cb=heard)
        await self._client.subscribe(f"{self._inbox}.*", cb=self._final)
        await self._client.flush()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Leave."""
        await end(self._again)
        await self._client.close()

    def open(self) -> int:
        """Return how many requests are sent and not answered."""
        return sum(not one.answered_at for one in self.asked.values() if one.sent_at)

    async def ask_steadily(self, number: int, rate: float, prefix: str, told: Callable[[int], None]) -> None:
        """Ask so many times, so many a second.

        Args:
            number: How many requests.
            rate: How many a second.
            prefix: Of their names.
            told: Called with the number of each before it is sent.
        """
        began = time.monotonic()
        kinds = itertools.cycle(self.kinds)
        for at in range(number):
            await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
            told(at)
            one = ask(next(kinds), f"{prefix}-{at}")
            self.asked[one.name] = one
            await self._send(one)

    async def until_answered(self, timeout_s: float) -> None:
        """Return when all is answered, or when an answer would be later than late."""
        last = max((one.sent_at for one in self.asked.values()), default=0.0)
        await self._until(lambda: not self.open(), last + timeout_s + min(timeout_s, _WAIT_LONGER_S) - time.monotonic())
        # What is on its way may be something that came before.
        await asyncio.sleep(_LAST_S)

    async def trouble(self, prefix: str, timeout_s: float) -> str:
        """Ask once of each kind; return what keeps one from being answered well within some seconds, if anything."""
        probes = [ask(kind, f"{prefix}-{kind}") for kind in dict.fromkeys(self.kinds)]
        for probe in probes:
            self.asked[probe.name] = probe
            await self._send(probe)
        await self._until(lambda: all(probe.answered_at for probe in probes), timeout_s)
        for probe in probes:
            del self.asked[probe.name]
        return "; ".join(f"{probe.kind}: {wrong}" for probe in probes if (wrong := _wrong(probe)))

    async def _until(self, happened: Callable[[], bool], seconds: float) -> None:
        """Return when something has happened that a final message brings, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not happened():
                    self._changed.clear()
                    await self._changed.wait()

    async def _send(self, one: Asked) -> None:
        one.sent_at = one.sent_at or time.monotonic()
        one.sends += 1
        reply = f"{self._inbox}.{one.name}" if self.makes_sure else ""
        try:
            await self._client.publish(one.subject, one.payload, reply)
        except nats.errors.OutboundBufferLimitError:
            # Its client knows that it was not sent: it waits for the connection, as those do that sent theirs.
            return

    async def _reconnected(self) -> None:
        if not self.makes_sure:
            return
        for one in list(self.asked.values()):
            if not one.answered_at and one.may_be_repeated:
                await self._send(one)

    async def _final(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        one = self.asked.get(_name_of(message.subject))
        if one is None:
            return
        if status:
            # The server's own word: nobody listens now.
            self._again.add(asyncio.create_task(self._send_later(one)))
            return
        one.heard(message.data, message.subject, time.monotonic())
        self._changed.set()

    async def _send_later(self, one: Asked) -> None:
        await asyncio.sleep(_AGAIN_S)
        if not one.answered_at:
            await self._send(one)

    async def _streamed(self, message: Msg) -> None:
        chunk = messages_pb2.ChatStreamChunk.FromString(message.data)
        one = self.asked.get(chunk.request_id)
        if one is None:
            return
        if chunk.done:
            one.ends += 1
        else:
            one.pieces += 1


def _wrong(probe: Asked) -> str:
    if not probe.answered_at:
        return "no answer"
    return probe.error or ("answered without documents" if probe.lacks_documents else "")


def _name_of(subject: str) -> str:
    """Return the name of a request: in answers the last token, of a greeting its user."""
    tokens = subject.split(".")
    return tokens[3] if tokens[-2:] == ["greeting", "response"] else tokens[-1]


async def _expected(error: Exception) -> None:
    """Take what a client is told of a connection that is broken on purpose."""
