"""The endpoint of an ingress that `hearth drain` asks, over its real socket."""

import asyncio
import json
import logging
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridges.draining import drain_folder, find_sockets, make_folder
from bridges.operations.draining import DrainServer

SUBJECT = "ai.chat.request"


class Ingress:
    """An ingress with two requests that are answered when it is let."""

    def __init__(self) -> None:
        self.requests = 2
        self.drains = 0
        self.answered = asyncio.Event()
        self.error: Exception | None = None

    async def drain(self) -> None:
        self.drains += 1
        await self.answered.wait()
        if self.error:
            raise self.error
        self.requests = 0

    def held(self) -> dict[str, int]:
        return {SUBJECT: self.requests} if self.requests else {}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEARTH_RUNTIME", str(tmp_path))
    return drain_folder()


@asynccontextmanager
async def serving(ingress: Ingress) -> AsyncGenerator[DrainServer]:
    server = DrainServer("NatsIngress", ingress.drain, ingress.held)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def asked(folder: Path) -> AsyncGenerator[dict[str, Any]]:
    """Ask the only ingress to drain, and yield what it says."""
    (path,) = find_sockets(folder)
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://ingress", timeout=10) as client,
        client.stream("POST", "/drain") as response,
    ):
        async for line in response.aiter_lines():
            yield json.loads(line)


def said(held: dict[str, int], *, is_over: bool) -> dict[str, Any]:
    return {"name": "NatsIngress", "process_id": os.getpid(), "held": held, "is_over": is_over}


async def rest_of(lines: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line async for line in lines]


async def test_it_says_at_once_what_is_held_and_at_the_end_that_nothing_is(folder: Path) -> None:
    ingress = Ingress()
    async with serving(ingress) as server, aclosing(asked(folder)) as lines:
        assert not server.is_draining
        assert await anext(lines) == said({SUBJECT: 2}, is_over=False)
        assert server.is_draining
        ingress.answered.set()
        assert await rest_of(lines) == [said({}, is_over=True)]
        assert server.is_draining


async def test_each_change_is_told(folder: Path) -> None:
    ingress = Ingress()
    async with serving(ingress), aclosing(asked(folder)) as lines:
        await anext(lines)
        ingress.requests = 1
        assert await anext(lines) == said({SUBJECT: 1}, is_over=False)


async def test_asked_again_while_it_drains_and_after_it_joins_the_one_drain(folder: Path) -> None:
    ingress = Ingress()
    async with serving(ingress), aclosing(asked(folder)) as first, aclosing(asked(folder)) as second:
        assert await anext(first) == await anext(second)
        ingress.answered.set()
        assert await rest_of(first) == await rest_of(second) == [said({}, is_over=True)]
        assert await rest_of(asked(folder)) == [said({}, is_over=True)]
        assert ingress.drains == 1


async def test_the_drain_goes_on_when_who_asked_for_it_has_left(folder: Path) -> None:
    ingress = Ingress()
    async with serving(ingress):
        async with aclosing(asked(folder)) as lines:
            await anext(lines)
        ingress.answered.set()
        assert (await rest_of(asked(folder)))[-1] == said({}, is_over=True)
        assert ingress.drains == 1


async def test_a_replica_that_ends_says_its_last_word_first(folder: Path) -> None:
    ingress = Ingress()
    async with aclosing(asked(folder)) as lines:
        async with serving(ingress):
            await anext(lines)
            ingress.answered.set()
        assert await rest_of(lines) == [said({}, is_over=True)]
    assert find_sockets(folder) == []


async def test_a_replica_that_ends_without_its_drain_is_heard_to_break_off(folder: Path) -> None:
    ingress = Ingress()
    async with aclosing(asked(folder)) as lines:
        async with serving(ingress):
            await anext(lines)
        with pytest.raises(httpx.RemoteProtocolError):
            await rest_of(lines)


async def test_a_drain_that_fails_is_over_with_what_is_held(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ingress = Ingress()
    ingress.error = RuntimeError("a fault of our own")
    ingress.answered.set()
    async with serving(ingress):
        assert (await rest_of(asked(folder)))[-1] == said({SUBJECT: 2}, is_over=True)
    assert "NatsIngress could not be drained" in caplog.text


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_its_socket_is_its_user_s_alone(folder: Path) -> None:
    async with serving(Ingress()):
        (path,) = files_in(folder)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files_in(folder) == []


async def test_sockets_of_replicas_that_were_killed_are_cleared_away(folder: Path) -> None:
    make_folder(folder)
    stale = folder / "AudioIngress-1.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as killed:
        killed.bind(str(stale))
    async with serving(Ingress()):
        assert not stale.exists()


async def test_one_of_its_own_process_id_is_replaced(folder: Path) -> None:
    make_folder(folder)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as killed:
        killed.bind(str(folder / f"NatsIngress-{os.getpid()}.sock"))
    ingress = Ingress()
    ingress.answered.set()
    async with serving(ingress):
        assert (await rest_of(asked(folder)))[-1]["is_over"]


@pytest.mark.parametrize("place", ["a file/below", "x" * 120], ids=["not a folder", "too long for a socket"])
async def test_a_folder_that_allows_no_socket_stops_no_ingress_and_is_logged(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").touch()
    if "file" not in place:
        (tmp_path / place).mkdir()
    monkeypatch.setenv("HEARTH_RUNTIME", str(tmp_path / place))
    async with serving(Ingress()) as server:
        assert not server.is_draining
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message.startswith("`hearth drain` cannot find NatsIngress: no socket in ")
