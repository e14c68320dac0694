"""Fetches real texts of several kinds, and lays them out as a folder of documents.

uv run python -m tests.benchmarks.real_texts [FOLDER]
"""

import argparse
import gzip
import shutil
import sys
import tomllib
from pathlib import Path

import platformdirs

from tests.benchmarks.archives import fetch

TABLE = Path(__file__).with_name("real_texts.toml")


def default_folder() -> Path:
    return platformdirs.user_cache_path("hearth") / "real_texts"


def documents(folder: Path) -> list[Path]:
    """Fetch the texts, as far as they can be had; return them as files, each in a folder of its kind."""
    for fault in fetch(TABLE, folder / "archives"):
        print(f"left out: {fault}", file=sys.stderr)
    made: list[Path] = []
    for text in tomllib.loads(TABLE.read_text())["text"]:
        target = folder / "documents" / text["kind"]
        target.mkdir(parents=True, exist_ok=True)
        made.extend(_copy(file, target) for file in sorted((folder / "archives" / text["archive"]).glob(text["files"])))
    return made


def _copy(file: Path, folder: Path) -> Path:
    if file.suffix != ".gz":
        return Path(shutil.copy(file, folder))
    name = file.with_suffix("").name
    target = folder / (name if "." in name else f"{name}.txt")
    with gzip.open(file) as content:
        target.write_bytes(content.read())
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=default_folder(), help="default: %(default)s")
    for file in documents(parser.parse_args().folder):
        print(f"{file.parent.name:<10} {file.stat().st_size:>10,} bytes  {file}")


if __name__ == "__main__":
    main()
