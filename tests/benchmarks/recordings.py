"""Fetches real recordings of speech, each archive checked against its hash, and gives them with what is said in them.

    uv run python -m tests.benchmarks.recordings [FOLDER]

Archives come by the ordinary clients of their registries: pip, and apt-get for Debian's. Without apt-get, or where an
archive cannot be had, its recordings are left out, and it is said which.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from deployments.engines.audio_file import decode
from deployments.values.sound import Samples
from tests.benchmarks.archives import fetch

TABLE = Path(__file__).with_name("recordings.toml")
_LONGEST_S = 600.0


@dataclass(frozen=True)
class SpokenText:
    """A recording and what is said in it.

    Attributes:
        set: The kind of recording.
        name: Of the file.
        samples: At 16 kHz.
        text: What is said.
    """

    set: str
    name: str
    samples: Samples
    text: str


def default_folder() -> Path:
    return platformdirs.user_cache_path("hearth") / "recordings"


def recordings(folder: Path) -> Iterator[SpokenText]:
    """Yield the recordings that are there."""
    for entry in tomllib.loads(TABLE.read_text())["set"]:
        place = folder / entry["archive"] / entry["folder"]
        if not place.exists():
            continue
        texts = _texts(place, entry)
        for file in entry["files"]:
            samples = decode((place / file).read_bytes(), _LONGEST_S)
            yield SpokenText(entry["name"], file, samples, texts[Path(file).stem])


def _texts(place: Path, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said in each file of a set, by its name without suffix."""
    if "text" in entry:
        return {Path(file).stem: entry["text"] for file in entry["files"]}
    written = (place / entry["transcripts"]).read_text()
    if entry["transcripts"].endswith(".stm"):
        lines = [line.split(maxsplit=5)[5] for line in written.splitlines() if line.strip()]
        return {Path(entry["files"][0]).stem: " ".join(lines)}
    return {name: text.strip() for text, name in re.findall(r"<s>(.*?)</s>\s*\((.*?)\)", written)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=default_folder(), help="default: %(default)s")
    folder: Path = parser.parse_args().folder
    for fault in fetch(TABLE, folder):
        print(f"left out: {fault}", file=sys.stderr)
    for spoken in recordings(folder):
        print(f"{spoken.set:<10} {spoken.name:<50} {len(spoken.samples) / 16_000:5.1f} s  {spoken.text.strip()[:60]}")


if __name__ == "__main__":
    main()
