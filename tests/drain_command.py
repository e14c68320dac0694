"""`hearth drain` as a process of its own, as the preStop hook of a node runs it."""

import asyncio
import os
import signal
from collections.abc import Mapping

from tests.servers import program

_WAIT_S = 100.0


class DrainCommand:
    """A running `hearth drain`.

    Attributes:
        lines: What it has said so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._output = process.stdout
        self.lines: list[str] = []

    @classmethod
    async def start(cls, environment: Mapping[str, str], *options: str) -> "DrainCommand":
        """Start it with these variables over those of the tests."""
        process = await asyncio.create_subprocess_exec(
            program("hearth"),
            *("drain", *options),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return cls(process)

    async def until_said(self, words: str) -> None:
        """Wait for a line with these words."""
        async with asyncio.timeout(_WAIT_S):
            while not any(words in line for line in self.lines):
                line = await self._output.readline()
                assert line, self.lines
                self.lines.append(line.decode().strip())

    def interrupt(self) -> None:
        """Send it a Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> int:
        """Wait for its end; return its exit status."""
        async with asyncio.timeout(_WAIT_S):
            rest = await self._output.read()
            self.lines += rest.decode().splitlines()
            return await self._process.wait()
