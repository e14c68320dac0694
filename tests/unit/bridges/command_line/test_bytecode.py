import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridges.command_line.local import bytecode
from bridges.command_line.local.bytecode import with_bytecode
from bridges.command_line.local.local_stack import LocalStack
from bridges.command_line.local.state import LocalState


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand for an installation of one file that nobody has compiled."""
    source = tmp_path / "site-packages" / "package.py"
    source.parent.mkdir()
    source.write_text("ANSWER = 42\n")
    monkeypatch.setattr(bytecode, "_source", lambda: str(source))
    monkeypatch.setattr(sys, "pycache_prefix", None)
    return source


def start(environment: dict[str, str], package: Path) -> None:
    command = [sys.executable, "-c", "import package; assert package.ANSWER == 42"]
    subprocess.run(command, env=environment | {"PYTHONPATH": str(package.parent)}, check=True)


def compiled_in(folder: Path) -> list[str]:
    return [file.name.split(".")[0] for file in folder.rglob("package.*.pyc")]


def forbidden() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"}


def allowed() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def test_where_byte_code_may_not_lie_beside_the_sources_it_lies_in_the_folder(package: Path, tmp_path: Path) -> None:
    environment = with_bytecode(forbidden(), tmp_path / "bytecode")
    start(environment, package)
    assert compiled_in(tmp_path / "bytecode") == ["package"]
    assert compiled_in(package.parent) == []


def test_a_folder_that_cannot_be_written_gets_no_byte_code(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != package.parent)
    environment = with_bytecode(allowed(), tmp_path / "bytecode")
    start(environment, package)
    assert compiled_in(tmp_path / "bytecode") == ["package"]


@pytest.mark.parametrize("made", [allowed, forbidden])
def test_a_compiled_installation_is_used_as_it_is(
    package: Path, tmp_path: Path, made: Callable[[], dict[str, str]]
) -> None:
    start(allowed() | {"PYTHONPYCACHEPREFIX": ""}, package)
    assert compiled_in(package.parent) == ["package"]
    assert with_bytecode(made(), tmp_path / "bytecode") == made()


def test_where_python_may_keep_byte_code_it_keeps_it_where_it_always_does(package: Path, tmp_path: Path) -> None:
    assert with_bytecode(allowed(), tmp_path / "bytecode") == allowed()


def test_what_is_not_installed_needs_no_byte_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "_LARGEST_PACKAGE", "no_such_package")
    assert with_bytecode(forbidden(), tmp_path) == forbidden()


def test_the_local_stack_keeps_the_byte_code_of_its_processes_in_its_folder(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    started: list[subprocess.Popen[Any]] = []
    popen = subprocess.Popen

    def kept(*arguments: Any, **options: Any) -> subprocess.Popen[Any]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", kept)
    monkeypatch.setenv("HEARTH_STATE", str(tmp_path / "state"))
    stack = LocalStack()
    (stack.folder / "logs").mkdir(parents=True)
    stack._start(LocalState("", "", "", {}), "python", [sys.executable, "-c", "import package"])
    assert started[0].wait(timeout=30) == 0
    assert compiled_in(stack.folder) == ["package"]
