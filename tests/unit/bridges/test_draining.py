"""The folder in which ingresses and `hearth drain` meet."""

import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bridges.draining import DrainProgress, drain_folder, find_sockets, make_folder, remove_left_sockets, socket_path
from deployments.errors import UnavailableError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "sockets"
    make_folder(made)
    return made


@contextmanager
def listening(path: Path) -> Generator[None]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as server:
        server.bind(str(path))
        server.listen(1)
        yield


def test_each_user_has_a_folder_in_the_temporary_one_or_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HEARTH_RUNTIME", raising=False)
    assert drain_folder() == Path(tempfile.gettempdir()) / f"hearth-{os.getuid()}"
    monkeypatch.setenv("HEARTH_RUNTIME", "/run/node")
    assert drain_folder() == Path("/run/node") / f"hearth-{os.getuid()}"


def test_the_folder_is_its_user_s_alone(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    make_folder(folder)


@pytest.mark.parametrize("mode", [0o770, 0o701])
def test_a_folder_that_others_may_use_is_refused_by_both(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    for use in (make_folder, find_sockets):
        with pytest.raises(PermissionError, match="only this user may use"):
            use(folder)


def test_a_link_in_the_place_of_the_folder_is_refused_by_both(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    for use in (make_folder, find_sockets):
        with pytest.raises(PermissionError, match="only this user may use"):
            use(link)


def test_a_folder_that_is_not_there_has_no_sockets(tmp_path: Path) -> None:
    assert find_sockets(tmp_path / "sockets") == []


def test_where_no_folder_can_be_made_nobody_can_say_that_there_are_no_sockets(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="away' is not there"):
        find_sockets(tmp_path / "away" / "sockets")


def test_sockets_of_processes_that_are_gone_are_removed(folder: Path) -> None:
    alive, left = folder / "NatsIngress-1.sock", folder / "NatsIngress-2.sock"
    with listening(left):
        pass
    with listening(alive):
        assert find_sockets(folder) == [alive, left]
        remove_left_sockets(folder)
        assert find_sockets(folder) == [alive]


def test_a_socket_whose_line_is_full_is_no_left_one(folder: Path) -> None:
    path = folder / "NatsIngress-1.sock"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as server:
        server.bind(str(path))
        server.listen(0)
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as first:
            first.connect(str(path))
            remove_left_sockets(folder)
    assert path.exists()


def test_a_socket_that_got_no_name_before_its_process_was_killed_is_removed(folder: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, coming = folder / f"NatsIngress-{ended.pid}.made", folder / f"NatsIngress-{os.getpid()}.made"
    for path in (left, coming):
        path.touch()
    remove_left_sockets(folder)
    assert [path.name for path in folder.iterdir()] == [coming.name]


def test_other_files_are_left_alone(folder: Path) -> None:
    (folder / "NatsIngress-1.made").touch()
    assert find_sockets(folder) == []
    assert (folder / "NatsIngress-1.made").exists()


def test_replicas_of_a_node_differ_by_their_process(folder: Path) -> None:
    assert socket_path(folder, "AudioIngress").name == f"AudioIngress-{os.getpid()}.sock"


def test_progress_is_read_as_it_was_written() -> None:
    progress = DrainProgress("NatsIngress", 7, {"ai.chat.request": 2}, is_over=False)
    line = progress.line()
    assert line.endswith(b"\n")
    assert DrainProgress.from_line(line.decode()) == progress


@pytest.mark.parametrize("line", ["", "404: Not Found", '{"name": "NatsIngress"}'])
def test_what_is_no_progress_is_refused(line: str) -> None:
    with pytest.raises(UnavailableError, match="no ingress says"):
        DrainProgress.from_line(line)


def test_a_folder_in_which_no_socket_can_be_made_is_no_empty_one(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with pytest.raises(OSError, match="at most 81 bytes"):
        find_sockets(folder)
