"""`hearth drain`, against real sockets of ingresses that a test plays."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridges.command_line.local import draining
from bridges.command_line.local.draining import NodeDrain, NodeDrainer
from bridges.command_line.main import cli
from bridges.draining import drain_folder, find_sockets, make_folder
from bridges.operations.draining import DrainServer
from deployments.errors import UnavailableError

SUBJECT = "ai.chat.request"
ME = f"process {os.getpid()}"
PATIENCE_S = 3.0
"""Long enough for an ingress to say how it is, also on a busy machine."""


class Ingress:
    """An ingress with requests that are answered when it is let."""

    def __init__(self, requests: int = 2) -> None:
        self.requests = requests
        self.asked = asyncio.Event()
        self.answered = asyncio.Event()

    async def drain(self) -> None:
        self.asked.set()
        if self.requests:
            await self.answered.wait()
        self.requests = 0

    def held(self) -> dict[str, int]:
        return {SUBJECT: self.requests} if self.requests else {}


class Stuck(Ingress):
    """One whose drain does not end, whatever it holds."""

    async def drain(self) -> None:
        self.asked.set()
        await asyncio.Event().wait()


@asynccontextmanager
async def serving(ingress: Ingress, name: str = "NatsIngress") -> AsyncGenerator[DrainServer]:
    server = DrainServer(name, ingress.drain, ingress.held)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEARTH_RUNTIME", str(tmp_path))
    return drain_folder()


class Told(list[str]):
    """The lines that a person reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = asyncio.Event()

    def hear(self, line: str) -> None:
        self.append(line)
        self.first.set()


@pytest.fixture
def told() -> Told:
    return Told()


async def command(*options: str) -> Result:
    """Run the command, on a thread: it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, cli, ["drain", *options])


async def test_every_ingress_of_the_node_is_asked_and_waited_for(folder: Path, told: Told) -> None:
    requests, audio = Ingress(), Ingress(0)
    async with serving(requests), serving(audio, "AudioIngress"):
        drain = asyncio.create_task(NodeDrainer(folder, told.hear).drain(10, 0))
        await asyncio.gather(requests.asked.wait(), audio.asked.wait())
        assert not drain.done()
        requests.answered.set()
        assert await drain == NodeDrain(2, ())
    assert sorted(told) == [
        f"AudioIngress ({ME}) is drained",
        f"NatsIngress ({ME}) is drained",
        f"NatsIngress ({ME}) still holds 2 on {SUBJECT}",
    ]


async def test_when_the_time_is_over_it_says_what_is_left(folder: Path, told: Told) -> None:
    async with serving(Ingress()), serving(Ingress(0), "AudioIngress"):
        drain = await NodeDrainer(folder, told.hear).drain(PATIENCE_S, 0)
    assert drain == NodeDrain(1, (f"NatsIngress ({ME}) still holds 2 on {SUBJECT}",))


async def test_only_the_ingresses_of_some_processes_are_asked_where_these_are_named(folder: Path, told: Told) -> None:
    async with serving(Ingress(0)):
        assert await NodeDrainer(folder, told.hear, {os.getpid()}).drain(10, 0) == NodeDrain(1, ())
    spared = Ingress(0)
    async with serving(spared):
        assert await NodeDrainer(folder, told.hear, {os.getpid() + 1}).drain(10, 0) == NodeDrain(0, ())
    assert not spared.asked.is_set()


async def test_without_an_ingress_it_is_done_at_once(folder: Path, told: Told) -> None:
    started = asyncio.get_running_loop().time()
    assert await NodeDrainer(folder, told.hear).drain(60, 0) == NodeDrain(0, ())
    assert asyncio.get_running_loop().time() - started < 1


async def test_it_lasts_at_least_as_long_as_it_is_told_to(folder: Path, told: Told) -> None:
    started = asyncio.get_running_loop().time()
    async with serving(Ingress(0)):
        assert await NodeDrainer(folder, told.hear).drain(0.1, 0.4) == NodeDrain(1, ())
    assert asyncio.get_running_loop().time() - started >= 0.4


async def test_an_ingress_that_starts_meanwhile_is_drained_too(
    folder: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "_LOOK_AGAIN_S", 0.01)
    first, second = Ingress(), Ingress(0)
    async with serving(first):
        drain = asyncio.create_task(NodeDrainer(folder, told.hear).drain(10, 0))
        await first.asked.wait()
        async with serving(second, "AudioIngress"):
            await asyncio.wait_for(second.asked.wait(), 10)
            first.answered.set()
            assert await drain == NodeDrain(2, ())


async def test_a_replica_that_ends_with_something_in_its_hands_is_told(folder: Path, told: Told) -> None:
    ingress = Ingress()
    async with serving(ingress):
        drain = asyncio.create_task(NodeDrainer(folder, told.hear).drain(10, 0))
        await told.first.wait()
    assert await drain == NodeDrain(0, (f"NatsIngress ({ME}) ended while it held 2 on {SUBJECT}",))
    assert told[-1] == f"NatsIngress ({ME}) has ended"


async def test_a_replica_that_ends_before_it_says_anything_is_told(folder: Path, told: Told) -> None:
    make_folder(folder)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(hang_up, folder / "NatsIngress-7.sock"):
        left = (await NodeDrainer(folder, told.append).drain(5.0, 0.0)).left
    assert left == ("NatsIngress (process 7) ended before it said what it held",)


async def test_a_socket_of_a_replica_that_was_killed_is_cleared_away_without_a_word(folder: Path, told: Told) -> None:
    make_folder(folder)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as killed:
        killed.bind(str(folder / "NatsIngress-1.sock"))
    assert await NodeDrainer(folder, told.hear).drain(10, 0) == NodeDrain(0, ())
    assert (find_sockets(folder), told) == ([], [])


async def test_a_replica_that_ends_with_nothing_in_its_hands_is_no_loss(folder: Path, told: Told) -> None:
    ingress = Stuck(0)
    async with serving(ingress):
        drain = asyncio.create_task(NodeDrainer(folder, told.hear).drain(10, 0))
        await ingress.asked.wait()
    assert await drain == NodeDrain(0, ())


async def test_an_ingress_that_has_not_left_in_time_is_told(folder: Path, told: Told) -> None:
    async with serving(Stuck(0)):
        drain = await NodeDrainer(folder, told.hear).drain(PATIENCE_S, 0)
    assert drain.left == (f"NatsIngress ({ME}) has not left its queue group",)


async def test_what_listens_and_is_no_ingress_is_an_error(folder: Path, told: Told) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n")
        await writer.drain()
        writer.close()

    make_folder(folder)
    async with await asyncio.start_unix_server(answer, folder / "NatsIngress-1.sock"):
        with pytest.raises(UnavailableError, match="no ingress says 'no'"):
            await NodeDrainer(folder, told.hear).drain(10, 0)


async def test_the_command_tells_how_it_goes_and_ends_well(folder: Path) -> None:
    async with serving(Ingress(0)):
        result = await command()
    assert (result.exit_code, result.output) == (0, f"NatsIngress ({ME}) is drained\n1 ingress is drained.\n")


async def test_the_command_without_an_ingress_says_where_it_looked_and_ends_well(folder: Path) -> None:
    result = await command()
    assert (result.exit_code, result.output) == (0, f"This user has no ingress on this node: no socket in {folder}.\n")


async def test_the_command_says_whose_ingresses_there_are_besides(folder: Path) -> None:
    other = folder.with_name(f"hearth-{os.getuid() + 1}")
    other.mkdir()
    result = await command()
    assert result.exit_code == 0
    assert f"Other users have: {other}. Run this as the user who runs Ray." in result.output


@pytest.mark.parametrize("option", ["--timeout", "--at-least"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
async def test_the_command_wants_seconds_that_end(option: str, seconds: str) -> None:
    result = await command(option, seconds)
    assert result.exit_code == 2
    assert option in result.output


async def test_the_command_fails_when_the_time_is_over() -> None:
    async with serving(Ingress()):
        result = await command("--timeout", str(PATIENCE_S))
    assert result.exit_code == 1
    assert isinstance(result.exception, UnavailableError)
    assert result.exception.message == f"NatsIngress ({ME}) still holds 2 on {SUBJECT}"


async def test_the_command_fails_where_ingresses_could_not_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_RUNTIME", str(tmp_path / "away"))
    result = await command()
    assert isinstance(result.exception, UnavailableError)
    assert "HEARTH_RUNTIME names another place" in result.exception.message
