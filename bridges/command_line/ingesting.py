"""Ingesting files at the terminal: finding them, sending them in parts, a truthful report."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bridges.command_line.client import HearthClient
from bridges.command_line.extraction import MAX_FILE_BYTES, READERS, Extracted, Extractor
from bridges.generated.hearth.v1 import documents_pb2
from deployments.errors import HearthError, InvalidRequestError
from deployments.values import TextFormat

_FORMATS = {
    TextFormat.PLAIN: documents_pb2.TEXT_FORMAT_PLAIN,
    TextFormat.MARKDOWN: documents_pb2.TEXT_FORMAT_MARKDOWN,
}
SUFFIXES = tuple(READERS)
"""Of the files that can be ingested."""

_PART_BYTES = 128 << 10
_PARALLEL = 4
_FENCE = ("```", "~~~")


@dataclass(slots=True)
class IngestSummary:
    """What became of a number of files.

    Attributes:
        documents: Files that are in.
        chunks: Chunks written for them.
        removed: Chunks of earlier versions that are gone.
        failed: Files that are not in, each with the reason.
    """

    documents: int = 0
    chunks: int = 0
    removed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that can be ingested: those named, and those below the folders named.

    What a folder only links to is left out, unless it lies in the folder too.

    Raises:
        InvalidRequestError: A path does not exist, or a file named is of another kind.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            below = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in READERS and file.is_file())
            inside = (file for file in below if file.resolve().is_relative_to(path.resolve()))
            found.update(dict.fromkeys(file for file in inside if not _is_hidden(file.relative_to(path))))
        elif not path.exists():
            raise InvalidRequestError(f"{path} does not exist")
        elif path.suffix.lower() not in READERS:
            raise InvalidRequestError(f"{path} cannot be ingested: expected one of {', '.join(SUFFIXES)}")
        else:
            found[path] = None
    return list(found)


async def ingest_files(
    client: HearthClient,
    files: Iterable[Path],
    collection: str,
    timeout_s: float,
    done: Callable[[Path], None],
    base: Path | None = None,
    max_bytes: int = MAX_FILE_BYTES,
) -> IngestSummary:
    """Ingest files, a few at a time; a bad one is reported and the rest goes in.

    Args:
        client: Sends them.
        files: Of the kinds that can be read.
        collection: Where they go; empty for the configured default.
        timeout_s: For each part.
        done: Called with each file when it is dealt with.
        base: Folder from which the names of documents are counted; the working directory by default.
        max_bytes: Larger files are refused.
    """
    summary = IngestSummary()
    waiting = iter(files)

    async def work(extractor: Extractor) -> None:
        for file in waiting:
            source = source_name(file, base or Path.cwd())
            try:
                extracted = await extractor.extract(file)
                await _ingest_text(client, extracted, source, collection, timeout_s, summary)
                summary.documents += 1
            except (HearthError, OSError) as error:
                summary.failed.append((source, str(error)))
            done(file)

    with Extractor(max_bytes) as extractor:
        async with asyncio.TaskGroup() as group:
            for _ in range(_PARALLEL):
                group.create_task(work(extractor))
    return summary


async def _ingest_text(
    client: HearthClient, extracted: Extracted, source: str, collection: str, timeout_s: float, summary: IngestSummary
) -> None:
    parts = list(text_parts(extracted.text, min(_PART_BYTES, client.max_payload // 2)))
    position = documents_pb2.IngestPosition()
    for index, part in enumerate(parts):
        request = documents_pb2.IngestRequest(
            collection=collection,
            source=source,
            text=part,
            title=extracted.title,
            format=_FORMATS[extracted.format],
            position=position,
            more_follows=index + 1 < len(parts),
        )
        response = await client.ingest(request, timeout_s)
        position = response.next
        summary.chunks += response.chunks
        summary.removed += response.removed


def source_name(file: Path, base: Path) -> str:
    """Return what names a file in the collection: its path below `base`, or its whole path where it is elsewhere."""
    absolute = file.resolve()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else absolute.as_posix()


def text_parts(text: str, limit: int) -> Iterator[str]:
    """Yield a text in parts of at most `limit` bytes, cut between paragraphs and outside fenced code.

    A paragraph that is longer by itself is cut between its lines, a line that is longer between its characters.
    """
    part: list[str] = []
    size = 0
    for block in _blocks(text, limit):
        length = len(block.encode())
        if part and size + length > limit:
            yield "".join(part)
            part, size = [], 0
        part.append(block)
        size += length
    if part or not text:
        yield "".join(part)


def _blocks(text: str, limit: int) -> Iterator[str]:
    block: list[str] = []
    fenced = False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith(_FENCE):
            fenced = not fenced
        block.append(line)
        if not line.strip() and not fenced:
            yield from _lines_within("".join(block), limit)
            block = []
    if block:
        yield from _lines_within("".join(block), limit)


def _lines_within(block: str, limit: int) -> Iterator[str]:
    if len(block.encode()) <= limit:
        yield block
        return
    # Four bytes hold any character.
    step = max(1, limit // 4)
    for line in block.splitlines(keepends=True):
        yield from (line[start : start + step] for start in range(0, len(line), step))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
