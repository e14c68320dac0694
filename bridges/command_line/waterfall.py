"""A turn as a waterfall: what happened when, from the end of the question on."""

import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict
from rich.table import Table
from rich.text import Text

from bridges.command_line.console import console
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.turn_record import record_as_dict
from deployments.errors import NotFoundError, UpstreamFailedError

_NARROWEST_BAR = 16
_WIDEST_BAR = 60
_COLUMNS_BESIDE_BAR = 60
_AHEAD = "magenta"
_COLOURS = {"question": "cyan", "wait for more": "yellow", "playback": "green", "find": _AHEAD, "read ahead": _AHEAD}


def show_turn(record: conversation_pb2.TurnRecord) -> None:
    """Print a turn's question, answer and stages."""
    title = f"Turn {record.turn}" if record.turn else "Question"
    revision = f", reopened {record.revision} times" if record.revision else ""
    console.print(
        Text.assemble(("  ", ""), (title, "bold"), (f" of {record.session_id}{revision}: ", "dim"), record.outcome)
    )
    for name, text in (("asked", record.question), ("wrote", record.answer), ("heard", record.heard)):
        if text and not (name == "heard" and record.outcome == "played"):
            console.print(Text.assemble((f"  {name}  ", "dim"), " ".join(text.split())), soft_wrap=True)
    if record.error:
        console.print(Text(f"  error  {record.error}", style="yellow"), soft_wrap=True)
    console.print(_table(record))
    decisions = ", ".join(f"{name} {value}" for name, value in sorted(record.decisions.items()))
    if decisions:
        console.print(Text(f"  {decisions}", style="dim"), soft_wrap=True)


def as_json(record: conversation_pb2.TurnRecord) -> str:
    """Return a record as a line of JSON, as the file of records has it."""
    return json.dumps(record_as_dict(record), ensure_ascii=False)


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
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    first = min((stage.start_ms for stage in record.stages), default=0)
    # The answer is heard for much longer than it takes to be made, so its bar may leave the picture.
    last = max((stage.start_ms if stage.name == "playback" else stage.end_ms for stage in record.stages), default=0)
    width = min(max(console.width - _COLUMNS_BESIDE_BAR, _NARROWEST_BAR), _WIDEST_BAR)
    scale = width / max(last - first, 1)
    zero = round(-first * scale)
    for stage in record.stages:
        start = min(round((stage.start_ms - first) * scale), width - 1)
        end = start if stage.start_ms == stage.end_ms else max(round((stage.end_ms - first) * scale), start + 1)
        table.add_row(
            Text(f"  {stage.name}"),
            _bar(start, end, zero, width, _COLOURS.get(stage.name, "blue")),
            Text(_times(stage), justify="right"),
            Text(stage.detail, style="dim"),
        )
    return table


def _bar(start: int, end: int, zero: int, width: int, colour: str) -> Text:
    """Draw a stage; a moment is a point, and a line stands where the question ended."""
    bar = Text()
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
