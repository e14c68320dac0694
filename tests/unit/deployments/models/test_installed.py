"""Models out of installed packages: which are used where they lie, and which are passed over."""

import asyncio
import hashlib
import json
import logging
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridges.command_line.client import NatsServer
from bridges.command_line.local.doctor import Verdict, examine
from bridges.command_line.local.model_download import ModelFetcher
from bridges.command_line.main import cli
from deployments.errors import UnavailableError
from deployments.models.manifest import Manifest
from deployments.models.store import FileState, ModelStore

CONTENT = b"the weights"
OTHER = b"the_weights"
"""As long as the weights, so that the size tells nothing."""


def entry(name: str, *members: str) -> str:
    digest = hashlib.sha256(CONTENT).hexdigest()
    joined = ", ".join(f'{{package = "carrier-of-one", path = "{member}"}}' for member in members)
    return (
        f'[[model]]\nname = "{name}"\nrole = "voice-activity"\nlicence = "MIT"\nabout = "test"\n'
        f'[[model.file]]\npath = "model.onnx"\nsize = {len(CONTENT)}\nsha256 = "{digest}"\nmembers = [{joined}]\n'
    )


@pytest.fixture
def manifest_path(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.toml"
    carrier = f'[[package]]\nname = "carrier-of-one"\nversion = "2.0"\nsize = 1\nsha256 = "{"0" * 64}"\n'
    one, two = "carrier_of_one/data/model.onnx", "carrier_of_one/data/half.onnx"
    path.write_text(carrier + entry("whole", one) + entry("halves", one, two))
    return path


@pytest.fixture
def manifest(manifest_path: Path) -> Manifest:
    return Manifest.load(manifest_path)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("HEARTH_MODELS", str(tmp_path / "store"))
    return ModelStore.from_environment()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose packages are installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def install(
    site: Path, version: str, content: bytes, package: str = "carrier_of_one", file_name: str = "model.onnx"
) -> Path:
    """Install a carrier, whose import would fail as one that needs torch does; return its model file."""
    information = site / f"{package}-{version}.dist-info"
    information.mkdir()
    name = package.replace("_", "-")
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    file = site / package / "data" / file_name
    file.parent.mkdir(parents=True)
    (site / package / "__init__.py").write_text("raise ImportError('it was imported')\n")
    file.write_bytes(content)
    return file


def put_into_store(store: ModelStore, name: str) -> Path:
    file = store.folder / name / "model.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return file


def test_a_model_in_an_installed_package_is_used_where_it_lies(
    manifest: Manifest, store: ModelStore, site: Path
) -> None:
    file = install(site, "2.0", CONTENT)
    put_into_store(store, "whole")
    assert store.locate("whole", "voice-activity", manifest) == file
    assert store.locate_file("whole", "voice-activity", "model.onnx", manifest) == file
    assert "carrier_of_one" not in sys.modules


def test_nothing_is_fetched_of_it(manifest: Manifest, store: ModelStore, site: Path, tmp_path: Path) -> None:
    install(site, "2.0", CONTENT)
    fetcher = ModelFetcher(manifest, store, from_dir=tmp_path / "no wheels here")
    assert fetcher.download_bytes(manifest.model("whole")) == 0
    fetcher.fetch(manifest.model("whole"), lambda _: None)
    assert not store.folder.joinpath("whole").exists()


def test_without_the_package_the_store_is_used(manifest: Manifest, store: ModelStore) -> None:
    file = put_into_store(store, "whole")
    assert store.locate("whole", "voice-activity", manifest) == store.folder / "whole"
    assert store.locate_file("whole", "voice-activity", "model.onnx", manifest) == file


def test_a_version_with_another_file_is_passed_over_and_said(
    manifest: Manifest, store: ModelStore, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "2.1", OTHER)
    file = put_into_store(store, "whole")
    with caplog.at_level(logging.WARNING):
        assert store.locate_file("whole", "voice-activity", "model.onnx", manifest) == file
    assert [record.getMessage() for record in caplog.records] == [
        "voice-activity: carrier-of-one 2.1 is installed but does not hold the whole of the manifest, so it is not used"
    ]


def test_a_version_without_the_file_leaves_the_model_missing(manifest: Manifest, store: ModelStore, site: Path) -> None:
    install(site, "1.0", CONTENT).unlink()
    with pytest.raises(
        UnavailableError, match=r"whole/model\.onnx is missing in the model store; run `hearth models fetch whole`"
    ):
        store.locate("whole", "voice-activity", manifest)


def test_a_model_of_several_pieces_is_put_together_in_the_store(
    manifest: Manifest, store: ModelStore, site: Path
) -> None:
    install(site, "2.0", CONTENT)
    model = manifest.model("halves")
    found = store.find(model, model.files[0])
    assert (found.state, found.package, found.passed_over) == (FileState.MISSING, "", "")


@pytest.mark.parametrize(
    ("version", "content", "state", "package"),
    [("2.0", CONTENT, "present", "carrier-of-one 2.0"), ("2.1", OTHER, "missing", "")],
)
def test_the_list_of_models_says_where_each_comes_from(
    manifest_path: Path, store: ModelStore, site: Path, version: str, content: bytes, state: str, package: str
) -> None:
    install(site, version, content)
    listed = CliRunner().invoke(cli, ["models", "list", "--manifest", str(manifest_path), "--json"])
    whole = next(row for row in json.loads(listed.stdout) if row["name"] == "whole")
    assert (whole["state"], whole["package"]) == (state, package)


def test_people_are_told_of_the_package_and_of_what_is_passed_over(
    manifest_path: Path, store: ModelStore, site: Path
) -> None:
    file = install(site, "2.0", CONTENT)
    arguments = ["--manifest", str(manifest_path), "whole"]
    listed = CliRunner().invoke(cli, ["models", "list", *arguments[:2]])
    assert "but whole, which lies in the installed package carrier-of-one 2.0\n" in listed.stdout
    verified = CliRunner().invoke(cli, ["models", "verify", *arguments])
    assert verified.stdout == "  ✓ whole/model.onnx  in carrier-of-one 2.0\n"
    file.write_bytes(OTHER)
    verified = CliRunner().invoke(cli, ["models", "verify", *arguments])
    assert verified.exit_code == 1
    assert "carrier-of-one 2.0 is installed but does not hold the whole of the manifest" in verified.stderr
    listed = CliRunner().invoke(cli, ["models", "list", *arguments[:2]])
    assert "carrier-of-one 2.0 is installed but does not hold the whole of the manifest" in listed.stderr


def test_the_doctor_says_that_another_version_of_the_voice_activity_model_is_passed_over(
    store: ModelStore, site: Path
) -> None:
    install(site, "99.0", OTHER, "silero_vad", "silero_vad_16k_op15.onnx")
    told = "silero-vad 99.0 is installed but does not hold the silero-vad of the manifest, so it is not used"
    models = [finding for finding in asyncio.run(examine(NatsServer("nats://127.0.0.1:9"))) if finding.name == "Models"]
    assert [(finding.verdict, finding.detail) for finding in models[1:]] == [(Verdict.MISSED, told)]
    assert "silero-vad" in models[0].detail.removeprefix("missing: ").split(", ")


def test_this_environment_carries_the_voice_activity_model_of_the_manifest(tmp_path: Path) -> None:
    """The group `silero` and the manifest name one version: else the package would be installed for nothing."""
    located = ModelStore(tmp_path).locate("silero-vad", "voice-activity")
    assert located.parts[-3:] == ("silero_vad", "data", "silero_vad_16k_op15.onnx")
    assert os.path.commonpath((located, sys.prefix)) == sys.prefix
