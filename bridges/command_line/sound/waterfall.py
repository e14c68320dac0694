"""A turn as a waterfall: what happened when, from the end of the question on."""

import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict
from rich.align import Align
from rich.table import Table
from rich.text import Text

from bridges.command_line.console import assembled, console, print_line, styled
from bridges.generated.hearth.v1 import conversation_pb2
from deployments.errors import NotFoundError, UpstreamFailedError

_NARROWEST_BAR = 10
_WIDEST_BAR = 60
_BETWEEN_COLUMNS = 8
_NARROWEST_DETAIL = 12
_AHEAD = "magenta"
_COLOURS = {
    "question": "cyan",
    "wait for more": "yellow",
    "playback": "green",
    **dict.fromkeys(("find", "read ahead", "answer ahead"), _AHEAD),
}


def show_turn(record: conversation_pb2.TurnRecord) -> None:
    """Print a turn's question, answer and stages."""
    title = f"Turn {record.turn}" if record.turn else "Question"
    revision = f", reopened {record.revision} times" if record.revision else ""
    console.print(
        assembled(("  ", ""), (title, "bold"), (f" of {record.session_id}{revision}: ", "dim"), record.outcome)
    )
    for name, text in (("asked", record.question), ("wrote", record.answer), ("heard", record.heard)):
        if text and not (name == "heard" and record.outcome == "played"):
            print_line(assembled((f"  {name}  ", "dim"), " ".join(text.split())))
    if record.error:
        print_line(styled(f"  error  {record.error}", style="yellow"))
    console.print(_table(record))
    decisions = ", ".join(f"{name} {value}" for name, value in sorted(record.decisions.items()))
    if decisions:
        print_line(styled(f"  {decisions}", style="dim"))


def last_turns(file: Path, count: int) -> list[conversation_pb2.TurnRecord]:
    """Return the last records of a file, oldest first.

    Raises:
        NotFoundError: There is no file, or nothing in it.
        UpstreamFailedError: It holds something else.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()[-count:]
    except FileNotFoundError:
        lines = []
    if not lines:
        raise NotFoundError(
            f"no turn was recorded in {file}: speak to Hearth with `hearth talk` or `hearth ask`, or name a file, "
            "`turns.file` of the configuration, with --file"
        )
    try:
        records: list[Any] = [json.loads(line) for line in lines]
        return [ParseDict(record, conversation_pb2.TurnRecord(), ignore_unknown_fields=True) for record in records]
    except ValueError as error:
        raise UpstreamFailedError(f"{file} holds something that is not a turn's record: {error}") from error


def _table(record: conversation_pb2.TurnRecord) -> Table:
    width = _bar_width(record)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for _ in range(3 if width else 2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    first = min((stage.start_ms for stage in record.stages), default=0)
    # The answer is heard for much longer than it takes to be made, so its bar may leave the picture.
    last = max((stage.start_ms if stage.name == "playback" else stage.end_ms for stage in record.stages), default=0)
    scale = width / max(last - first, 1)
    zero = round(-first * scale)
    for stage in record.stages:
        start = min(round((stage.start_ms - first) * scale), width - 1)
        end = start if stage.start_ms == stage.end_ms else max(round((stage.end_ms - first) * scale), start + 1)
        table.add_row(
            styled(f"  {stage.name}"),
            *([_bar(start, end, zero, width, _COLOURS.get(stage.name, "blue"))] if width else []),
            Align.right(styled(_times(stage))),
            styled(stage.detail, style="dim"),
        )
    return table


def _bar_width(record: conversation_pb2.TurnRecord) -> int:
    """Return how wide the bars may be beside names and times; 0 where the terminal is too narrow for any."""
    names = max((len(stage.name) for stage in record.stages), default=0)
    times = max((len(_times(stage)) for stage in record.stages), default=0)
    details = max((len(stage.detail) for stage in record.stages), default=0)
    room = console.width - names - times - _BETWEEN_COLUMNS
    width = max(room - details, min(room - _NARROWEST_DETAIL, _NARROWEST_BAR))
    return min(width, _WIDEST_BAR) if width >= _NARROWEST_BAR else 0


def _bar(start: int, end: int, zero: int, width: int, colour: str) -> Text:
    """Draw a stage; a moment is a point, and a line stands where the question ended."""
    bar = styled("")
    for at in range(width):
        if end > start and start <= at < end:
            bar.append("━", style=colour)
        elif at == start:
            bar.append("●", style=colour)
        else:
            bar.append("│" if at == zero else " ", style="dim")
    return bar


def _times(stage: conversation_pb2.TurnStage) -> str:
    if stage.start_ms == stage.end_ms:
        return f"{stage.start_ms:+d} ms"
    return f"{stage.start_ms:+d} to {stage.end_ms:+d} ms"
