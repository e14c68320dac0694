"""`python -m tests.faults`: breaks one part of Hearth after the other while clients ask, and counts what is lost."""

import argparse
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.benchmark import machine
from tests.faults.faults import FAULTS
from tests.faults.run import Options, Result, run
from tests.faults.stand import Mode
from tests.faults.table import LEGEND, command_line, table, write_json

_DURABLE_BROKE = 1
_INTERRUPTED = 130
_ABOUT = """
Clients ask over core NATS at a steady rate. Meanwhile one part of Hearth, or of what it runs on, is broken and comes
back. For each fault a line of a table says what became of the requests. Exit status 1: in durable mode something was
lost or came twice, or something did not come right again.

The graph is the real one on Ray Serve, with a real NATS server and a real Milvus Lite. Its models cost nothing. This
needs nothing besides the checkout and the default models (uv run hearth models fetch). Everything that it starts, it
ends, also after Ctrl-C. In durable mode, clients make sure: they
ask with a reply subject, and ask again where the server says that nobody listens, and where they had lost their
connection and have no answer yet.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    options = _parser().parse_args(arguments)
    chosen = [fault for fault in FAULTS if fault.name in options.faults]
    modes = [Mode(options.mode)] if options.mode else list(Mode)
    how = Options(
        options.requests,
        options.rate,
        options.timeout,
        options.lasts,
        options.times,
        not options.without_ray,
        options.logs,
    )
    results = list[Result]()
    # A shell that starts this in the background would have Ctrl-C ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        for result in run(chosen, modes, how, _told):
            results.append(result)
            _told(table([result]))
    except KeyboardInterrupt:
        _told("interrupted: everything that was started is ended")
        _show(results, options.json)
        return _INTERRUPTED
    _show(results, options.json)
    return 0 if all(result.holds for result in results) else _DURABLE_BROKE


def _show(results: list[Result], file: Path | None) -> None:
    print(f"\n{command_line()}\non {machine()}\n\n{table(results)}\n{LEGEND}", flush=True)
    if file is not None:
        write_json(results, file)


def _told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {fault.name:<16}{fault.about}" for fault in FAULTS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=f"{__doc__}\n{_ABOUT}",
        epilog=f"faults:\n{faults}\n\ncolumns of the table:\n{textwrap.indent(LEGEND.strip(), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [fault.name for fault in FAULTS]
    parser.add_argument(
        "--faults", nargs="+", choices=names, default=names, metavar="NAME", help="which (default: all)"
    )
    parser.add_argument("--mode", choices=[mode.value for mode in Mode], help="how requests are taken (default: both)")
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help="for each fault (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=20.0, metavar="R", help="requests a second (default: %(default)g)"
    )
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="of clients (default: %(default)g s)")
    parser.add_argument(
        "--lasts", type=float, default=8.0, metavar="S", help="of a broken network or disk (default: %(default)g s)"
    )
    parser.add_argument(
        "--times", type=int, default=1, metavar="N", help="how often each happens (default: %(default)s)"
    )
    parser.add_argument(
        "--without-ray",
        action="store_true",
        help="two ingresses in processes, with a graph of a few lines: for the faults of NATS and of the ingress",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file, too")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the logs and stores there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
