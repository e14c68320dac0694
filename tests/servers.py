"""The real servers that tests run against, each on a free port and ended with its test session."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from bridges.command_line.local import worker_forks
from bridges.command_line.local.local_stack import REPLICA_SITE

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"
_PR_SET_CHILD_SUBREAPER = 36
"""Of `linux/prctl.h`."""

_WAIT_S = 60.0
_POLL_S = 0.05
_SHUTDOWN_POLL_S = 0.01


def program(name: str) -> str:
    """Return the path of a program of this environment."""
    return str(Path(sys.executable).parent / name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, happened: Callable[[], bool], seconds: float = _WAIT_S) -> None:
    """Wait for something that only can be polled for.

    Raises:
        TimeoutError: It did not happen in the time given.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(_POLL_S)


@contextmanager
def running(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a process with all that it starts, for as long as the block lasts."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}, cwd=ROOT
        )
    try:
        yield process
    finally:
        end(process.pid)
        process.wait()


def end(pid: int) -> None:
    """End a process and its descendants."""
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    family = [*parent.children(recursive=True), parent]
    for process in family:
        _attempt(process.terminate)
    # Ray's processes wait for each other: what has not ended at once will not.
    _, alive = psutil.wait_procs(family, timeout=1)
    for process in alive:
        _attempt(process.kill)
    psutil.wait_procs(alive, timeout=10)


def _attempt(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.NoSuchProcess:
        return


@contextmanager
def nats_server(folder: Path, *options: str) -> Generator[str]:
    """Run a NATS server; give its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("nats-server"), "-a", LOOPBACK, "-p", "-1", "--ports_file_dir", str(folder), *options]
    with running(command, folder / "nats.log") as process:
        ports = folder / f"nats-server_{process.pid}.ports"
        wait_until("the NATS server's ports file", lambda: ports.exists() and ports.stat().st_size > 0)
        yield json.loads(ports.read_text())["nats"][0]


@contextmanager
def milvus_server(folder: Path, port: int = 0) -> Generator[str]:
    """Run a Milvus Lite server, on a free port unless one is given; give its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [program("milvus-lite"), "server", "--data-dir", str(folder / "data"), "--host", LOOPBACK]
    with running([*command, "--port", str(port)], folder / "milvus.log"):
        wait_until("Milvus Lite", lambda: listens(port))
        yield f"http://{LOOPBACK}:{port}"


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that do not trust us, or that we do not trust."""


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Generator[str]:
    """Answer HTTP requests, each on a thread of its own; give the server's URL."""
    server = _QuietServer((LOOPBACK, 0), handler)
    if tls is not None:
        # Each thread agrees on TLS by itself, with the first byte that it reads.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(_SHUTDOWN_POLL_S,))
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class RestartableServer:
    """A server that a test may stop and start again, at the same address.

    Args:
        run: Runs it; gives its address.
    """

    def __init__(self, run: Callable[[], AbstractContextManager[str]]) -> None:
        self._run = run
        self._running = ExitStack()
        self.url = ""

    def start(self) -> None:
        self.url = self._running.enter_context(self._run())

    def stop(self) -> None:
        self._running.close()


@dataclass(frozen=True)
class RayCluster:
    """A Ray head of this machine.

    Attributes:
        address: For `ray.init`.
        dashboard_url: For the `serve` command and its REST API.
        metrics_url: Where Prometheus would read.
        head: The process that a kubelet would run there.
    """

    address: str
    dashboard_url: str
    metrics_url: str
    head: subprocess.Popen[bytes]


def replica_environment() -> dict[str, str]:
    """Return what makes the start of a replica cheap, as it is for `hearth up`, with the checkout on the path."""
    return {"PYTHONPATH": os.pathsep.join((str(ROOT), str(REPLICA_SITE))), worker_forks.VARIABLE: "1"}


@contextmanager
def ray_cluster(folder: Path, environment: Mapping[str, str]) -> Generator[RayCluster]:
    """Run `ray start --head`, as on any machine, on ports of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    port, dashboard_port, metrics_port = free_port(), free_port(), free_port()
    command = [program("ray"), "start", "--head", "--block", "--node-ip-address", LOOPBACK]
    command += ["--port", str(port), "--dashboard-host", LOOPBACK, "--dashboard-port", str(dashboard_port)]
    command += ["--ray-client-server-port", str(free_port()), "--dashboard-agent-listen-port", str(free_port())]
    command += ["--metrics-export-port", str(metrics_port)]
    command += ["--object-store-memory", str(256 << 20), "--num-cpus", "2"]
    with running(adopting(command), folder / "ray.log", environment) as head:
        wait_until("Ray's dashboard", lambda: listens(dashboard_port))
        _wait_for_ray(folder / "ray.log")
        metrics_url = f"http://{LOOPBACK}:{metrics_port}/metrics"
        yield RayCluster(f"{LOOPBACK}:{port}", f"http://{LOOPBACK}:{dashboard_port}", metrics_url, head)


@contextmanager
def ray_worker(
    folder: Path, cluster: RayCluster, environment: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run `ray start`, as on any further machine of a cluster; give its process."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("ray"), "start", "--address", cluster.address, "--block", "--node-ip-address", LOOPBACK]
    command += ["--dashboard-agent-listen-port", str(free_port()), "--metrics-export-port", str(free_port())]
    command += ["--object-store-memory", str(256 << 20), "--num-cpus", "2"]
    command += ["--labels", ",".join(f"{key}={value}" for key, value in labels.items())] if labels else []
    with running(adopting(command), folder / "ray.log", environment) as process:
        _wait_for_ray(folder / "ray.log")
        yield process


def adopting(command: list[str]) -> list[str]:
    """Return a command that becomes another one, whose descendants stay below it when what started them has ended.

    The process that forks Ray's workers is such a one: whoever looks for replicas below this process has to find them.
    """
    # It outlasts an exec.
    adopt = f"ctypes.CDLL(None).prctl({_PR_SET_CHILD_SUBREAPER}, 1, 0, 0, 0)"
    return [sys.executable, "-c", f"import ctypes, os, sys; {adopt}; os.execv(sys.argv[1], sys.argv[1:])", *command]


def _wait_for_ray(log: Path) -> None:
    wait_until("Ray", lambda: "Ray runtime started" in log.read_text(errors="replace"))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
