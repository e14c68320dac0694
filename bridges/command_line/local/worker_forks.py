"""Ray's workers as forks of one process that has imported what all of them need.

A worker of Ray is a new Python process, and imports Ray, Serve and the code of its replica: three seconds of a core for
each of a dozen processes, and 60 MB of each that no two of them share. Here the first worker that Ray starts makes a
fork server instead: it imports all that once, and forks itself for each worker that Ray asks for. The new process goes
on as the worker that Ray wanted, with its arguments and its environment, and Ray takes the number of the process from
the worker itself. The fork server ends with the raylet.

This is for one machine that `hearth up` runs on. It starts no worker that Ray prepares anything for (a runtime
environment), and wherever something is not as it should be, the worker starts as Ray starts it.

What Ray's workers need of a process that is forked: it has no threads, no connection, and nothing has drawn from Ray's
random numbers, of which all identifiers are made. `_check` makes sure of that before the first fork.
"""

import array
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "HEARTH_FORK_WORKERS"
"""Environment variable that turns this on, with the value 1."""

_PRELOADED = (
    "ray",
    "ray._private.node",
    "ray._private.workers.default_worker",
    "ray.serve",
    "ray.serve._private.controller",
    "ray.serve._private.replica",
    "bridges.application",
    "deployments.applications",
)
"""What every worker needs, and the code of all replicas. Not their engines: onnxruntime and pymilvus make threads."""

logger = logging.getLogger(__name__)

_WORKER = "default_worker.py"
_NO_RUNTIME_ENVIRONMENT = "--runtime-env-hash=0"
_RAYLET_SOCKET = "--raylet-name="
RAYLET_PROCESS = "RAY_RAYLET_PID"
"""Environment variable by which a worker of Ray knows the process of its raylet."""
_ANY_JOB = {"RAY_JOB_ID": "ffffffff"}
"""Ray reads this once, in the fork server. A worker of no job is given to whichever asks for one."""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Libraries that make their threads when they are imported must not: a thread does not survive a fork."""
_ANSWER_S = 60.0
"""What Ray gives a worker to register (`worker_register_timeout_seconds`)."""
_REQUEST_S = 5.0
_WAITING = 128
_STANDARD_STREAMS = 3
_FIRST_TO_GO = "1000"


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """How Ray wanted to start a worker.

    Attributes:
        arguments: The script and its arguments.
        environment: Its environment.
        folder: Its working folder.
    """

    arguments: Sequence[str]
    environment: dict[str, str]
    folder: str

    def encode(self) -> bytes:
        """Return it as a line."""
        fields = {"arguments": self.arguments, "environment": self.environment, "folder": self.folder}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "WorkerStart":
        """Return what `encode` was given.

        Raises:
            ValueError: It was given something else.
        """
        try:
            return cls(**json.loads(line))
        except (TypeError, ValueError) as error:
            raise ValueError(f"no start of a worker: {error}") from error


def worker_start(command: Sequence[str]) -> WorkerStart | None:
    """Return how this process was to start a worker of Ray that may be forked; None for any other process.

    Args:
        command: The process's command line, with the interpreter first.
    """
    if os.environ.get(VARIABLE) != "1" or _NO_RUNTIME_ENVIRONMENT not in command:
        return None
    script = next((place for place, word in enumerate(command[:4]) if Path(word).name == _WORKER), None)
    if script is None or RAYLET_PROCESS not in os.environ:
        return None
    return WorkerStart(command[script:], dict(os.environ), str(Path.cwd()))


def fork_instead(start: WorkerStart) -> None:
    """Have the fork server make the worker, and end this process; return where that cannot be done."""
    raylet = next(
        (word.removeprefix(_RAYLET_SOCKET) for word in start.arguments if word.startswith(_RAYLET_SOCKET)), ""
    )
    if not raylet:
        return
    if not _socket_path(raylet).exists():
        start_server(raylet, start.environment)
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_S)
        connection.connect(str(_socket_path(raylet)))
        if not _is_ours(connection):
            return
        streams = array.array("i", range(_STANDARD_STREAMS))
        # The first byte carries the streams.
        connection.sendmsg([b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        connection.sendall(start.encode())
        if connection.recv(1):
            os._exit(0)


def _socket_path(raylet: str) -> Path:
    """Return where a raylet's fork server listens: beside it. Others may write there, so both sides look who it is."""
    return Path(f"{raylet}_forks")


def _is_ours(connection: socket.socket) -> bool:
    """Say whether the other side of a connection is a process of this user."""
    credentials = struct.Struct("3i")
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    _, user, _ = credentials.unpack(packed)
    return user == os.geteuid()


def _has_gone(connection: socket.socket) -> bool:
    """Say whether the other side of a connection, which has said all that it has to say, waits no more."""
    ended, _, _ = select.select([connection], [], [], 0)
    return bool(ended)


def start_server(raylet: str, environment: Mapping[str, str]) -> None:
    """Start the fork server of a raylet, unless it is started already.

    The first worker does it. Whoever starts the raylet may do it sooner.

    Args:
        raylet: The path of its socket.
        environment: That of its workers, with `RAY_RAYLET_PID`.
    """
    path = _socket_path(raylet)
    own = path.with_name(f"{path.name}_{os.getpid()}")
    with socket.socket(socket.AF_UNIX) as listener:
        mask = os.umask(0o077)
        try:
            listener.bind(str(own))
        finally:
            os.umask(mask)
        listener.listen(_WAITING)
        try:
            # Whoever finds the socket finds it listening.
            path.hardlink_to(own)
        except FileExistsError:
            return
        finally:
            own.unlink()
        subprocess.Popen(  # noqa: S603 - our own arguments
            [sys.executable, "-m", __name__, str(listener.fileno())],
            pass_fds=(listener.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**environment, **_ANY_JOB, **_ONE_THREAD},
            start_new_session=True,
        )


def serve(listener: socket.socket, preloaded: Iterable[str] = _PRELOADED) -> WorkerStart:
    """Fork this process for each worker that is asked for; return in each of the forks.

    Args:
        listener: Where workers are asked for.
        preloaded: Modules that are imported before.

    Raises:
        SystemExit: The raylet has ended, or this process must not be forked.
    """
    raylet = os.pidfd_open(int(os.environ[RAYLET_PROCESS]))
    _preload(preloaded)
    _check()
    # What is here already is garbage in no fork, and looking through it would copy its pages.
    gc.collect()
    gc.freeze()
    # Nobody waits for the forks.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, raylet], [], [])
        if raylet in ready:
            raise SystemExit
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_REQUEST_S)
            try:
                streams, start = _receive(connection)
            except (OSError, ValueError) as error:
                logger.warning("a worker could not be read and starts as Ray starts it: %s", error)
                continue
            if not _is_ours(connection) or _has_gone(connection):
                # Who has waited for too long has started by itself, and is not to be there twice.
                _close(streams)
                continue
            process = os.fork()
            if process:
                _close(streams)
                _confirm(connection)
                continue
        listener.close()
        os.close(raylet)
        _become(start, streams)
        return start


def _preload(modules: Iterable[str]) -> None:
    """Import modules, without a draw from Ray's random numbers.

    Ray names each class that is marked as an actor by one, and Ray and Serve mark some as they are imported. Its random
    numbers take their seed at the first draw, so that all forks would go on with the same ones.
    """
    actor: Any = importlib.import_module("ray.actor")
    class_id = actor.ActorClassID

    class FromTheSystem:
        @staticmethod
        def from_random() -> object:
            return class_id(os.urandom(class_id.size()))

    actor.ActorClassID = FromTheSystem
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        actor.ActorClassID = class_id


def _check() -> None:
    """End this process unless its forks can be workers: without threads, and each with identifiers of its own.

    Raises:
        SystemExit: It cannot be forked. Workers then start as Ray starts them.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise SystemExit(f"workers are not forked: what they need has made {threads - 1} threads")
    if _identifier_of_a_fork() == _identifier_of_a_fork():
        raise SystemExit("workers are not forked: Ray would give the same identifiers to all of them")


def _identifier_of_a_fork() -> bytes:
    """Return what Ray would call something in a fork."""
    receiving, sending = os.pipe()
    process = os.fork()
    if not process:
        node_id: Any = importlib.import_module("ray").NodeID
        os.write(sending, node_id.from_random().binary())
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        identifier = pipe.read()
    os.waitpid(process, 0)
    return identifier


def _receive(connection: socket.socket) -> tuple[Sequence[int], WorkerStart]:
    """Return the standard streams of a worker and how it was to start.

    Raises:
        OSError: The one that asks is gone.
        ValueError: What came is no worker.
    """
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(_STANDARD_STREAMS * array.array("i").itemsize))
    streams = array.array("i")
    for _, _, data in ancillary:
        streams.frombytes(data)
    try:
        with connection.makefile("rb") as lines:
            start = WorkerStart.decode(lines.readline())
    except (OSError, ValueError):
        _close(streams)
        raise
    return streams, start


def _confirm(connection: socket.socket) -> None:
    # Who has gone meanwhile does not need to know.
    with suppress(OSError):
        connection.send(b"\n")


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _become(start: WorkerStart, streams: Iterable[int]) -> None:
    """Make this fork what Ray wanted to start: its streams, its environment, its folder, its process group."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Ray ends what a worker has started with the worker's group.
    os.setpgrp()
    # As Ray does with what it starts: where memory runs out, a worker goes before all else.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(start.environment)
    os.chdir(start.folder)
    sys.argv = list(start.arguments)
    sys.path[0] = str(Path(start.arguments[0]).parent)


def main() -> None:
    """Run the fork server, and in each fork the worker."""
    start = serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_path(start.arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
