"""Finding the files that can be ingested, and saying what is left out."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HIDDEN = (".", "~$")
"""How the names begin of what is not meant to be seen; `~$` is the lock of an office program."""

_NO_FILE = "it is no file"


@dataclass(slots=True)
class FoundFiles:
    """The files below some paths.

    Attributes:
        files: Those that can be ingested, each once.
        not_read: How many others there are, by the end of their names in lower case; empty where one has none.
        outside: Links that lead out of the folder that they were found in.
        failed: What was named or looks like a document and cannot be read, each with the reason.
    """

    files: list[Path] = field(default_factory=list[Path])
    not_read: Counter[str] = field(default_factory=Counter[str])
    outside: list[Path] = field(default_factory=list[Path])
    failed: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])


def find_files(paths: Iterable[Path], suffixes: Collection[str]) -> FoundFiles:
    """Return the files that can be ingested: those named, and those below the folders named.

    What is hidden is left out, and so is what a folder only links to, unless it lies in the folder too.

    Args:
        paths: Files and folders.
        suffixes: How the names of files end that can be read, in lower case.
    """
    found = FoundFiles()
    for path in paths:
        if path.is_dir():
            for file in _below(path, found):
                _take(file, path, suffixes, found)
        elif not path.exists():
            reason = "it is a link that leads nowhere" if path.is_symlink() else "it does not exist"
            found.failed.append((path, reason))
        elif not path.is_file():
            # Whoever reads a pipe waits for one who writes.
            found.failed.append((path, _NO_FILE))
        elif path.suffix.lower() not in suffixes:
            found.failed.append((path, f"it cannot be ingested: expected one of {', '.join(suffixes)}"))
        else:
            found.files.append(path)
    found.files = list(dict.fromkeys(found.files))
    return found


def _below(folder: Path, found: FoundFiles) -> Iterator[Path]:
    def note(error: OSError) -> None:
        found.failed.append((Path(error.filename), f"it cannot be read: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]) if not name.startswith(_HIDDEN))


def _take(file: Path, folder: Path, suffixes: Collection[str], found: FoundFiles) -> None:
    """Sort a file of a folder in."""
    if file.is_symlink() and file.exists() and not file.resolve().is_relative_to(folder.resolve()):
        found.outside.append(file)
    elif file.is_dir():
        # A link to a folder that is read where it lies.
        return
    elif file.suffix.lower() not in suffixes:
        found.not_read[file.suffix.lower()] += 1
    elif not file.exists():
        found.failed.append((file, "it is a link that leads nowhere"))
    elif not file.is_file():
        found.failed.append((file, _NO_FILE))
    else:
        found.files.append(file)
