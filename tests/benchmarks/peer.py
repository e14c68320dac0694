"""Peers: other programs that do the same, each in an environment of its own and in processes of its own.

A peer is a program of `peers/` that reads lines and answers each with one, a JSON object. It prints one such line when
it is ready.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

PEERS = Path(__file__).with_name("peers")


class Peer:
    """A peer that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._written, self._read = process.stdin, process.stdout

    async def ask(self, line: str) -> dict[str, Any]:
        """Return the answer to a line."""
        self._written.write(f"{line}\n")
        self._written.flush()
        return await asyncio.to_thread(self.read)

    def read(self) -> dict[str, Any]:
        """Return the next object.

        Raises:
            RuntimeError: The peer has ended.
        """
        line = self._read.readline()
        if not line:
            raise RuntimeError("the peer has ended; what it wrote to standard error says why")
        return cast("dict[str, Any]", json.loads(line))


@contextmanager
def peer_python(requirements: str) -> Generator[str]:
    """Give the interpreter of an environment with the peer in it, by the name of its requirements file."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        # Not in the checkout, whose pins are not the peer's.
        install = ["uv", "pip", "install", "--quiet", "--python", python]
        subprocess.run([*install, "--requirement", str(PEERS / requirements)], check=True, cwd=folder)
        yield python


@contextmanager
def peer_process(python: str, program: str, *arguments: str) -> Generator[Peer]:
    """Run a peer for as long as the block lasts; give it once it is ready."""
    command = [python, str(PEERS / program), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            running = Peer(process)
            running.read()
            yield running
        finally:
            process.terminate()
