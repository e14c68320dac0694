"""Byte code for the Python processes of a graph, so that they do not each compile the same packages.

A graph is some twenty Python processes that import the same packages. Python compiles a package once and keeps the byte
code beside the source, unless PYTHONDONTWRITEBYTECODE is set or the folder cannot be written. Then each process
compiles for itself, which takes longer than all the rest of its start.
"""

import os
from collections.abc import Mapping
from importlib.util import cache_from_source, find_spec
from pathlib import Path

_LARGEST_PACKAGE = "ray"
_FORBIDDEN = "PYTHONDONTWRITEBYTECODE"
_FOLDER = "PYTHONPYCACHEPREFIX"


def with_bytecode(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment for Python processes in which packages are compiled once at most.

    Where the installation is compiled, or where Python may keep byte code beside the sources, the environment stays as
    it is. Else Python is told to keep byte code in `folder`.

    Args:
        environment: The variables of this process, or those and more.
        folder: Made by Python when it is first used.
    """
    source = _source()
    if source is None or _is_kept(Path(cache_from_source(source)), environment):
        return dict(environment)
    return {name: value for name, value in environment.items() if name != _FORBIDDEN} | {_FOLDER: str(folder)}


def _source() -> str | None:
    """Return a file by which to see whether the installation is compiled."""
    spec = find_spec(_LARGEST_PACKAGE)
    return spec.origin if spec else None


def _is_kept(bytecode: Path, environment: Mapping[str, str]) -> bool:
    if bytecode.exists():
        return True
    nearest = next(parent for parent in bytecode.parents if parent.exists())
    return not environment.get(_FORBIDDEN) and os.access(nearest, os.W_OK)
