"""How a replica's connection and the command line's outlive servers that are none, or that say nothing."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from bridges import nats_access as access_module
from bridges.command_line.client import connected
from bridges.nats import connection as connection_module
from bridges.nats.connection import LastingConnection
from bridges.nats.refusals import Refusals
from bridges.nats_access import are_server_urls
from bridges.subjects import Role
from deployments.errors import UnavailableError
from deployments.settings.orchestration import NatsSettings
from tests.servers import LOOPBACK

WAIT_S = 10.0
PING = b"PING\r\n"

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def info(**fields: object) -> bytes:
    known = {"server_id": "x", "version": "2.10.0", "proto": 1, "headers": True, "max_payload": 1_048_576}
    return b"INFO " + json.dumps({**known, **fields}).encode() + b"\r\n"


async def as_nats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(info())
    while line := await reader.readline():
        if line == PING:
            writer.write(b"PONG\r\n")


@dataclass
class SilentTls:
    """A server that wants TLS, and says nothing once we begin with it.

    Attributes:
        heard: Once we have begun.
    """

    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(info(tls_required=True))
        while await reader.read(65_536):
            self.heard.set()


def saying(greeting: bytes, *, answer: bytes = b"") -> Conversation:
    """Say something first, and something else to the first PING."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while line := await reader.readline():
            if line == PING:
                writer.write(answer)

    return converse


STRANGE = {
    "endless line": saying(b"x" * 200_000),
    "list": saying(b"INFO [1,2]\r\n"),
    "null": saying(b"INFO null\r\n"),
    "no JSON": saying(b"INFO {nope\r\n"),
    "other bytes": saying(b"INFO \xff{}\r\n"),
    "limit that is no number": saying(info(max_payload="lots")),
    "address that is none": saying(info(connect_urls=["[::1", "x:y"])),
    "addresses that are none": saying(info(connect_urls=5)),
    "error of other bytes": saying(info(), answer=b"-ERR '\xff\xfe'\r\n"),
    "error without a word": saying(info(), answer=b"-ERR\r\n"),
    "no PONG": saying(info(), answer=b"+OK\r\n"),
    "web server": saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
}


@dataclass
class Port:
    """A port on which something answers, and later something else.

    Attributes:
        converse: What it is now.
        number: Of the port.
        asked: How often somebody has connected since it is that.
    """

    converse: Conversation
    number: int = 0
    asked: int = 0
    _writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    @property
    def url(self) -> str:
        return f"nats://{LOOPBACK}:{self.number}"

    def becomes(self, converse: Conversation) -> None:
        """Let go of who is connected, and be something else from now on."""
        self.converse, self.asked = converse, 0
        self.let_go()

    def let_go(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.asked += 1
        try:
            await self.converse(reader, writer)
        except (OSError, asyncio.LimitOverrunError, ValueError):
            return  # They left, or agree upon TLS.


@asynccontextmanager
async def port(converse: Conversation) -> AsyncGenerator[Port]:
    found = Port(converse)
    server = await asyncio.start_server(found.answer, LOOPBACK, 0)
    found.number = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        found.let_go()
        server.close()


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what nats-py tells nobody."""
    async with asyncio.timeout(WAIT_S):
        while not happened():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def lasting(to: Port) -> LastingConnection:
    return LastingConnection(NatsSettings(url=to.url), "test", Refusals(Role.NATS_INGRESS))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_RECONNECT_WAIT_S", 0.02)


@pytest.mark.parametrize("strange", list(STRANGE))
async def test_a_server_that_is_none_for_a_while_is_a_failed_attempt_like_any_other(strange: str) -> None:
    async with port(as_nats) as server:
        connection = lasting(server)
        assert await connection.open(asyncio.Event())
        server.becomes(STRANGE[strange])
        await until(lambda: server.asked > 1)
        connection.check()
        assert connection.fault() == "NATS is not connected"
        server.becomes(as_nats)
        await until(lambda: connection.client.is_connected)
        await connection.client.flush()
        assert connection.fault() == ""
        await connection.close()


@pytest.mark.parametrize("strange", list(STRANGE))
async def test_a_server_that_is_none_at_first_is_waited_for(strange: str) -> None:
    async with port(STRANGE[strange]) as server:
        connection = lasting(server)
        opening = asyncio.create_task(connection.open(asyncio.Event()))
        await until(lambda: server.asked > 1)
        server.becomes(as_nats)
        assert await asyncio.wait_for(opening, WAIT_S)
        await connection.close()


@pytest.mark.parametrize("strange", list(STRANGE))
async def test_the_command_line_says_that_there_is_no_server(strange: str) -> None:
    async with port(STRANGE[strange]) as server:
        with pytest.raises(UnavailableError, match="NATS"):
            async with connected(server.url):
                pass


async def test_a_connection_that_is_sought_no_more_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise RuntimeError("of a kind that nobody thought of")

    async with port(as_nats) as server:
        connection = lasting(server)
        assert await connection.open(asyncio.Event())
        connection.check()
        monkeypatch.setattr(connection.client, "_select_next_server", fail)
        server.becomes(as_nats)
        await until(lambda: connection.client.given_up_over != "")
        with pytest.raises(UnavailableError, match=r"is sought no more \(RuntimeError"):
            connection.check()
        assert "is sought no more" in connection.fault()
        await connection.close()


async def test_a_server_that_says_nothing_over_tls_holds_nobody_who_stops() -> None:
    silent = SilentTls()
    async with port(silent) as server:
        connection, stopping = lasting(server), asyncio.Event()
        opening = asyncio.create_task(connection.open(stopping))
        await asyncio.wait_for(silent.heard.wait(), WAIT_S)
        stopping.set()
        assert await opening is False
        await asyncio.wait_for(connection.close(), WAIT_S)


async def test_nor_does_one_that_is_found_again() -> None:
    silent = SilentTls()
    async with port(as_nats) as server:
        connection = lasting(server)
        assert await connection.open(asyncio.Event())
        server.becomes(silent)
        await asyncio.wait_for(silent.heard.wait(), WAIT_S)
        await asyncio.wait_for(connection.close(), WAIT_S)


async def test_nor_does_one_that_never_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server does whose machine is gone in the midst of TLS."""
    monkeypatch.setattr(access_module, "_CLOSE_S", 0.05)

    async def never() -> None:
        await asyncio.Event().wait()

    async with port(as_nats) as server:
        connection = lasting(server)
        assert await connection.open(asyncio.Event())
        transport = connection.client._transport  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(transport, "wait_closed", never)
        await asyncio.wait_for(connection.close(), WAIT_S)
        assert connection.client.is_closed
        connection.check()


@pytest.mark.parametrize(
    "url", ["nats://one", "one:4222", "t@one", "nats://u:p%2C@one,tls://t@two,three:4222", "ws://one/p"]
)
def test_a_server_is_named_by_its_url(url: str) -> None:
    assert are_server_urls(url)


@pytest.mark.parametrize(
    "url",
    [
        *("nats://alice:WRO,NG@one", "nats://alice:12,NG@one", "nats://alice:WRO://NG@one", "nats://alice:12/NG@one"),
        *("nats://alice:12?NG@one", "alice:WRO", "", "nats://one,", "http://one", "nats://one:0"),
    ],
)
async def test_what_is_none_is_refused_and_no_part_of_a_password_is_shown(url: str) -> None:
    with pytest.raises(UnavailableError, match=r"a comma is %2C") as raised:
        async with connected(url):
            pass
    assert not {part for part in ("WRO", "NG", "alice:") if part in raised.value.message}
