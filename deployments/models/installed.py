"""Model files inside packages that happen to be installed here. They are read where they lie; nothing is imported."""

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from deployments.models.hashing import sha256_of
from deployments.models.manifest import Model, ModelFile, PackageMember


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """Where an installed package keeps, or should keep, the file of a model.

    Attributes:
        package: Name and version of the package, such as "silero-vad 6.2.3".
        path: The file.
        is_right: Whether it is there and has the hash that the manifest states. Another version of a package may
            carry another model under the same name.
    """

    package: str
    path: Path
    is_right: bool


def installed_file(model: Model) -> InstalledFile | None:
    """Look for a model inside the package that carries it.

    Only a model that is one whole member of one package can be used where it lies. Return None for any other, and
    where the package is not installed.
    """
    match model.files:
        case (ModelFile(members=(member,)) as file,):
            found = _distribution(member)
            return None if found is None else _look(found, member, file)
        case _:
            return None


def _distribution(member: PackageMember) -> Distribution | None:
    try:
        return distribution(member.package)
    except PackageNotFoundError:
        return None


def _look(found: Distribution, member: PackageMember, file: ModelFile) -> InstalledFile:
    path = Path(str(found.locate_file(member.path)))
    is_right = path.is_file() and path.stat().st_size == file.size and sha256_of(path) == file.sha256
    return InstalledFile(f"{member.package} {found.version}", path, is_right)
