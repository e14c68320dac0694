"""All benchmarks that there are: the modules of this folder that have a `BENCHMARK`."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.benchmark import Benchmark

FOLDER = Path(__file__).parent


def benchmarks() -> list[Benchmark[Any]]:
    """Return the benchmarks in the order of their names.

    Raises:
        ValueError: One does not have the name of its module.
    """
    return list(_benchmarks())


def _benchmarks() -> Iterator[Benchmark[Any]]:
    for module in sorted(info.name for info in pkgutil.iter_modules([str(FOLDER)])):
        found = getattr(importlib.import_module(f"tests.benchmarks.{module}"), "BENCHMARK", None)
        if found is None:
            continue
        if found.name != module:
            raise ValueError(f"the benchmark of {module} is called {found.name}")
        yield found
