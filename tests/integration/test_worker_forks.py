"""Workers that are forked, by a real fork server. A script of the test's own stands where Ray's worker would."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridges.command_line.local.local_stack import REPLICA_SITE
from bridges.command_line.local.worker_forks import VARIABLE
from tests import servers

WORKER = """
import json, os, sys
preloaded = "ray.serve" in sys.modules
import ray
print(json.dumps({
    "arguments": sys.argv[1:], "path": sys.path[0], "folder": os.getcwd(), "job": os.environ["RAY_JOB_ID"],
    "threads": os.environ.get("OPENBLAS_NUM_THREADS"), "parent": os.getppid(), "process": os.getpid(),
    "group": os.getpgrp(), "identifier": ray.NodeID.from_random().hex(), "preloaded": preloaded,
    "actor_class": ray.actor.ActorClassID.__name__,
}), flush=True)
"""
ANY_FORK = "--runtime-env-hash=0"


class Session:
    """A folder like that of a session of Ray, and a process in place of the raylet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "default_worker.py").write_text(WORKER)
        self.raylet = subprocess.Popen(["sleep", "300"])

    def start(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Start a worker as the raylet does; return what it says."""
        command = [sys.executable, str(self.folder / "default_worker.py"), f"--raylet-name={self.folder / 'raylet'}"]
        done = subprocess.run(
            [*command, *arguments],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join((str(REPLICA_SITE), str(servers.ROOT))),
                "RAY_RAYLET_PID": str(self.raylet.pid),
                "RAY_JOB_ID": "01000000",
                VARIABLE: "1",
                **environment,
            },
            cwd=self.folder,
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        )
        return json.loads(done.stdout)

    def end(self) -> None:
        """End what stands for the raylet."""
        self.raylet.kill()
        self.raylet.wait()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Generator[Session]:
    session = Session(tmp_path_factory.mktemp("forks"))
    yield session
    session.end()


def test_workers_are_forks_of_one_process_that_has_imported_what_they_need(session: Session) -> None:
    first, second = session.start(ANY_FORK), session.start(ANY_FORK)
    assert (first["preloaded"], second["preloaded"]) == (True, True)
    assert first["parent"] == second["parent"]
    assert "worker_forks" in " ".join(psutil.Process(first["parent"]).cmdline())


def test_a_fork_goes_on_as_what_ray_wanted_to_start(session: Session) -> None:
    worker = session.start("--worker-id=42", ANY_FORK)
    assert worker["arguments"] == [f"--raylet-name={session.folder / 'raylet'}", "--worker-id=42", ANY_FORK]
    assert worker["path"] == worker["folder"] == str(session.folder)
    assert worker["job"] == "01000000"
    assert worker["threads"] == os.environ.get("OPENBLAS_NUM_THREADS")
    assert worker["group"] == worker["process"]
    assert worker["actor_class"] == "ActorClassID"


def test_each_fork_makes_identifiers_of_its_own(session: Session) -> None:
    assert len({session.start(ANY_FORK)["identifier"] for _ in range(4)}) == 4


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--runtime-env-hash=7"], {}),
        ([], {}),
        ([ANY_FORK], {VARIABLE: "0"}),
    ],
    ids=["a runtime environment", "an older Ray", "turned off"],
)
def test_any_other_worker_starts_as_ray_starts_it(
    session: Session, arguments: list[str], environment: dict[str, str]
) -> None:
    worker = session.start(*arguments, **environment)
    assert worker["parent"] == os.getpid()
    assert not worker["preloaded"]


def test_a_fork_server_that_is_killed_takes_no_worker_with_it(tmp_path: Path) -> None:
    session = Session(tmp_path)
    os.kill(session.start(ANY_FORK)["parent"], signal.SIGKILL)
    assert session.start(ANY_FORK)["parent"] == os.getpid()
    session.end()


def test_the_fork_server_ends_with_the_raylet_and_workers_start_as_ray_starts_them(session: Session) -> None:
    server = psutil.Process(session.start(ANY_FORK)["parent"])
    session.end()
    server.wait(10)
    assert session.start(ANY_FORK)["parent"] == os.getpid()
