"""`hearth ingest`, `hearth documents`, `hearth delete`: documents into collections, listed, out again."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column

from bridges.command_line.client import NatsServer, connected
from bridges.command_line.commands.options import collection_option, finite, json_option, nats_option, timeout_option
from bridges.command_line.console import (
    INTERRUPTED,
    console,
    count_progress,
    errors,
    plain_table,
    print_line,
    styled,
    write_json,
)
from bridges.command_line.files.finding import FoundFiles, find_files
from bridges.command_line.files.ingesting import (
    SUFFIXES,
    IngestObserver,
    IngestOptions,
    IngestSummary,
    Unobserved,
    ingest_files,
)
from bridges.command_line.files.naming import NamedFile, name_files
from bridges.generated.hearth.v1 import documents_pb2
from deployments.errors import DeadlineExceededError, HearthError, NotFoundError, UnavailableError
from deployments.values.names import document_name

_LISTED = 5
"""Names that are shown of many; `--json` has all."""


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@collection_option
@nats_option
@json_option
@click.option("--again", is_flag=True, help="Send every file, even one that has not changed.")
@click.option(
    "--prefix",
    metavar="NAME",
    help="Begin the names of documents with this instead of the folder's own name; '' for nothing.",
)
@click.option(
    "--drop-earlier",
    is_flag=True,
    help="Delete the documents that look like these files under earlier names. Without it, they are only named.",
)
@click.option(
    "--max-size",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Refuse files larger than this many MB.",
)
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=0),
    callback=finite,
    default=30.0,
    show_default=True,
    help="How many seconds to wait for a service that is away before giving up.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    callback=finite,
    default=300.0,
    show_default=True,
    help="How many seconds each part of a file may take.",
)
def ingest_command(
    paths: tuple[Path, ...],
    collection: str,
    server: NatsServer,
    timeout_s: float,
    max_size: int,
    patience_s: float,
    prefix: str | None,
    *,
    again: bool,
    drop_earlier: bool,
    as_json: bool,
) -> None:
    """Put files and folders into a collection.

    It reads text, Markdown, reStructuredText, HTML, PDF, EPUB, e-mail, CSV, JSON, and the files of Microsoft Office and
    LibreOffice. Of a folder, it reads everything below it, except hidden files. It tells you which kinds of files it
    does not read, and what it had to guess, such as the encoding of a text. A changed file replaces its old version. An
    unchanged file is skipped. If the command is interrupted, run it again and it continues. A document is found by
    questions only once all of it is stored. If a file cannot be read, it is reported and skipped, and the exit status
    is 1.

    The name of a document is the name of the folder, and the path of the file below it: `hearth ingest ~/notes` makes
    notes/roof.md. It does not matter in which folder you run the command. A file that you name yourself is named with
    the folder that it is in. Only your home folder gives no name. If a name is taken by another file, that is reported.
    """
    found = find_files(paths, SUFFIXES)
    named = name_files(found.files, paths, prefix)
    bad = [*found.failed, *named.clashes]
    if not named.files:
        expected = f"no file ends in {', '.join(SUFFIXES)}"
        reasons = [f"{document_name(str(file))}: {reason}" for file, reason in bad] or [expected]
        raise click.ClickException("; ".join(["nothing to ingest", *reasons, *_left_out(found)]))
    options = IngestOptions(
        collection,
        timeout_s,
        max_bytes=max_size * 1_000_000,
        again=again,
        patience_s=patience_s,
        drop_earlier=drop_earlier,
    )
    summary = IngestSummary(failed=[(document_name(str(file)), reason) for file, reason in bad])
    count = len(named.files) + len(bad)
    started = time.monotonic()
    interrupted = False
    try:
        asyncio.run(_ingest(named.files, options, server, summary, quiet=as_json))
    except KeyboardInterrupt:
        interrupted = True
        summary.stopped = "interrupted"
    if as_json:
        left_out = {"not_read": dict(found.not_read), "outside": [document_name(str(link)) for link in found.outside]}
        write_json({**_summary_as_json(summary, count), **left_out})
    else:
        _show_summary(summary, count, time.monotonic() - started)
        for note in _left_out(found):
            print_line(styled(f"  {note}", style="yellow"), to=errors)
    if interrupted:
        sys.exit(INTERRUPTED)
    if summary.failed or summary.stopped:
        sys.exit(1)


@click.command("documents")
@collection_option
@nats_option
@timeout_option
@json_option
def documents_command(collection: str, server: NatsServer, timeout_s: float, *, as_json: bool) -> None:
    """List the documents of a collection."""
    documents = asyncio.run(_documents(collection, server, timeout_s))
    if as_json:
        rows = [{"source": one.source, "chunks": one.chunks, "digest": one.digest} for one in documents]
        write_json(rows, 2)
        return
    table = plain_table("Document", Column("Chunks", justify="right"))
    for document in documents:
        table.add_row(document.source, f"{document.chunks:,}")
    if documents:
        console.print(table)
    chunks = sum(document.chunks for document in documents)
    console.print(styled(f"{_counted(len(documents), 'document')}, {_counted(chunks, 'chunk')}", style="dim"))


@click.command("delete")
@click.argument("sources", nargs=-1, required=True)
@collection_option
@nats_option
@timeout_option
@json_option
def delete_command(
    sources: tuple[str, ...], collection: str, server: NatsServer, timeout_s: float, *, as_json: bool
) -> None:
    """Delete documents from a collection.

    Use the names that `hearth documents` lists, in any Unicode form. If a document does not exist, it is reported and
    the exit status is 1.
    """
    removed, failed = asyncio.run(_delete(sources, collection, server, timeout_s))
    if as_json:
        faults = [{"source": source, "error": reason} for source, reason in failed.items()]
        write_json({"removed": removed, "failed": faults})
    else:
        for source, chunks in removed.items():
            print_line(styled(f"  {source}: {_counted(chunks, 'chunk')} removed"))
        for reason in failed.values():
            print_line(styled(f"  ✗ {reason}", style="red"), to=errors)
    if failed:
        sys.exit(1)


class _Bar:
    """Shows on a progress bar how far an ingestion is."""

    def __init__(self, progress: Progress, files: int) -> None:
        self._progress = progress
        self._task = progress.add_task("Ingesting", total=files)
        self._chunks = 0
        self._started = time.monotonic()

    def dealt_with(self, file: Path) -> None:
        del file
        self._progress.advance(self._task)

    def written(self, chunks: int) -> None:
        self._chunks += chunks
        rate = self._chunks / max(0.1, time.monotonic() - self._started)
        self._progress.update(self._task, description=f"{self._chunks:,} chunks, {rate:,.0f}/s")

    def waits(self, reason: str) -> None:
        self._progress.update(self._task, description=f"Waiting: {escape(reason)}")


async def _ingest(
    files: Sequence[NamedFile], options: IngestOptions, server: NatsServer, summary: IngestSummary, *, quiet: bool
) -> None:
    async with connected(server) as client:
        if quiet:
            await ingest_files(client, files, options, summary, Unobserved())
            return
        with count_progress() as progress:
            observer: IngestObserver = _Bar(progress, len(files))
            await ingest_files(client, files, options, summary, observer)


async def _documents(collection: str, server: NatsServer, timeout_s: float) -> list[documents_pb2.StoredDocument]:
    async with connected(server) as client:
        documents = await client.documents(collection, timeout_s)
    if documents is None:
        name = f"the collection {collection!r}" if collection else "the default collection"
        raise NotFoundError(f"{name} does not exist: nothing was ingested into it yet")
    return documents


async def _delete(
    sources: tuple[str, ...], collection: str, server: NatsServer, timeout_s: float
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the chunks that each document had, and why the others are still there."""
    removed: dict[str, int] = {}
    failed: dict[str, str] = {}
    async with connected(server) as client:
        for source in {document_name(source): source for source in sources}.values():
            request = documents_pb2.DeleteRequest(collection=collection, source=source)
            try:
                removed[source] = (await client.delete(request, timeout_s)).removed
            except (UnavailableError, DeadlineExceededError):
                raise
            except HearthError as error:
                failed[source] = error.message
    return removed, failed


def _summary_as_json(summary: IngestSummary, files: int) -> dict[str, object]:
    return {
        "files": files,
        "documents": summary.documents,
        "unchanged": summary.unchanged,
        "chunks": summary.chunks,
        "removed": summary.removed,
        "failed": [{"source": source, "error": reason} for source, reason in summary.failed],
        "from_elsewhere": summary.from_elsewhere,
        "earlier": [{"source": source, "earlier": earlier} for earlier, source in summary.earlier.items()],
        "dropped": summary.dropped,
        "guessed": [{"source": source, "guess": guess} for source, guess in summary.guessed],
        "stopped": summary.stopped,
    }


def _show_summary(summary: IngestSummary, files: int, seconds: float) -> None:
    parts = [_counted(summary.documents, "document"), _counted(summary.chunks, "chunk")]
    if summary.removed:
        parts.append(f"{_counted(summary.removed, 'old chunk')} removed")
    if summary.unchanged:
        parts.append(f"{summary.unchanged:,} unchanged")
    if summary.failed:
        parts.append(f"{len(summary.failed):,} failed")
    print_line(f"  {', '.join(parts)} in {seconds:.1f} s")
    for source, reason in summary.failed:
        print_line(styled(f"  ✗ {source}: {reason}", style="red"), to=errors)
    for guess in dict.fromkeys(guess for _, guess in summary.guessed):
        names = [source for source, told in summary.guessed if told == guess]
        print_line(styled(f"  {_listed(names)}: {guess}", style="yellow"), to=errors)
    _show_names(summary)
    if summary.stopped:
        left = files - summary.documents - summary.unchanged - len(summary.failed)
        reason = (
            f"  Stopped with {_counted(left, 'file')} to go: {summary.stopped}. The same command goes on from here."
        )
        print_line(styled(reason, style="yellow"), to=errors)


def _left_out(found: FoundFiles) -> Iterator[str]:
    """Yield what is told of the files that were not looked at."""
    if found.not_read:
        kinds = (f"{suffix or 'no ending'} ({count:,})" for suffix, count in found.not_read.most_common())
        yield f"{_counted(found.not_read.total(), 'file')} of kinds that are not read: {_listed(list(kinds), 10)}"
    if found.outside:
        names = [document_name(str(link)) for link in found.outside]
        yield f"{_counted(len(names), 'link')} that lead out of the folder, not followed: {_listed(names)}"


def _show_names(summary: IngestSummary) -> None:
    """Say which documents were replaced that came from elsewhere, and which look like a file under an earlier name."""
    if summary.from_elsewhere:
        note = (
            f"  {_listed(summary.from_elsewhere)}: replaced documents of the same names that came from other folders. "
            "To keep both, ingest one folder with another --prefix."
        )
        print_line(styled(note, style="yellow"), to=errors)
    if summary.dropped:
        print_line(f"  {_listed(summary.dropped)}: earlier names, deleted")
    if left := [earlier for earlier in summary.earlier if earlier not in summary.dropped]:
        note = (
            f"  {_listed(left)}: stored under names that look like earlier names of these files, and still there. "
            "If they are the same documents, add --drop-earlier, or use `hearth delete`."
        )
        print_line(styled(note, style="yellow"), to=errors)


def _listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Return the first of many names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"
