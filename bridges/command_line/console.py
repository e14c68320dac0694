"""How the command line looks: steps with their times, progress bars, errors.

All that `hearth` prints goes through here. Documents, names, models and errors come from outside: what is in them is
shown, and a terminal does not obey it (see `visible`).
"""

import json
import re
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TextIO

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markdown import Markdown
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended, as a shell gives it."""

# C0 but tab and line feed, DEL, C1, the marks that turn the direction of writing, other ends of lines, and halves of
# surrogate pairs, which cannot be printed at all.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return a text in which everything that a terminal would obey stands as an escape; tabs and line ends stay.

    >>> visible("\x1b[2Jgone\r\n")
    '\\x1b[2Jgone\n'
    """
    return _OBEYED.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - what two digits hold


class VisibleConsole(Console):
    """A console that writes no control character but its own, whatever it is given to print.

    Texts are not read as markup: a name may have brackets.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it is to be shown."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render what others have made of texts, too, such as Markdown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


console = VisibleConsole()
errors = VisibleConsole(stderr=True)


def styled(text: str, style: str = "") -> Text:
    """Return a text, from wherever it comes, in one style."""
    return Text(visible(text), style)


def assembled(*parts: Text | str | tuple[str, str]) -> Text:
    """Return a text of several parts: styled ones, plain ones, and pairs of a text and its style."""
    line = Text()
    for part in parts:
        match part:
            case Text():
                line.append_text(part)
            case str():
                line.append_text(styled(part))
            case (text, style):
                line.append_text(styled(text, style))
    return line


def markdown(text: str) -> Markdown:
    """Return a text as Markdown; of a link, its address is shown."""
    return Markdown(visible(text), hyperlinks=False)


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
        with console.status(styled(f"{name} …"), spinner="dots") as status:
            yield (step := Step(status))
        self.seconds[name] = time.monotonic() - started
        seconds = f" {self.seconds[name]:.1f} s"
        print_line(assembled(("  ✓ ", "green"), (f"{name:<22}", "bold"), (step.detail, "dim"), (seconds, "cyan")))


class Step:
    """A step that is being done: what it does now, and what there is to say of it after."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self.detail = ""

    def report(self, text: str) -> None:
        """Say what is being done now."""
        self._status.update(styled(f"{text} …"))

    def aside(self, work: Callable[[], None]) -> None:
        """Do something that shows how far it is by itself."""
        self._status.stop()
        work()
        self._status.start()


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
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def count_progress() -> Progress:
    """Return a progress bar that counts things."""
    return Progress(
        TextColumn("  {task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def write_raw(text: str, to: TextIO | None = None) -> None:
    """Write a piece of streamed text, at once.

    Args:
        text: The piece.
        to: Where; None for the standard output.
    """
    file = to or sys.stdout
    file.write(visible(text))
    file.flush()


def write_line(text: str) -> None:
    """Write a line without styles, at once."""
    write_raw(f"{text}\n")


def write_json(value: Any, indent: int | None = None) -> None:
    """Write a value as JSON, at once: in one line, or indented by some columns."""
    write_line(as_json(value, indent))


def as_json(value: Any, indent: int | None = None) -> str:
    r"""Return JSON in which every character that a terminal would obey is escaped; others stay readable.

    >>> as_json("Zürich\x1b\x9b\u202e")
    '"Zürich\\u001b\\u009b\\u202e"'
    """
    # Those below a space are escaped already, where they stand in a string.
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show_usage_error(error: click.ClickException) -> None:
    """Write what is wrong with a command's options and arguments, or with what they name."""
    usage = ""
    if isinstance(error, click.UsageError) and error.ctx:
        usage = f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n\n"
    write_raw(f"{usage}Error: {error.format_message()}\n", sys.stderr)
