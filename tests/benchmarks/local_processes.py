"""The processes of a local stack, looked at from outside: which there are, what each is called, takes and has taken."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_DASHBOARD_MODULES = (
    *("DataHead", "EventHead", "JobHead", "MetricsHead", "NodeHead", "ReportHead", "ServeHead", "StateHead"),
    "TrainHead",
)
_TITLES = {
    "nats-server": "NATS server",
    "milvus-lite": "Milvus Lite",
    "gcs_server": "Ray: gcs",
    "raylet": "Ray: raylet",
    "dashboard.py": "Ray: dashboard",
    "ray.util.client.server": "Ray: client server",
    "bridges.command_line.local.ray_head": "Ray: head",
    "log_monitor.py": "Ray: log monitor",
    "monitor.py": "Ray: monitor",
    "hearth": "hearth",
    "bridges.command_line.local.worker_forks": "Ray: forks workers",
}
"""By a word of the command line: what a process is called."""

_PARTS = {
    **{f"ray-dashboard-{name}": f"Ray: dashboard's {name}" for name in _DASHBOARD_MODULES},
    "default_worker.py": "Ray: worker that begins",
    "multiprocessing": "Ray: dashboard's fork server",
    "ray start": "Ray: ray start",
}
"""By a part of the command line: likewise."""


@dataclass(slots=True)
class Usage:
    """What one process has taken.

    Attributes:
        title: What it is called; processes of Ray change that when they get their work.
        began: When it was created, in Unix seconds.
        seen: When it was there last, in Unix seconds.
        cpu_s: Seconds of CPU by then.
    """

    title: str
    began: float
    seen: float
    cpu_s: float


@dataclass(slots=True)
class ProcessFamily:
    """Processes and all that came from them, also after the one between has ended.

    A process is found when this is told to look, so one that lived and ended in between is missed.

    Attributes:
        usages: Of all processes that were ever found.
    """

    usages: dict[psutil.Process, Usage] = field(default_factory=dict[psutil.Process, Usage])
    _strangers: set[int] = field(default_factory=set[int])

    @property
    def living(self) -> list[psutil.Process]:
        """Return the processes that run now."""
        return [process for process in self.usages if _is_running(process)]

    def add(self, process: psutil.Process, now: float) -> None:
        """Let a process, and what will come from it, belong to the family."""
        if process not in self.usages and (usage := _usage(process, now)):
            self.usages[process] = usage
            self._strangers.clear()

    def look(self, now: float) -> None:
        """Find new processes, and note what all have taken by now, in Unix seconds."""
        self._find(now)
        for process, usage in self.usages.items():
            if found := _usage(process, now):
                usage.title, usage.seen, usage.cpu_s = found.title, found.seen, found.cpu_s

    def _find(self, now: float) -> None:
        known = {process.pid for process in self.usages}
        there = psutil.pids()
        self._strangers.intersection_update(there)
        # A parent has most often the lower number, but not after the numbers have begun anew.
        strangers = [pid for pid in there if pid not in known and pid not in self._strangers]
        while found := [process for process in map(_process, strangers) if process and _parent(process) in known]:
            for process in found:
                if usage := _usage(process, now):
                    self.usages[process] = usage
            known.update(process.pid for process in found)
            strangers = [pid for pid in strangers if pid not in known]
        self._strangers.update(strangers)


def family_of(roots: Iterable[psutil.Process], now: float) -> ProcessFamily:
    """Return processes with all that came from them."""
    family = ProcessFamily()
    for process in roots:
        family.add(process, now)
    family.look(now)
    return family


def started_processes(state_folder: Path) -> list[psutil.Process]:
    """Return the processes that `hearth up` has noted in a state folder and that still run."""
    file = state_folder / "state.json"
    if not file.exists():
        return []
    noted = json.loads(file.read_text(encoding="utf-8"))["processes"].values()
    found = [(process, one["created"]) for one in noted if (process := _process(one["pid"]))]
    return [process for process, created in found if process.create_time() == created and _is_running(process)]


def noted_nats_url(state_folder: Path) -> str:
    """Return where `hearth up` has started its NATS server; empty where it has not yet."""
    file = state_folder / "state.json"
    return json.loads(file.read_text(encoding="utf-8"))["nats_url"] if file.exists() else ""


def proportional_set_size(process: psutil.Process) -> int:
    """Return the bytes of memory of a process, shared pages counted once among those that share them; 0 if it ended."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def listening_ports(processes: Collection[psutil.Process]) -> set[int]:
    """Return the TCP ports on which processes listen."""
    found: set[int] = set()
    for process in processes:
        try:
            connections = process.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        found.update(one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN)
    return found


def title_of(command: Sequence[str]) -> str:
    """Return what a process with this command line is called.

    >>> title_of(["ray::ServeReplica:embeddings:Embeddings.check_health"])
    'replica: Embeddings'
    >>> title_of(["/usr/bin/python", "/opt/bin/ray", "start", "--head"])
    'Ray: ray start'
    """
    line = " ".join(command)
    words = [Path(word).name for word in command[:4]]
    if line.startswith("ray::"):
        return _ray_title(line)
    for word, title in _TITLES.items():
        if word in words:
            return title
    for part, title in _PARTS.items():
        if part in line:
            return title
    return " ".join(words)[:40] or "ended"


def _ray_title(line: str) -> str:
    if found := re.search(r"ServeReplica:[^:]*:(\w+)", line):
        return f"replica: {found[1]}"
    return f"Ray: {line.removeprefix('ray::').split()[0].split('.')[0]}"


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _usage(process: psutil.Process, now: float) -> Usage | None:
    """Return what a process has taken; None where it has ended."""
    try:
        if not process.is_running():
            return None
        with process.oneshot():
            times = process.cpu_times()
            return Usage(title_of(process.cmdline()), process.create_time(), now, times.user + times.system)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
