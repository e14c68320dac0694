"""The logs of servers, out of their files."""

from collections.abc import Generator
from pathlib import Path

import pytest

from bridges.command_line.local.local_stack import LocalStack
from bridges.command_line.local.logs import StackLogs
from bridges.command_line.local.state import LocalState
from deployments.errors import NotFoundError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "nats.log"


def read(log: Path, lines: int, *, follow: bool = False) -> Generator[str]:
    nothing_runs = LocalState("", "", "", {})
    return StackLogs(LocalStack(log.parent.parent), nothing_runs).read("nats", lines, follow=follow)


def test_the_last_lines_are_read(log: Path) -> None:
    log.write_text("one\ntwo\nthree\n")
    assert list(read(log, 2)) == ["two", "three"]


def test_what_was_cut_off_in_a_line_is_read_too(log: Path) -> None:
    log.write_bytes(b"one\ntwo \xff")
    assert list(read(log, 5)) == ["one", "two \N{REPLACEMENT CHARACTER}"]


def test_a_line_that_is_being_written_is_waited_for(log: Path) -> None:
    log.write_text("one\nthr")
    lines = read(log, 5, follow=True)
    assert next(lines) == "one"
    with log.open("a") as written:
        written.write("ee\nfo")
    assert next(lines) == "three"
    with log.open("a") as written:
        written.write("ur\n")
    assert next(lines) == "four"
    lines.close()


def test_a_log_that_is_not_there_is_named(log: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no log at .*/logs/nats\.log"):
        list(read(log, 5))
