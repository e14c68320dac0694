"""`hearth`, run by a test: in this process, or as a process where it is started, interrupted or spoken to."""

import os
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from unittest.mock import patch

from bridges.command_line.main import main
from tests.pages import README, blocks
from tests.servers import program


@dataclass(frozen=True)
class Done:
    """What a command left.

    Attributes:
        returncode: Its exit status.
        stdout: What it printed.
        stderr: What it complained of.
    """

    returncode: int
    stdout: str
    stderr: str


def hearth(environment: Mapping[str, str], *arguments: str) -> Done:
    """Run a command in this process: a process of its own takes a second, most of it to import what is here already.

    Args:
        environment: The variables that it sees, and no others.
        arguments: After `hearth`.
    """
    out, errors = (TextIOWrapper(BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    with patch.dict(os.environ, environment, clear=True), redirect_stdout(out), redirect_stderr(errors):
        returncode = _exit_status(arguments)
    return Done(returncode, *(stream.buffer.getvalue().decode() for stream in (out, errors)))


def _exit_status(arguments: tuple[str, ...]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def hearth_process(environment: Mapping[str, str], *arguments: str, answers: str | None = None) -> Done:
    """Run a command as a process, to its end.

    Args:
        environment: The variables that it sees.
        arguments: After `hearth`.
        answers: What is typed; nothing can be where it is None.
    """
    done = subprocess.run(
        [program("hearth"), *arguments],
        env=environment,
        input=answers,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def running_hearth(environment: Mapping[str, str], *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Run a command as a process that does not outlive the block."""
    command = [program("hearth"), *arguments]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def typed(environment: Mapping[str, str], block: str, folder: Path) -> Done:
    """Run a block of the README in a folder, to its first failure."""
    command = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    return Done(done.returncode, done.stdout, done.stderr)


def readme_blocks() -> tuple[str, str]:
    """Return the shell blocks of the README that are run by tests: the demo, and what can be done after it."""
    demo, rest = (block.code for block in blocks(README.read_text(encoding="utf-8"), "sh") if not block.not_run)
    return demo, rest
