"""`hearth ingest`, `hearth documents`, `hearth delete`: documents into collections, listed, out again."""

import asyncio
import sys
import time
from pathlib import Path

import click
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column

from bridges.command_line.client import NatsServer, connected
from bridges.command_line.commands.options import collection_option, json_option, nats_option, timeout_option
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
from bridges.command_line.files.ingesting import (
    SUFFIXES,
    IngestObserver,
    IngestOptions,
    IngestSummary,
    Unobserved,
    find_files,
    ingest_files,
)
from bridges.generated.hearth.v1 import documents_pb2
from deployments.errors import DeadlineExceededError, HearthError, NotFoundError, UnavailableError


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@collection_option
@nats_option
@json_option
@click.option("--again", is_flag=True, help="Send every file, even one that has not changed.")
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
    default=30.0,
    show_default=True,
    help="How many seconds to wait for a service that is away before giving up.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
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
    *,
    again: bool,
    as_json: bool,
) -> None:
    """Put files and folders into a collection.

    It reads HTML, PDF, Markdown and text files, and everything below a folder. A changed file replaces its old
    version. An unchanged file is skipped. If the command is interrupted, run it again and it continues. A document is
    found by questions only once all of it is stored. If a file cannot be read, it is reported and skipped, and the exit
    status is 1.

    The name of a document is the path of its file, relative to the folder in which you run the command.
    """
    files = find_files(paths)
    if not files:
        raise click.ClickException(f"nothing to ingest: no file ends in {', '.join(SUFFIXES)}")
    options = IngestOptions(collection, timeout_s, max_bytes=max_size * 1_000_000, again=again, patience_s=patience_s)
    summary = IngestSummary()
    started = time.monotonic()
    interrupted = False
    try:
        asyncio.run(_ingest(files, options, server, summary, quiet=as_json))
    except KeyboardInterrupt:
        interrupted = True
        summary.stopped = "interrupted"
    if as_json:
        write_json(_summary_as_json(summary, len(files)))
    else:
        _show_summary(summary, len(files), time.monotonic() - started)
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

    Use the names that `hearth documents` lists. If a document does not exist, it is reported and the exit status is 1.
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
    files: list[Path], options: IngestOptions, server: NatsServer, summary: IngestSummary, *, quiet: bool
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
        for source in dict.fromkeys(sources):
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
    if summary.stopped:
        left = files - summary.documents - summary.unchanged - len(summary.failed)
        reason = (
            f"  Stopped with {_counted(left, 'file')} to go: {summary.stopped}. The same command goes on from here."
        )
        print_line(styled(reason, style="yellow"), to=errors)


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"
