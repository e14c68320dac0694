"""How a benchmark says what it measures, and how it is started: the same way for all.

A module of this folder that has a `BENCHMARK` is one; the tests find it by that. Its command line is made from it:

    uv run python -m tests.benchmarks.NAME              the whole
    uv run python -m tests.benchmarks.NAME --smoke      its smallest form
    uv run python -m tests.benchmarks.NAME --help       what it measures, how long it takes, what it needs
"""

import argparse
import json
import os
import platform
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import psutil

from tests.benchmarks.figures import Figure
from tests.benchmarks.site import OwnSite, Site

T = TypeVar("T")


class DataclassOptions(Protocol):
    """A frozen dataclass whose fields are made by `option`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


O = TypeVar("O", bound=DataclassOptions)  # noqa: E741 - stands for options


class Need(Enum):
    """What a benchmark needs besides this checkout."""

    MODELS = "the default models: uv run hearth models fetch"
    TEXTS = "real texts, which it fetches with pip and apt-get"
    RECORDINGS = "recordings of speech, which it fetches with pip and apt-get"
    PEER = "pipecat 1.14.0, which it installs with uv into an environment of its own; --no-peer does without"
    VOICE = "a voice of Piper, which it fetches with pip"
    TWO_CORES = "two cores, to each of which it pins something"


def option(whole: T, smoke: T, about: str) -> T:
    """Declare a field of a benchmark's options.

    Args:
        whole: Its value unless the command line gives another one.
        smoke: Its value in the smallest form.
        about: What it is.
    """
    return field(default=whole, metadata={"smoke": smoke, "about": about})


@dataclass(frozen=True)
class Benchmark(Generic[O]):
    """What a benchmark is.

    Attributes:
        name: Of its module.
        about: What it measures and how: the text at the head of its module.
        takes: How long the whole takes on two cores, in words.
        needs: What it needs.
        options: What may be chosen.
        run: Takes the figures, on servers of a site.
    """

    name: str
    about: str | None
    takes: str
    needs: tuple[Need, ...]
    options: type[O]
    run: Callable[[O, Site], list[Figure]]

    def smoke(self) -> O:
        """Return the options of the smallest form."""
        return self.options(**{one.name: one.metadata["smoke"] for one in fields(self.options)})

    def parser(self) -> argparse.ArgumentParser:
        """Return the command line."""
        needs = "\n".join(f"* {need.value}" for need in self.needs) or "Nothing besides this checkout."
        about = (self.about or "").strip()
        parser = argparse.ArgumentParser(
            prog=f"python -m tests.benchmarks.{self.name}",
            description=f"{about}\n\nThe whole takes {self.takes} on two cores. It needs:\n{needs}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
        )
        parser.add_argument("--smoke", action="store_true", help="the smallest form: seconds, and figures of no worth")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
        for one in fields(self.options):
            _add_option(parser, one)
        return parser

    def parse(self, arguments: Sequence[str] | None = None) -> tuple[O, Path | None]:
        """Return what a command line asks for: the options, and the file for the figures, if there is one."""
        given = vars(self.parser().parse_args(arguments))
        file = given.pop("json", None)
        options = self.smoke() if given.pop("smoke", False) else self.options()
        return self.options(**{**asdict(cast("Any", options)), **given}), file

    def main(self) -> None:
        """Take the figures that the command line asks for, and print them."""
        options, file = self.parse()
        figures = self.run(options, OwnSite())
        print(f"\n{self.name} on {machine()}; medians with quartiles\n")
        print("\n".join(figure.line() for figure in figures))
        if file is not None:
            report = {"benchmark": self.name, "machine": machine(), "options": asdict(cast("Any", options))}
            figures_json = [asdict(figure) for figure in figures]
            file.write_text(json.dumps({**report, "figures": figures_json}, indent=2, default=str), encoding="utf-8")


def _add_option(parser: argparse.ArgumentParser, one: Field[Any]) -> None:
    assert one.default is not MISSING
    default = one.default
    about = textwrap.shorten(str(one.metadata["about"]), 200)
    flag = f"--{one.name.replace('_', '-')}"
    if isinstance(default, bool):
        shown = "yes" if default else "no"
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=f"{about} (default: {shown})")
    else:
        kind = cast("Callable[[str], object]", type(default))
        parser.add_argument(
            flag, type=kind, metavar=type(default).__name__.upper(), help=f"{about} (default: {default})"
        )


def machine() -> str:
    """Return what it was measured on, in words."""
    memory = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"
