"""`kuberay/Dockerfile`: what each image holds, what none holds, and that nothing a pod runs is left out."""

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import distribution
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deployments.models.manifest import Manifest
from tests.manifests.pod_imports import ROOT, SITE, WithoutUnused, entries

KUBERAY = ROOT / "kuberay"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = {"orchestration", "cpu", "cuda", "rocm", "openvino"}
COMPILERS = re.compile(r"^(gcc|g\+\+|cpp|clang|llvm|make|cmake|ninja|rustc|build-essential|binutils|python3?-dev)\b")


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile, its lines joined: its name, and what stands behind it."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


@dataclass(frozen=True)
class Stage:
    """A stage of a Dockerfile.

    Attributes:
        base: The image or the stage that it starts from.
        name: Its own.
        instructions: What follows its FROM.
    """

    base: str
    name: str
    instructions: tuple[Instruction, ...]


def instructions() -> list[Instruction]:
    lines = (KUBERAY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    parts = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [Instruction(name, rest) for name, _, rest in parts]


def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    for instruction in instructions():
        if instruction.name == "FROM":
            base, _, name = instruction.words
            found[name] = Stage(base, name, ())
        elif found:
            last = list(found.values())[-1]
            found[last.name] = Stage(last.base, last.name, (*last.instructions, instruction))
    return found


STAGES = stages()


def line_of(target: str) -> list[Instruction]:
    """Return the instructions of a stage, those of the stages that it starts from first."""
    stage = STAGES[target]
    return [*(line_of(stage.base) if stage.base in STAGES else []), *stage.instructions]


def copied_from(target: str) -> list[str]:
    """Return the stages that an image takes files from."""
    words = (word for one in line_of(target) if one.name == "COPY" for word in one.words)
    return [word.removeprefix("--from=") for word in words if word.startswith("--from=")]


def installation(target: str) -> list[str]:
    """Return the words of the command that installs what an image holds."""
    (stage,) = (name for name in copied_from(target) if name.startswith("install-"))
    (run,) = (one for one in STAGES[stage].instructions if one.name == "RUN")
    return run.words


def options(words: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(words) if option == name]


def test_there_is_an_image_for_each_kind_of_node() -> None:
    based_on_the_runtime = {stage.name for stage in STAGES.values() if stage.base == "runtime"}
    assert based_on_the_runtime == TARGETS


def test_all_images_have_one_python_which_is_pinned_by_version_and_content() -> None:
    (python,) = (one.text for one in instructions() if one.name == "ARG" and one.text.startswith("PYTHON="))
    found = re.fullmatch(r"PYTHON=python:3\.(\d+)\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", python)
    assert found
    assert 11 <= int(found[1]) < 14  # as requires-python in pyproject.toml
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    assert {stage.base for stage in STAGES.values() if stage.base not in STAGES} == {"${PYTHON}"}


def test_all_images_have_the_versions_of_one_resolution() -> None:
    assert [one.text for one in STAGES["build"].instructions][-1] == "uv lock"
    for target in TARGETS:
        (stage,) = (name for name in copied_from(target) if name.startswith("install-"))
        assert STAGES[stage].base == "install"
        assert STAGES["install"].base == "build"
        assert installation(target)[0] == "kuberay/install.sh"
    assert "uv sync --frozen" in (KUBERAY / "install.sh").read_text(encoding="utf-8")


def test_what_installs_is_pinned() -> None:
    text = " ".join(one.text for one in STAGES["build"].instructions)
    assert re.search(r"uv==\d+\.\d+\.\d+\b", text)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_an_image_asks_for_extras_that_exist(target: str) -> None:
    extras = set(options(installation(target), "--extra"))
    assert extras
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_an_image_runs_without_rights(target: str) -> None:
    assert [one.text for one in line_of(target) if one.name == "USER"] == ["1000"]
    assert line_of(target)[-1].name == "USER"
    assert "useradd --uid 1000" in " ".join(one.text for one in line_of(target))


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_an_image_holds_no_compiler_and_nothing_that_installs_python_packages(target: str) -> None:
    runs = " ".join(one.text for one in line_of(target) if one.name == "RUN")
    installed = [
        word for command in re.findall(r"apt-get install([^&]*)", runs) for word in command.split() if word[0] != "-"
    ]
    assert [word for word in installed if COMPILERS.match(word)] == []
    assert "pip uninstall --yes setuptools wheel pip" in runs
    assert "ensurepip" in runs
    assert "models" not in options(installation(target), "--extra")


def test_the_orchestration_has_no_engine_and_the_cpu_has_what_serve_config_needs() -> None:
    assert set(options(installation("orchestration"), "--extra")) == {"voice-activity", "otlp"}
    engines = {"llama-cpp", "onnx", "whisper", "hibari"}
    assert set(options(installation("cpu"), "--extra")) == {*engines, "voice-activity", "otlp"}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_image_can_import_every_application_for_serve_may_build_it_on_any_node(target: str) -> None:
    assert "voice-activity" in options(installation(target), "--extra")


@pytest.mark.parametrize("target", ["cuda", "rocm"])
def test_an_onnxruntime_for_accelerators_is_the_only_one(target: str) -> None:
    assert options(installation(target), "--no-install-package") == ["onnxruntime"]


def test_fetched_models_are_known_by_name() -> None:
    known = set(Manifest.load().models)
    fetched = [
        name
        for stage in STAGES.values()
        if stage.base == "fetch"
        for one in stage.instructions
        for name in one.words[3:]
    ]
    assert fetched
    assert set(fetched) <= known


def test_every_file_that_is_copied_is_let_in() -> None:
    let_in = [
        line.removeprefix("!")
        for line in (KUBERAY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    copied = [
        word for one in instructions() if one.name == "COPY" and "--from" not in one.text for word in one.words[:-1]
    ]
    assert sorted(copied) == sorted(let_in)
    assert [name for name in copied if not (ROOT / name).exists()] == []


# What is left out.


@pytest.mark.parametrize("package", entries("unused-packages.txt"))
def test_a_package_that_is_left_out_is_one_that_would_be_installed(package: str) -> None:
    assert distribution(package).version


@pytest.mark.parametrize("pattern", entries("unused-files.txt"))
def test_a_pattern_of_files_that_are_left_out_matches_some(pattern: str) -> None:
    assert list(SITE.glob(pattern))


def test_all_that_a_pod_runs_can_be_imported_without_what_is_left_out() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.manifests.pod_imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize("name", ["ray.data", "virtualenv", "pandas.tests"])
def test_what_is_left_out_is_not_found_by_that_test(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_spec(name) is not None
    for module in [module for module in sys.modules if fnmatch(module, name) or fnmatch(module, f"{name}.*")]:
        monkeypatch.delitem(sys.modules, module)
    parent = name.rpartition(".")[0]
    path = list(sys.modules[parent].__path__) if parent else None
    with pytest.raises(ModuleNotFoundError, match="in the images"):
        WithoutUnused().find_spec(name, path)


def test_the_script_that_installs_stops_at_the_first_fault() -> None:
    script = Path(KUBERAY / "install.sh")
    assert "set -eu" in script.read_text(encoding="utf-8").splitlines()
    assert script.stat().st_mode & 0o111
