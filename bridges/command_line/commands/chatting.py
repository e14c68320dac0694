"""`hearth chat` without a question: a conversation at a prompt."""

import contextlib
import sys
import termios
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import uuid4

from rich.live import Live

from bridges.command_line.commands.asking import Asked, show_sources
from bridges.command_line.console import console, errors, markdown, print_line, styled, write_raw
from deployments.errors import HearthError

PROMPT = "› "
HELP = """\
  /sources   list the sources of the last answer
  /new       begin a new conversation; earlier questions no longer count
  /help      print this list
  /quit      leave; Ctrl-D does the same. Ctrl-C stops an answer."""

Ask = Callable[[str, str, Callable[[str], None]], Asked]
"""Asks a question for a user id, handing on the answer's text as it is made; raises `KeyboardInterrupt` on Ctrl-C."""


@dataclass(slots=True)
class ChatPrompt:
    """Questions and answers, until the one who asks has had enough.

    Attributes:
        ask: Asks a question.
        read: Reads a line after a prompt; raises `EOFError` at the end and `KeyboardInterrupt` on Ctrl-C.
        user_id: Under which the service remembers what was said.
        last: The last answer.
    """

    ask: Ask
    read: Callable[[str], str]
    user_id: str
    last: Asked | None = None

    def run(self) -> None:
        """Take questions until the end."""
        while True:
            try:
                line = self.read(PROMPT).strip()
            except EOFError:
                console.print()
                return
            except KeyboardInterrupt:
                # Meant for an answer that has just ended, as likely as not.
                console.print(styled("\n  /quit or Ctrl-D ends it", style="dim"))
                continue
            if line in {"/quit", "/exit"}:
                return
            if line.startswith("/"):
                self._command(line)
            elif line:
                self._question(line)

    def _command(self, line: str) -> None:
        match line:
            case "/help":
                console.print(HELP)
            case "/sources" if self.last is None:
                console.print(styled("  nothing was answered yet", style="dim"))
            case "/sources" if self.last is not None:
                show_sources(self.last)
            case "/new":
                self.user_id = new_user_id()
                self.last = None
                console.print(styled("  a new conversation", style="dim"))
            case _:
                console.print(styled(f"  {line} is no command", style="yellow"))
                console.print(HELP)

    def _question(self, line: str) -> None:
        try:
            with answer_writer() as write:
                self.last = self.ask(line, self.user_id, write)
        except KeyboardInterrupt:
            console.print(styled("  stopped", style="yellow"))
        except HearthError as error:
            print_line(styled("Error: ", style="bold red"), styled(error.message), to=errors)
        else:
            if self.last.response.error:
                print_line(styled(f"  note: {self.last.response.error}", style="yellow"))


def new_user_id() -> str:
    """Return the id of a user who has said nothing yet."""
    return f"cli-{uuid4().hex}"


@contextlib.contextmanager
def line_reader() -> Generator[Callable[[str], str]]:
    """Give what reads lines: with editing and history at a terminal, without a prompt from a pipe."""
    if not sys.stdin.isatty():
        yield lambda _: input()
        return
    # What makes `input` edit lines and remember them.
    import readline  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]

    yield input


@contextlib.contextmanager
def answer_writer() -> Generator[Callable[[str], None]]:
    """Give what writes an answer as it is made: as Markdown at a terminal, as it is elsewhere."""
    if not console.is_terminal:
        yield write_raw
        return
    with _without_echo(), MarkdownWriter() as writer:
        yield writer.write


@contextlib.contextmanager
def _without_echo() -> Generator[None]:
    """Keep the terminal from writing what is typed, ^C too, into what is drawn anew, which would stand there twice."""
    if not sys.stdin.isatty():
        yield
        return
    kept = termios.tcgetattr(sys.stdin)
    changed = [*kept[:3], kept[3] & ~termios.ECHO, *kept[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, kept)


class MarkdownWriter:
    """Writes Markdown that is still being made: its last block is drawn anew until it is whole."""

    def __init__(self) -> None:
        self._block = ""
        self._live = Live(console=console, transient=True, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.update(styled(""), refresh=True)
        self._live.stop()
        if self._block.strip():
            console.print(markdown(self._block))

    def write(self, text: str) -> None:
        """Take a piece of the text."""
        self._block += text
        whole, self._block = whole_blocks(self._block)
        if whole:
            self._live.console.print(markdown(whole))
        self._live.update(markdown(self._block), refresh=True)


def whole_blocks(text: str) -> tuple[str, str]:
    r"""Split Markdown behind its last block that is whole: a blank line ends one, outside of fenced code.

    >>> whole_blocks("One.\n\nTw")
    ('One.\n\n', 'Tw')
    """
    fenced, end, at = False, 0, 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        if not line.strip() and line.endswith("\n") and not fenced:
            end = at
    return text[:end], text[end:]
