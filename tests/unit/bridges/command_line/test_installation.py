"""A checkout and an installed package: where state goes, and how to install what is missing."""

import os
import sys
from pathlib import Path

import platformdirs
import pytest
from click.testing import CliRunner

from bridges.command_line.local import installation
from bridges.command_line.local.installation import THIS, Installation, find_program, require_local
from bridges.command_line.local.local_stack import REPLICA_SITE, SERVE_CONFIG, LocalStack
from bridges.command_line.local.state import LocalState, StartedProcess
from bridges.command_line.main import SAMPLES, cli
from deployments.errors import InvalidRequestError, UnavailableError
from tests.servers import ROOT


@pytest.fixture(autouse=True)
def without_a_named_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEARTH_STATE", raising=False)


@pytest.fixture
def packages(tmp_path: Path) -> Installation:
    """Return an installation as a package, in a folder where no checkout is."""
    return Installation.at(tmp_path)


def test_a_checkout_keeps_its_state_in_itself() -> None:
    assert Installation(ROOT) == THIS
    assert THIS.state_folder == ROOT / ".hearth"


def test_a_package_keeps_its_state_with_the_user(packages: Installation) -> None:
    assert packages.checkout is None
    assert packages.state_folder == platformdirs.user_state_path("hearth")


@pytest.mark.parametrize("checkout", [ROOT, None])
def test_a_named_state_folder_is_meant_from_where_the_command_is_typed(
    checkout: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_STATE", "state")
    assert Installation(checkout).state_folder == Path.cwd() / "state"


def test_what_is_missing_is_installed_by_uv_in_a_checkout_and_by_pip_elsewhere(packages: Installation) -> None:
    assert THIS.install_command(["onnx", "whisper"]) == "uv sync --extra onnx --extra whisper"
    assert packages.install_command(["onnx", "whisper"]) == "pip install 'hearth[onnx,whisper]'"


def test_what_is_shipped_lies_in_the_packages() -> None:
    assert SERVE_CONFIG.read_bytes() == (ROOT / "serve_config.yaml").read_bytes()
    assert (REPLICA_SITE / "sitecustomize.py").is_file()
    assert {path.name for path in SAMPLES.iterdir()} >= {"backups.md", "heating.txt", "network.md"}


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    require_local()
    monkeypatch.setitem(installation.EXTRAS, "whisper", "no_such_module")
    monkeypatch.setattr(installation, "PROGRAMS", ("no-such-server",))
    with pytest.raises(UnavailableError, match=r"\(whisper, no-such-server\): install it with `uv sync --extra local`"):
        require_local()


def test_a_program_of_the_environment_goes_before_one_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ray", "elsewhere"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_program("ray") == str(Path(sys.executable).parent / "ray")
    assert find_program("elsewhere") == str(tmp_path / "elsewhere")
    assert find_program("nowhere") is None


def test_the_shipped_configuration_is_printed_word_for_word() -> None:
    assert CliRunner().invoke(cli, ["config"]).output == (ROOT / "serve_config.yaml").read_text()


def test_a_configuration_that_is_no_yaml_is_refused_by_name(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("applications: [")
    nowhere = LocalState("", "", "http://127.0.0.1:9", {"ray": StartedProcess(0, 0.0)})
    with pytest.raises(InvalidRequestError, match=r"mine\.yaml cannot be read as YAML"):
        LocalStack(tmp_path).deploy(nowhere, config)


def test_a_configuration_that_is_not_there_is_told_before_anything_starts() -> None:
    result = CliRunner().invoke(cli, ["up", "--config", "no-such.yaml"])
    assert result.exit_code == 2
    assert "'no-such.yaml' does not exist" in result.output
