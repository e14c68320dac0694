"""Which workers are forked, and what is made sure of before."""

import os
import socket
import sys
from pathlib import Path

import pytest

from bridges.command_line.local import worker_forks
from bridges.command_line.local.worker_forks import RAYLET_PROCESS, VARIABLE, WorkerStart, worker_start

COMMAND = [sys.executable, "/ray/default_worker.py", "--raylet-name=/session/raylet", "--runtime-env-hash=0"]


@pytest.fixture
def on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv(RAYLET_PROCESS, "42")


@pytest.mark.usefixtures("on_one_machine")
def test_a_worker_of_ray_is_forked_with_all_that_it_would_have() -> None:
    start = worker_start(COMMAND)
    assert start is not None
    assert start == WorkerStart(COMMAND[1:], dict(os.environ), str(Path.cwd()))
    assert WorkerStart.decode(start.encode()) == start


@pytest.mark.usefixtures("on_one_machine")
@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "/ray/default_worker.py", "--runtime-env-hash=7"],
        [sys.executable, "/ray/dashboard.py", "--runtime-env-hash=0"],
        [sys.executable],
    ],
)
def test_other_processes_start_as_they_are(command: list[str]) -> None:
    assert worker_start(command) is None


def test_where_it_is_not_asked_for_no_worker_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RAYLET_PROCESS, "42")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert worker_start(COMMAND) is None


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[1]\n", b'{"arguments": []}\n', b"\xff\n"])
def test_what_is_no_start_of_a_worker_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="no start of a worker"):
        WorkerStart.decode(line)


def test_who_waits_no_more_is_seen() -> None:
    server, worker = socket.socketpair(socket.AF_UNIX)
    # As the server has it, whose workers are to say all that they have to say soon.
    server.settimeout(60.0)
    with server:
        with worker:
            assert worker_forks._is_ours(server)
            assert not worker_forks._has_gone(server)
        assert worker_forks._has_gone(server)


def test_a_process_of_another_user_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    server, worker = socket.socketpair(socket.AF_UNIX)
    with server, worker:
        another = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: another)
        assert not worker_forks._is_ours(worker)
