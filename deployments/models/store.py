"""Where model files lie on this machine, and whether they are what the manifest says."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import platformdirs

from deployments.errors import UnavailableError
from deployments.models.hashing import sha256_of
from deployments.models.installed import installed_file
from deployments.models.manifest import Manifest, Model, ModelFile

logger = logging.getLogger(__name__)


class FileState(StrEnum):
    """What was found where a model file should be."""

    PRESENT = "present"
    MISSING = "missing"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """Where a model file is, or where it belongs.

    Attributes:
        path: The file.
        state: What was found there.
        package: Name and version of the installed package that it lies in; empty where it is the store's.
        passed_over: Name and version of an installed package that should carry the file but has another one or
            none; empty where there is no such package.
    """

    path: Path
    state: FileState
    package: str = ""
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class ModelStore:
    """A folder with one folder for each model.

    Attributes:
        folder: Where the models lie: `HEARTH_MODELS`, else the user's cache folder.
    """

    folder: Path

    @classmethod
    def from_environment(cls) -> "ModelStore":
        """Return the store that `HEARTH_MODELS` names, else the one in the user's cache folder."""
        configured = os.environ.get("HEARTH_MODELS")
        return cls(Path(configured) if configured else platformdirs.user_cache_path("hearth") / "models")

    def path(self, model: Model, file: ModelFile) -> Path:
        """Return where `file` of `model` belongs, whether or not it is there."""
        return self.folder / model.name / file.path

    def state(
        self,
        model: Model,
        file: ModelFile,
        *,
        verify: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> FileState:
        """Say whether a file is there and right.

        Args:
            verify: Hash the file; otherwise only its size is looked at.
            progress: Called with the number of bytes hashed since the last call.
        """
        path = self.path(model, file)
        if not path.is_file():
            return FileState.MISSING
        if path.stat().st_size != file.size:
            return FileState.ALTERED
        if verify and sha256_of(path, progress) != file.sha256:
            return FileState.ALTERED
        return FileState.PRESENT

    def find(
        self,
        model: Model,
        file: ModelFile,
        *,
        verify: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> FoundFile:
        """Look for a file where it is used from: in an installed package that carries it, else in the store.

        Args:
            verify: Hash the store's file; otherwise only its size is looked at. A package's file is always hashed.
            progress: Called with the number of bytes of the store's file that were hashed since the last call.
        """
        installed = installed_file(model)
        if installed is not None and installed.is_right:
            return FoundFile(installed.path, FileState.PRESENT, package=installed.package)
        state = self.state(model, file, verify=verify, progress=progress)
        return FoundFile(self.path(model, file), state, passed_over=installed.package if installed else "")

    def locate(self, name: str, role: str, manifest: Manifest | None = None) -> Path:
        """Return where a model lies.

        That is its folder in the store; its file, where an installed package carries the whole of it; `name` itself
        where it is a path. Every file of a folder is there with the size that the manifest states; `hearth models
        verify` hashes them.

        Args:
            name: A name in the manifest, or the path of a file or folder of the user's own.
            role: What the model is for, for messages.
            manifest: Where names are looked up; the shipped one by default.

        Raises:
            NotFoundError: The manifest has no such model.
            UnavailableError: A file is missing or altered; the message says which, and the command that mends it.
        """
        if os.sep in name:
            if not Path(name).exists():
                raise UnavailableError(f"{role}: the model {name} does not exist")
            return Path(name)
        model = (manifest or Manifest.load()).model(name)
        found = [self.find(model, file) for file in model.files]
        for passed_over in dict.fromkeys(file.passed_over for file in found if file.passed_over):
            logger.warning("%s: %s", role, not_the_model(passed_over, model))
        for file in found:
            if file.state is not FileState.PRESENT:
                raise UnavailableError(
                    f"{role}: model file {model.name}/{file.path.name} is {file.state} in the model store; "
                    f"run `hearth models fetch {model.name}` on this machine"
                )
        return next((file.path for file in found if file.package), self.folder / model.name)

    def locate_file(self, name: str, role: str, file: str, manifest: Manifest | None = None) -> Path:
        """Return one file of a model: as `locate`, and `file` of the folder where that gives a folder.

        Args:
            name: A name in the manifest, or the path of a file or folder of the user's own.
            role: What the model is for, for messages.
            file: The file's name inside the model's folder, such as "model.onnx".
            manifest: Where names are looked up; the shipped one by default.

        Raises:
            NotFoundError: The manifest has no such model.
            UnavailableError: A file is missing or altered; the message says which, and the command that mends it.
        """
        located = self.locate(name, role, manifest)
        return located / file if located.is_dir() else located


def not_the_model(package: str, model: Model) -> str:
    """Return the sentence that says why an installed package is not used.

    Args:
        package: Its name and version.
        model: The model that it should carry.
    """
    return f"{package} is installed but does not hold the {model.name} of the manifest, so it is not used"
