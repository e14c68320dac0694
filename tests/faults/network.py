"""The network between Hearth and a server: a TCP proxy that can be slow, silent, or cut."""

import asyncio
import contextlib
from dataclasses import dataclass

from tests.servers import LOOPBACK

_READ_BYTES = 1 << 16
_QUEUED_READS = 256
_QUICK = 0.0


@dataclass(slots=True)
class _Piece:
    due: float
    data: bytes


class Network:
    """Passes connections on to a server.

    Args:
        port: Of the server, on this machine.

    Attributes:
        port: Where the proxy listens.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self._server_port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._delay_s = _QUICK
        self._bytes_per_s = 0.0
        self._passes = asyncio.Event()
        self._passes.set()

    async def open(self) -> None:
        """Listen, at the same port as before if there was one."""
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections, and refuse new ones until `open`."""
        if self._server is not None:
            self._server.close()
        ending = list(self._connections)
        for connection in ending:
            connection.cancel()
        if ending:
            await asyncio.wait(ending)

    async def slow(self, delay_s: float, bytes_per_s: float) -> None:
        """Deliver everything later by so much, in each direction, and no faster than that; 0 and 0 for at once."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s

    async def silence(self) -> None:
        """Deliver nothing until `speak`; connections stay open, and nobody is told."""
        self._passes.clear()

    async def speak(self) -> None:
        """Deliver again, what was held back first."""
        self._passes.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            # Only `cut` cancels, and asyncio's own server would log it as a fault.
            writer.transport.abort()
        finally:
            self._connections.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            writer.close()
            return
        ways = [asyncio.create_task(self._way(reader, back)), asyncio.create_task(self._way(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for end in (writer, back):
                end.close()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[_Piece | None] = asyncio.Queue(_QUEUED_READS)
        delivering = asyncio.create_task(self._deliver(pieces, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_READ_BYTES):
                    await pieces.put(_Piece(asyncio.get_running_loop().time() + self._delay_s, data))
            await pieces.put(None)
            await delivering
        finally:
            delivering.cancel()
            await asyncio.wait((delivering,))

    async def _deliver(self, pieces: asyncio.Queue[_Piece | None], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while piece := await pieces.get():
            await asyncio.sleep(max(0.0, piece.due - loop.time()))
            if self._bytes_per_s:
                await asyncio.sleep(len(piece.data) / self._bytes_per_s)
            await self._passes.wait()
            writer.write(piece.data)
            try:
                await writer.drain()
            except ConnectionError:
                return
