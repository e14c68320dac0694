"""Where model files lie on this machine, and whether they are what the manifest says."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import platformdirs

from deployments.errors import UnavailableError
from deployments.models.manifest import Manifest, Model, ModelFile

_HASH_BLOCK = 1 << 20


class FileState(StrEnum):
    """What was found where a model file should be."""

    PRESENT = "present"
    MISSING = "missing"
    ALTERED = "altered"


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

    def locate(self, name: str, role: str, manifest: Manifest | None = None) -> Path:
        """Return the folder of the model called `name`, or `name` itself where it is a path.

        Every file is there with the size that the manifest states; `hearth models verify` hashes them.

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
        for file in model.files:
            state = self.state(model, file)
            if state is not FileState.PRESENT:
                raise UnavailableError(
                    f"{role}: model file {model.name}/{file.path} is {state} in the model store; "
                    f"run `hearth models fetch {model.name}` on this machine"
                )
        return self.folder / model.name


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()
