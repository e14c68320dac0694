"""The results as a table, and as JSON."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.benchmark import machine
from tests.faults.run import Result

_COLUMNS = (
    "mode",
    "fault",
    "sent",
    "once",
    "twice",
    "lost",
    "late",
    "failed",
    "anew",
    "no docs",
    "again",
    "in flight",
    "recovery",
    "gap",
    "steady",
)
LEGEND = """
once       answered once, in time or late
twice      a final message, a piece of a stream or its end came twice, or two answers differ
lost       never answered
late       answered behind the client's time-out
failed     answered with an error; the errors are listed below
anew       the final message says that it is another answer than the one that was streamed
no docs    answered without the documents that were asked for
again      sent again, with the same request id, by a client that had lost its connection
in flight  open when the fault happened
recovery   from the fault to the last answer that was slow or failed, or to the last request that was lost
gap        the longest time without any answer from the fault on
steady     median time of an answer before the fault
"""


def table(results: Sequence[Result]) -> str:
    """Return a line for each result, and what could not be run."""
    rows = [_row(result) for result in results if result.account]
    widths = [max(len(row[at]) for row in [_COLUMNS, *rows]) for at in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [_COLUMNS, *rows]
    ]
    lines += [
        f"{result.mode} {result.fault}: {result.trouble}" for result in results if result.account and result.trouble
    ]
    for result in results:
        if result.account:
            for error, number in result.account.errors.items():
                lines.append(f"{result.mode} {result.fault}: {number} × {error!r}")
    lines += [f"{result.mode} {result.fault}: not run: {result.trouble}" for result in results if not result.account]
    return "\n".join(line.rstrip() for line in lines)


def _row(result: Result) -> tuple[str, ...]:
    found = result.account
    assert found is not None
    counts = (found.sent, found.once, found.twice, found.lost, found.late, found.failed, found.anew)
    more = (found.without_documents, found.sent_again, found.in_flight)
    times = (f"{found.recovery_s:.1f} s", f"{found.gap_s:.1f} s", f"{found.steady_s:.2f} s")
    return (str(result.mode), result.fault, *(str(count) for count in (*counts, *more)), *times)


def command_line() -> str:
    """Return the command that this process was started with."""
    return shlex.join(["uv", "run", "python", "-m", "tests.faults", *sys.argv[1:]])


def write_json(results: Sequence[Result], file: Path) -> None:
    """Write everything to a file."""
    report = {"command": command_line(), "machine": machine(), "results": [asdict(result) for result in results]}
    file.write_text(json.dumps(report, indent=2), encoding="utf-8")
