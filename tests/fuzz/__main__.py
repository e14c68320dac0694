"""`python -m tests.fuzz`: sends payloads like none that a client sends, for as long as one likes."""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.fuzz.payloads import FOUND, line_for
from tests.fuzz.run import Report, run
from tests.servers import nats_server

_TOLD_EVERY = 20_000
_GROWN_BYTES = 50_000_000


def main() -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="payloads to send (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="end after this time, whatever was sent")
    parser.add_argument("--seed", type=int, help="draws the payloads; printed, so that a run can be repeated")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    # What a request fails with stands here, too.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    seconds = None if options.minutes is None else 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder, nats_server(Path(folder)) as url:
        report = asyncio.run(run(url, options.count, seed, seconds, Progress().tell))
    return verdict(report)


class Progress:
    """Prints how far a run is, now and then."""

    def __init__(self) -> None:
        self._next = _TOLD_EVERY

    def tell(self, report: Report) -> None:
        """Print a line where it is time for one."""
        if report.sent < self._next:
            return
        self._next += _TOLD_EVERY
        rate, grown = report.sent / report.seconds, report.grown_bytes / 1e6
        print(f"{report.sent:>9,} sent, {rate:,.0f} a second, memory {grown:+.1f} MB", flush=True)


def verdict(report: Report) -> int:
    """Print what a run came to; return 1 where something is wrong."""
    for (subject, outcome), number in sorted(report.outcomes.items()):
        print(f"{number:>9,} {outcome:<18} {subject}")
    print(
        f"{report.sent:,} payloads in {report.seconds:.0f} s, memory {report.grown_bytes / 1e6:+.1f} MB since a tenth"
    )
    for payload in report.unanswered:
        print(f"unanswered; a line for {FOUND.name}: {line_for(payload)}")
    print(f"unanswered: {len(report.unanswered)}, faults inside Hearth: {sum(report.faults.values())}")
    is_flat = report.grown_bytes < _GROWN_BYTES
    return 0 if is_flat and not report.unanswered and not report.faults else 1


if __name__ == "__main__":
    sys.exit(main())
