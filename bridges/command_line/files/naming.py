"""What documents are called: by the folder that was named and the path below it, wherever the command runs."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deployments.values.names import document_name, forms_of


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file with the name of its document.

    Attributes:
        file: Where it is.
        source: What its document is called.
    """

    file: Path
    source: str


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Files that go into a collection, and those that cannot, because their names are taken.

    Attributes:
        files: Each with a name of its own, and each once, however many links lead to it.
        clashes: The others, each with the reason.
    """

    files: tuple[NamedFile, ...]
    clashes: tuple[tuple[Path, str], ...]


def name_files(files: Iterable[Path], paths: Sequence[Path], prefix: str | None = None) -> NamedFiles:
    """Name files that were found by, or below, paths.

    A file below a folder that was named is called by the folder's own name and its path below it: "notes/roof.md". A
    file that was named itself is called by the folder that it is in, likewise. The home folder and the root of all
    folders give no name. Where folders overlap, the outermost one counts.

    Args:
        files: As they were found: each begins with one of `paths`.
        paths: That were named.
        prefix: Stands in place of the folder's own name; it may be empty.
    """
    candidates: dict[Path, list[_Candidate]] = {}
    for file in files:
        candidates.setdefault(file.resolve(), []).extend(_candidates(file, paths))
    taken: dict[str, _Candidate] = {}
    clashes: list[tuple[Path, str]] = []
    for found in candidates.values():
        best = min(found, key=lambda candidate: candidate.rank)
        first = taken.setdefault(document_name(best.name(prefix)), best)
        if first is not best:
            clashes.append((best.file, _clash(best, first, prefix)))
    return NamedFiles(tuple(NamedFile(one.file, name) for name, one in taken.items()), tuple(clashes))


def earlier_names(file: NamedFile, stored: Mapping[str, Collection[str]], named: Collection[str]) -> list[str]:
    """Return the stored documents that look like the same file under another name.

    Hearth has called documents by their whole paths, or by their paths below the folder in which the command ran: the
    end of the whole path. A document may also have been named through another folder.

    Args:
        file: With its name.
        stored: Names of documents that are stored, as they are written there, by how they are written today.
        named: Names of all files of this run, which are other documents.
    """
    path = PurePosixPath(document_name(file.file.resolve().as_posix()))
    parts = path.parts[1:]
    others = {path.as_posix(), *("/".join(parts[at:]) for at in range(len(parts)))} - set(named)
    found = {name for other in others for name in stored.get(other, ())}
    # Written in a mixture of forms, a name of before is not taken for the same by ingestion.
    return sorted(found | {*stored.get(file.source, ())} - {*forms_of(file.source)})


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A way to a file.

    Attributes:
        file: As it was found.
        root: The folder that was named, or that holds the file that was named, resolved.
        below: The path below it.
        is_link: Whether the file itself is elsewhere.
    """

    file: Path
    root: Path
    below: Path
    is_link: bool

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Sorts the way that names the file best before the others."""
        return self.is_link, len(self.root.parts), self.below.as_posix()

    def name(self, prefix: str | None) -> str:
        """Return what the file is called."""
        return (PurePosixPath(_folder_name(self.root) if prefix is None else prefix) / self.below).as_posix()


def _candidates(file: Path, paths: Sequence[Path]) -> Iterator[_Candidate]:
    resolved = file.resolve()
    for path in paths:
        if file == path:
            yield _Candidate(file, resolved.parent, Path(resolved.name), is_link=False)
        elif file.is_relative_to(path) and ".." not in (below := file.relative_to(path)).parts:
            root = path.resolve()
            yield _Candidate(file, root, below, is_link=root / below != resolved)


def _folder_name(folder: Path) -> str:
    return "" if folder == Path(os.path.expanduser("~")).resolve() else folder.name  # noqa: PTH111 - does not raise


def _clash(late: _Candidate, first: _Candidate, prefix: str | None) -> str:
    if late.name(prefix) != first.name(prefix):
        return f"its name is that of {first.file}, written in another Unicode form: rename one of them"
    return f"{first.file} has the same name, {late.name(prefix)!r}: ingest one of them with another --prefix"
