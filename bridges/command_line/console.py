"""How the command line looks: steps with their times, progress bars, errors."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, as a shell gives it."""

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_line(*parts: Text | str, to: Console = console) -> None:
    """Print something in one line: wrapped between words at a terminal, and left whole for what reads a pipe.

    Args:
        parts: One after the other.
        to: Where.
    """
    to.print(*parts, sep="", soft_wrap=not to.is_terminal)


class Steps:
    """Prints steps as they are done, each with the seconds it took.

    Attributes:
        seconds: What each step took, by its text.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Generator["Step"]:
        """Show `name` while the block runs and check it off after."""
        started = time.monotonic()
        with console.status(f"{name} …", spinner="dots") as status:
            step = Step(lambda text: status.update(f"{text} …"))
            yield step
        self.seconds[name] = time.monotonic() - started
        line = Text("  ✓ ", style="green")
        line.append(f"{name:<22}", style="bold")
        line.append(step.detail or "", style="dim")
        print_line(line, Text(f" {self.seconds[name]:.1f} s", style="cyan"))


class Step:
    """A step that is being done: what it does now, and what there is to say of it after."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self.detail = ""

    def report(self, text: str) -> None:
        """Say what is being done now."""
        self._report(text)


def plain_table(*columns: str | Column) -> Table:
    """Return a table without lines, in which nothing is left out however narrow the terminal is."""
    table = Table(box=None, header_style="bold")
    for column in columns:
        made = Column(column) if isinstance(column, str) else column
        table.add_column(made.header, justify=made.justify, style=made.style, overflow="fold")
    return table


def download_progress() -> Progress:
    """Return a progress bar that counts bytes."""
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def count_progress() -> Progress:
    """Return a progress bar that counts things."""
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def write_raw(text: str) -> None:
    """Write a piece of streamed text as it is, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
