"""Servers that are killed as a crash kills them, and started again at the same place."""

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests import servers

_WAIT_S = 60.0
_FILL_BYTES = 1 << 16


class KillableServer:
    """A process that listens on a port.

    Args:
        command: Starts it.
        log: The beginning of the names of its logs, one for each start.
        port: Where it listens.
    """

    def __init__(self, command: list[str], log: Path, port: int) -> None:
        self._command = command
        self._log = log
        self.port = port
        self._starts = 0
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._starts += 1
        log = self._log.with_name(f"{self._log.name}-{self._starts}.log")
        self._process = self._running.enter_context(servers.running(self._command, log))
        servers.wait_until(f"port {self.port}", lambda: servers.listens(self.port), _WAIT_S)

    def kill(self) -> None:
        """End it and all that it has started with SIGKILL."""
        if self._process is not None:
            kill_family(self._process.pid)
        self.stop()

    def stop(self) -> None:
        """End it in good order."""
        self._running.close()
        self._process = None


class Broker(KillableServer):
    """A NATS server with JetStream.

    Args:
        folder: Of its logs, and of its store unless `store` is given.
        store: Where the store is, for one on a disk of its own.
        max_payload: The largest message, in bytes.
    """

    def __init__(self, folder: Path, store: Path | None = None, max_payload: int = 8 << 20) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = servers.free_port()
        self.store = store or folder / "store"
        config = folder / "nats.conf"
        # As `hearth up` starts its own: see `LocalStack`.
        config.write_text(
            f'listen: "{servers.LOOPBACK}:{port}"\nmax_payload: {max_payload}\nno_fast_producer_stall: true\n'
            f'jetstream {{ store_dir: "{self.store}", sync_interval: always }}\n'
        )
        super().__init__([servers.program("nats-server"), "-c", str(config)], folder / "nats", port)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{servers.LOOPBACK}:{self.port}"

    def lose_store(self) -> None:
        """Delete all that it has stored; it does not run meanwhile."""
        for entry in self.store.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)

    def fill_disk(self) -> Path:
        """Fill the disk of the store to its last byte; return the file that does."""
        filler = self.store / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_FILL_BYTES))
            except OSError:
                return filler


class SmallDisk:
    """A file system of some MiB in memory, for as long as the block lasts.

    It is the nearest to a full disk that does no harm to the machine. It needs the right to mount.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder
        self._megabytes = megabytes

    def __enter__(self) -> Path:
        self._folder.mkdir(parents=True)
        size = f"size={self._megabytes}m"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "hearth-faults", str(self._folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PermissionError(done.stderr.strip())
        return self._folder

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", str(self._folder)], check=True)


def may_mount() -> bool:
    """Say whether this process may mount a file system."""
    return os.geteuid() == 0 and shutil.which("mount") is not None and _has_mount_capability()


def _has_mount_capability() -> bool:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    cap_sys_admin = 21
    return bool(int(line.split()[1], 16) >> cap_sys_admin & 1)


def kill_family(pid: int) -> None:
    """End a process and its descendants with SIGKILL, all at once."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        kill(process.pid)
    psutil.wait_procs(family[1:], timeout=_WAIT_S)


def kill(pid: int) -> None:
    """End a process with SIGKILL; one that has ended already stays as it is."""
    try:
        psutil.Process(pid).kill()
    except psutil.NoSuchProcess:
        return
