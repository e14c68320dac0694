"""Starting a checkout's `hearth up` from outside, into a state folder of its own, and ending it with `hearth down`."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deployments.models.store import ModelStore
from tests import servers
from tests.benchmarks.local_processes import ProcessFamily, listening_ports, started_processes
from tests.benchmarks.stand_in_graph import Side, StandInGraph, serve_config

LOOK_S = 0.2
"""Seconds between two looks at the processes."""
_OTHERS = ("RAY_", "NATS_", "MILVUS_", "UV_", "OTEL_", "VIRTUAL_ENV", "PYTHONPATH", "HEARTH_")
_DOWN_S = 120.0


@dataclass(frozen=True)
class Checkout:
    """A checkout of Hearth, with an environment of its own.

    Attributes:
        name: What it is called in figures.
        folder: Where it lies.
        program: Its `hearth`.
    """

    name: str
    folder: Path
    program: Path

    @classmethod
    def this(cls) -> "Checkout":
        """Return the one that this is in."""
        return cls("this", servers.ROOT, Path(sys.executable).parent / "hearth")

    @classmethod
    def at(cls, folder: str) -> "Checkout":
        """Return another one.

        Raises:
            FileNotFoundError: It has no environment with a `hearth`.
        """
        path = Path(folder).resolve()
        program = path / ".venv" / "bin" / "hearth"
        if not program.exists():
            raise FileNotFoundError(f"--against {folder}: {program} is not there; run `uv sync` in that folder")
        return cls("other", path, program)


@dataclass
class LocalStart:
    """A `hearth up` of a checkout, and what came from it.

    Attributes:
        checkout: Whose.
        state_folder: Where it keeps its state.
        config: What it deploys instead of the shipped configuration; None for that.
        began: When it was started, in Unix seconds.
        skew_s: Seconds by which the kernel says another time of a process's creation than the clock does.
        family: Its processes.
    """

    checkout: Checkout
    state_folder: Path
    config: Path | None = None
    began: float = 0.0
    skew_s: float = 0.0
    family: ProcessFamily = field(default_factory=ProcessFamily)

    async def up(self) -> None:
        """Run `hearth up` to its end, looking at its processes.

        Raises:
            RuntimeError: It failed; the message is what it wrote.
        """
        self.began = time.time()
        await self._run("up", *(["--config", str(self.config)] if self.config else []))

    async def down(self) -> float:
        """Run `hearth down`, and return the seconds that it took."""
        began = time.monotonic()
        async with asyncio.timeout(_DOWN_S):
            await self._run("down")
        return time.monotonic() - began

    def look(self) -> None:
        """Note what the processes have taken by now."""
        now = time.time()
        for process in started_processes(self.state_folder):
            self.family.add(process, now)
        self.family.look(now)

    @property
    def cpu_s(self) -> float:
        """Return the seconds of CPU that all processes have taken by the last look, those that ended among them."""
        return sum(usage.cpu_s for usage in self.family.usages.values())

    async def _run(self, *arguments: str) -> None:
        written = self.state_folder.with_suffix(".log")
        with written.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                str(self.checkout.program),
                *arguments,
                cwd=self.checkout.folder,
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            hearth = psutil.Process(process.pid)
            self.skew_s = hearth.create_time() - time.time()
            self.family.add(hearth, time.time())
            ended = asyncio.create_task(process.wait())
            try:
                while not ended.done():
                    self.look()
                    await asyncio.wait([ended], timeout=LOOK_S)
            finally:
                if not ended.done():
                    process.terminate()
                    await ended
        self.look()
        if process.returncode:
            raise RuntimeError(f"{self.checkout.program} {' '.join(arguments)}: {written.read_text()}")

    def _environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
        # The programs of the checkout, and not of the environment that this runs in.
        path = os.pathsep.join((str(self.checkout.program.parent), kept.get("PATH", os.defpath)))
        made = {"HEARTH_STATE": str(self.state_folder), "HEARTH_MODELS": str(ModelStore.from_environment().folder)}
        # What stands in for models is in this folder of ours.
        stand_ins = {"PYTHONPATH": str(servers.ROOT)} if self.config else {}
        return {**kept, **made, **stand_ins, "PATH": path}


@dataclass(frozen=True)
class Left:
    """What `hearth down` has left.

    Attributes:
        took_s: Seconds that it took.
        processes: What is still there.
        ports: On which somebody still listens.
    """

    took_s: float
    processes: list[str]
    ports: list[int]


async def end(start: LocalStart) -> Left:
    """Run `hearth down`, and see what is left."""
    ports = listening_ports(start.family.living)
    took_s = await start.down()
    titles = [start.family.usages[process].title for process in start.family.living]
    return Left(took_s, titles, sorted(port for port in ports if servers.listens(port)))


@asynccontextmanager
async def local_start(checkout: Checkout, *, stand_ins: bool) -> AsyncGenerator[LocalStart]:
    """Give a start that is not begun yet; whatever it has started is ended with the block.

    Args:
        checkout: Of which.
        stand_ins: Whether models that cost nothing are deployed, and only chat, instead of the shipped configuration.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        config = write_stand_ins(Path(folder) / "stand-ins.yaml") if stand_ins else None
        start = LocalStart(checkout, Path(folder) / "state", config)
        try:
            yield start
        finally:
            if started_processes(start.state_folder):
                await start.down()
            for process in start.family.living:
                process.kill()


def write_stand_ins(file: Path) -> Path:
    """Write a configuration with models that cost nothing, and return the file."""
    graph = StandInGraph(servers.free_port(), "http://127.0.0.1:0", "", frozenset({Side.TOGETHER}))
    config = {**serve_config(graph), "proxy_location": "Disabled"}
    # Every JSON text is one of YAML. The local stack says itself where NATS is.
    file.write_text(json.dumps(config), encoding="utf-8")
    return file
