"""Fetches archives that benchmarks need, each checked against its hash.

Archives come by the ordinary clients of their registries: pip, and apt-get for Debian's. Without apt-get, or where an
archive cannot be had, it is left out, and it is said which.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def fetch(table: Path, folder: Path) -> list[str]:
    """Unpack the archives of a table into a folder, each into one of its name; return what could not be had.

    Args:
        table: A TOML file whose `archive` tables say `name`, `version`, `sha256` and `kind`: "debian" for a Debian
            package, "source" or "wheel" for one of Python's.
        folder: Made where it is not there. What it holds already is not fetched again.
    """
    missing: list[str] = []
    for archive in tomllib.loads(table.read_text())["archive"]:
        target = folder / archive["name"]
        if target.exists():
            continue
        try:
            with tempfile.TemporaryDirectory() as downloads:
                _unpack(_download(archive, Path(downloads)), target, archive)
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            missing.append(f"{archive['name']} {archive['version']}: {error}")
    return missing


def _download(archive: Mapping[str, Any], folder: Path) -> Path:
    name, version = archive["name"], archive["version"]
    if archive["kind"] == "debian":
        command = ["apt-get", "download", f"{name}={version}"]
    else:
        form = ["--no-binary" if archive["kind"] == "source" else "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *form, f"{name}=={version}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (downloaded,) = folder.iterdir()
    digest = hashlib.sha256(downloaded.read_bytes()).hexdigest()
    if digest != archive["sha256"]:
        raise ValueError(f"sha256 is {digest}, expected {archive['sha256']}")
    return downloaded


def _unpack(path: Path, target: Path, archive: Mapping[str, Any]) -> None:
    part = target.with_name(f"{target.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    match archive["kind"]:
        case "debian":
            subprocess.run(["dpkg-deb", "-x", str(path), str(part)], check=True)
        case "source":
            with tarfile.open(path) as tar:
                tar.extractall(part, filter="data")
        case _:
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(part)  # noqa: S202 - its hash is known
    part.rename(target)
