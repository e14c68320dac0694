"""The command line: see `tests.vllm.run`."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.benchmark import machine
from tests.vllm import run as checked
from tests.vllm.bindings import scripted_model, vllm_model
from tests.vllm.measurements import advice
from tests.vllm.run import SMOKE, Scope, run
from tests.vllm.second_environment import second_environment


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for, and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.vllm", description=checked.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="seconds, with an engine of the tests in place of vLLM")
    parser.add_argument("--no-kill", action="store_true", help="leave out the killing of the engine")
    parser.add_argument("--conversations", type=int, default=50, help="0 leaves out two replicas")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
    given = parser.parse_args(arguments)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if given.smoke:
        figures = run(scripted_model(), SMOKE)
    else:
        scope = Scope(conversations=given.conversations, is_killed=not given.no_kill)
        figures = run(vllm_model(second_environment()), scope)
    print(f"\nvllm on {machine()}; medians with quartiles\n")
    print("\n".join(figure.line() for figure in figures))
    if not given.smoke:
        print(advice(figures))
    if given.json is not None:
        report = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
        given.json.write_text(json.dumps(report, indent=2, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
