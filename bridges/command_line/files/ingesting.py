"""Ingesting files at the terminal: finding them, sending what is new in parts, a truthful report."""

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Protocol, Self

from bridges.command_line.client import HearthClient
from bridges.command_line.files.extraction import EXTRACTION, MAX_FILE_BYTES, READERS, Extractor
from bridges.command_line.files.naming import NamedFile, earlier_names
from bridges.command_line.files.readers.extracted import Extracted
from bridges.generated.hearth.v1 import documents_pb2
from deployments.backoff import Backoff, retry
from deployments.errors import HearthError, OverloadedError, UnavailableError
from deployments.values.documents import CHUNKING, TextFormat
from deployments.values.names import document_name

_FORMATS = {
    TextFormat.PLAIN: documents_pb2.TEXT_FORMAT_PLAIN,
    TextFormat.MARKDOWN: documents_pb2.TEXT_FORMAT_MARKDOWN,
}
SUFFIXES = tuple(READERS)
"""Of the files that can be ingested."""

_PART_BYTES = 128 << 10
_PARALLEL = 4
_TABLE_RULER = re.compile(r"\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?")
_FENCE = ("```", "~~~")
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 5.0
_AWAY = (UnavailableError, OverloadedError)
"""What passes by itself: it is waited for."""
_DIGEST_DIGITS = 32
_PLACE_DIGITS = 16


@dataclass(slots=True)
class IngestSummary:
    """What became of a number of files.

    Attributes:
        documents: Files that are in now and were not before, or not as they are now.
        unchanged: Files that were in already, as they are.
        chunks: Chunks written.
        removed: Chunks of earlier versions that are gone.
        failed: Files that are not in, each with the reason.
        from_elsewhere: Documents that are in now and have replaced one of the same name from another place.
        earlier: Stored documents that look like a file that is in now, under an earlier name, each with the file's name
            of today.
        dropped: Those of them that were deleted.
        guessed: Files that are in now, each with what its reader was not sure about.
        stopped: Why the files behind these were not looked at; empty where all were.
    """

    documents: int = 0
    unchanged: int = 0
    chunks: int = 0
    removed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    from_elsewhere: list[str] = field(default_factory=list[str])
    earlier: dict[str, str] = field(default_factory=dict[str, str])
    dropped: list[str] = field(default_factory=list[str])
    guessed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How files are ingested.

    Attributes:
        collection: Where they go; empty for the configured default.
        timeout_s: For each part of a file.
        max_bytes: Larger files are refused.
        again: Send those, too, that are in already as they are.
        patience_s: How long one waits for a service that is away before all is given up.
        drop_earlier: Delete the documents that look like one of the files under an earlier name.
    """

    collection: str = ""
    timeout_s: float = 300.0
    max_bytes: int = MAX_FILE_BYTES
    again: bool = False
    patience_s: float = 30.0
    drop_earlier: bool = False


class IngestObserver(Protocol):
    """Is told how far it is."""

    def dealt_with(self, file: Path) -> None:
        """Take note of a file that is in, unchanged or failed."""
        ...

    def written(self, chunks: int) -> None:
        """Take note of chunks that were written."""
        ...

    def waits(self, reason: str) -> None:
        """Take note of a service that is away and waited for."""
        ...


class Unobserved:
    """An observer that does nothing."""

    def dealt_with(self, file: Path) -> None:
        """Do nothing."""

    def written(self, chunks: int) -> None:
        """Do nothing."""

    def waits(self, reason: str) -> None:
        """Do nothing."""


async def ingest_files(
    client: HearthClient,
    files: Sequence[NamedFile],
    options: IngestOptions,
    summary: IngestSummary,
    observer: IngestObserver,
) -> None:
    """Ingest files, a few at a time; a bad one is reported and the rest goes in.

    What is in the collection already, with the same content, is not sent again: a run that was broken off is finished
    by the same call. A document is found when all of it is in, and not before.

    Args:
        client: Sends them.
        files: Of the kinds that can be read, with their names.
        options: How.
        summary: Filled as it goes, so that it is true wherever the run ends.
        observer: Is told how far it is.
    """
    try:
        documents = await client.documents(options.collection, options.timeout_s)
        run = _Run(client, options, summary, observer, _Stored.of(documents or ()), {one.source for one in files})
        with Extractor(options.max_bytes) as extractor:
            await run.work_through(iter(files), extractor)
        if options.drop_earlier:
            await run.drop_earlier()
    except _AWAY as error:
        summary.stopped = error.message


@dataclass(frozen=True, slots=True)
class _Stored:
    """The documents that are in the collection already.

    Attributes:
        digests: What tells their contents apart, by name.
        written: How each name is written there: names were kept as they came, once.
    """

    digests: dict[str, str]
    written: dict[str, set[str]]

    @classmethod
    def of(cls, documents: Iterable[documents_pb2.StoredDocument]) -> Self:
        stored = cls({}, {})
        for document in documents:
            name = document_name(document.source)
            stored.digests[name] = document.digest
            stored.written.setdefault(name, set()).add(document.source)
        return stored


@dataclass(frozen=True, slots=True)
class _Run:
    client: HearthClient
    options: IngestOptions
    summary: IngestSummary
    observer: IngestObserver
    stored: _Stored
    named: set[str]

    async def work_through(self, files: Iterator[NamedFile], extractor: Extractor) -> None:
        """Deal with each file.

        Raises:
            UnavailableError: A service was away for longer than one waits.
        """

        async def work() -> None:
            for named in files:
                await self._deal_with(named, extractor)
                self.observer.dealt_with(named.file)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_PARALLEL):
                    group.create_task(work())
        except* _AWAY as errors:
            first = errors.exceptions[0]
            raise first from None

    async def drop_earlier(self) -> None:
        """Delete what looks like one of the files under an earlier name.

        Raises:
            UnavailableError: A service is away.
        """
        for source in self.summary.earlier:
            request = documents_pb2.DeleteRequest(collection=self.options.collection, source=source)
            try:
                await self.client.delete(request, self.options.timeout_s)
            except _AWAY:
                raise
            except HearthError as error:
                self.summary.failed.append((source, str(error)))
            else:
                self.summary.dropped.append(source)

    async def _deal_with(self, named: NamedFile, extractor: Extractor) -> None:
        try:
            digest = await asyncio.to_thread(_digest, named.file, self.options.max_bytes)
            before = self.stored.digests.get(named.source, "")
            if digest and _content(before) == _content(digest) and not self.options.again:
                self.summary.unchanged += 1
            else:
                extracted = await extractor.extract(named.file)
                await self._send(extracted, named.source, digest)
                self.summary.documents += 1
                self.summary.guessed += [(named.source, guess) for guess in extracted.guesses]
                if _origin(before) not in {"", _origin(digest)}:
                    self.summary.from_elsewhere.append(named.source)
        except _AWAY:
            raise
        except HearthError as error:
            self.summary.failed.append((named.source, str(error)))
        except OSError as error:
            # Its own text names the file as the machine writes it, which cannot always be shown.
            self.summary.failed.append((named.source, f"it cannot be read: {error.strerror}"))
        else:
            earlier = earlier_names(named, self.stored.written, self.named)
            self.summary.earlier.update(dict.fromkeys(earlier, named.source))

    async def _send(self, extracted: Extracted, source: str, digest: str) -> None:
        parts = list(text_parts(extracted.text, min(_PART_BYTES, self.client.max_payload // 2)))
        position = documents_pb2.IngestPosition()
        for index, part in enumerate(parts):
            request = documents_pb2.IngestRequest(
                collection=self.options.collection,
                source=source,
                text=part,
                title=extracted.title,
                format=_FORMATS[extracted.format],
                position=position,
                more_follows=index + 1 < len(parts),
                digest=digest,
            )
            response = await self._with_retries(
                lambda request=request: self.client.ingest(request, self.options.timeout_s)
            )
            position = response.next
            self.summary.chunks += response.chunks
            self.summary.removed += response.removed
            self.observer.written(response.chunks)

    async def _with_retries(
        self, work: Callable[[], Awaitable[documents_pb2.IngestResponse]]
    ) -> documents_pb2.IngestResponse:
        """Send a part, and again for a while where a service is away: parts may come twice."""
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S, total_s=self.options.patience_s)
        return await retry(work, backoff, on=_AWAY, failed=lambda error: self.observer.waits(error.message))


def _digest(file: Path, max_bytes: int) -> str:
    """Return what tells the content of a file, and what is made of it, from another, and behind a full stop its place.

    Empty for a file that is refused.
    """
    if file.stat().st_size > max_bytes:
        return ""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(f"{EXTRACTION} {CHUNKING}".encode())
    place = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()
    return f"{digest.hexdigest()[:_DIGEST_DIGITS]}.{place[:_PLACE_DIGITS]}"


def _content(digest: str) -> str:
    return digest.partition(".")[0]


def _origin(digest: str) -> str:
    """Return what tells the place of a file from another; empty where it is not known, as in collections of before."""
    return digest.partition(".")[2]


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


def _lines(text: str) -> list[str]:
    """Return lines with their ends, which are line feeds alone: cells and sentences may hold other ends of Unicode."""
    return list(StringIO(text, newline="\n"))


def _blocks(text: str, limit: int) -> Iterator[str]:
    block: list[str] = []
    fenced = False
    for line in _lines(text):
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
    lines = _lines(block)
    at = _table_at(lines, limit)
    # Four bytes hold any character.
    step = max(1, limit // 4)
    for line in lines[:at]:
        yield from (line[start : start + step] for start in range(0, len(line), step))
    if at < len(lines):
        yield from _tables_within("".join(lines[at : at + 2]), lines[at + 2 :], limit)


def _table_at(lines: Sequence[str], limit: int) -> int:
    """Return which line of a block begins a table; their number where none does."""
    for at, (names, ruler) in enumerate(pairwise(lines)):
        if names.lstrip().startswith(_FENCE):
            break
        if "|" in names and _TABLE_RULER.fullmatch(ruler.strip()) and len((names + ruler).encode()) < limit // 4:
            return at
    return len(lines)


def _tables_within(head: str, rows: Iterable[str], limit: int) -> Iterator[str]:
    """Yield a long table of Markdown as several, each under the names of the columns."""
    table, size = [head], len(head.encode())
    for row in rows:
        length = len(row.encode())
        if len(table) > 1 and size + length > limit // 2:
            yield "".join([*table, "\n"])
            table, size = [head], len(head.encode())
        table.append(row)
        size += length
    yield "".join([*table, "\n"])
