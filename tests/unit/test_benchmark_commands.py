"""Every benchmark is started in the same way, says what it needs, and stands on the benchmarks' page."""

import ast
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.values.chat import PreparationUse
from tests.benchmarks import prefill
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.catalogue import FOLDER, benchmarks
from tests.benchmarks.figures import Figure, plain
from tests.benchmarks.site import Site

PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
PROGRAMS = {"real_texts", "recordings", "replaced_design"}
"""Modules that are started and measure nothing: two fetch what benchmarks need, one is run by a benchmark."""


@dataclass(frozen=True)
class Options:
    rounds: int = option(7, 1, "of both sides")
    seconds: float = option(3.0, 0.5, "each")
    voice: str = option("", "", "that asks")
    peer: bool = option(True, False, "whether to ask the peer")


def _run(options: Options, site: Site) -> list[Figure]:
    del site
    return [plain("rounds", options.rounds)]


EXAMPLE = Benchmark("example", "What it answers.\n\nHow.", "a minute", (Need.PEER,), Options, _run)


def modules_with_a_main() -> set[str]:
    return {file.stem for file in FOLDER.glob("*.py") if _has_main(file)}


def _has_main(file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(isinstance(one, ast.If) and "__main__" in ast.unparse(one.test) for one in body)


def test_without_options_the_whole_is_run():
    assert EXAMPLE.parse([]) == (Options(7, 3.0, "", True), None)


def test_the_smallest_form_is_asked_for_by_one_flag():
    assert EXAMPLE.parse(["--smoke"]) == (Options(1, 0.5, "", False), None)


@pytest.mark.parametrize("arguments", [["--smoke", "--rounds", "2"], ["--rounds", "2", "--smoke"]])
def test_what_is_given_goes_over_the_smallest_form(arguments: list[str]):
    assert EXAMPLE.parse(arguments)[0] == Options(2, 0.5, "", False)


def test_figures_go_to_a_file_if_one_is_named():
    assert EXAMPLE.parse(["--no-peer", "--json", "figures.json"]) == (
        Options(7, 3.0, "", False),
        Path("figures.json"),
    )


def test_an_option_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        EXAMPLE.parse(["--questions", "2"])
    assert "--questions" in capsys.readouterr().err


@pytest.mark.parametrize("benchmark", benchmarks(), ids=lambda one: one.name)
def test_help_says_what_is_measured_and_how_long_it_takes_and_what_it_needs(benchmark: Benchmark[Any]):
    text = benchmark.parser().format_help()
    assert text.startswith(f"usage: python -m tests.benchmarks.{benchmark.name} ")
    assert (benchmark.about or "").strip() in text
    assert f"The whole takes {benchmark.takes}" in text
    assert all(need.value in text for need in benchmark.needs)
    assert "--smoke" in text


@pytest.mark.parametrize("benchmark", benchmarks(), ids=lambda one: one.name)
def test_the_smallest_form_needs_no_peer_and_fetches_no_texts(benchmark: Benchmark[Any]):
    smoke = benchmark.smoke()
    assert [name for name in ("peer", "real", "real_texts", "recordings") if getattr(smoke, name, False)] == []


def test_whatever_is_started_is_a_benchmark_or_known_to_be_none():
    assert modules_with_a_main() == {benchmark.name for benchmark in benchmarks()} | PROGRAMS


def test_one_question_after_the_first_gives_figures():
    figures = prefill.figures([prefill.Asked(2.0, 1.0, PreparationUse.KEPT, 100, 10)])
    assert all(figure.is_measured for figure in figures)


# The page.


def commands_on_the_page() -> list[tuple[str, list[str]]]:
    """Return the module and the options of each command."""
    found = re.findall(r"python -m tests\.benchmarks\.(\w+)([^\n`|#]*)", PAGE)
    return [(module, shlex.split(options)) for module, options in found]


def test_every_benchmark_is_on_the_page():
    assert {benchmark.name for benchmark in benchmarks()} <= {module for module, _ in commands_on_the_page()}


@pytest.mark.parametrize(("module", "options"), commands_on_the_page())
def test_every_command_on_the_page_can_be_given(module: str, options: list[str]):
    by_name = {benchmark.name: benchmark for benchmark in benchmarks()}
    assert module in by_name.keys() | PROGRAMS
    if module in by_name:
        by_name[module].parse(options)


@pytest.mark.parametrize("benchmark", benchmarks(), ids=lambda one: one.name)
def test_the_page_says_how_long_each_takes(benchmark: Benchmark[Any]):
    command = f"python -m tests.benchmarks.{benchmark.name}`"
    rows = [line for line in PAGE.splitlines() if command in line and line.startswith("|")]
    assert len(rows) == 1
    assert rows[0].rstrip(" |").endswith(f"| {benchmark.takes}")
