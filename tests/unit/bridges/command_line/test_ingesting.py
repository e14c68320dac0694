"""Ingesting files: what is sent, what is not sent again, what a service that goes away does to a run."""

from pathlib import Path
from typing import cast

import pytest

from bridges.command_line.client import HearthClient
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, find_files, ingest_files
from bridges.generated.hearth.v1 import documents_pb2
from deployments.errors import UnavailableError, UpstreamFailedError


class Graph:
    """Keeps what it is sent; away for as many requests as it is told to be.

    Attributes:
        documents_there: Digests of the documents that are whole, by name.
        sent: Each request that was taken.
        away: Requests, from the next, that find it away.
    """

    max_payload = 20_000

    def __init__(self) -> None:
        self.documents_there: dict[str, str] = {}
        self.sent: list[documents_pb2.IngestRequest] = []
        self.away = 0
        self.refused = ""

    async def documents(self, collection: str, timeout_s: float) -> list[documents_pb2.StoredDocument]:
        del collection, timeout_s
        return [
            documents_pb2.StoredDocument(source=source, chunks=1, digest=digest)
            for source, digest in self.documents_there.items()
        ]

    async def ingest(self, request: documents_pb2.IngestRequest, timeout_s: float) -> documents_pb2.IngestResponse:
        del timeout_s
        if self.away:
            self.away -= 1
            raise UnavailableError("Milvus cannot be reached")
        if request.source == self.refused:
            raise UpstreamFailedError("the document holds no text")
        self.sent.append(request)
        if not request.more_follows:
            self.documents_there[request.source] = request.digest
        at = request.position.chunk_index + 1
        return documents_pb2.IngestResponse(
            chunks=1, next=documents_pb2.IngestPosition(chunk_index=at, version=request.position.version or "v1")
        )

    @property
    def sources(self) -> set[str]:
        return {request.source for request in self.sent}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcdef":
        (tmp_path / f"{name}.txt").write_text(f"The text of {name}.")
    return tmp_path


async def ingest(graph: Graph, folder: Path, *, patience_s: float = 0.0, again: bool = False) -> IngestSummary:
    summary = IngestSummary()
    options = IngestOptions(base=folder, patience_s=patience_s, again=again)
    await ingest_files(cast("HearthClient", graph), find_files([folder]), options, summary, Unobserved())
    return summary


async def test_what_is_in_already_as_it_is_is_not_sent_again(folder: Path) -> None:
    graph = Graph()
    assert (await ingest(graph, folder)).documents == 6
    graph.sent.clear()
    (folder / "b.txt").write_text("Another text of b.")
    summary = await ingest(graph, folder)
    assert (summary.documents, summary.unchanged) == (1, 5)
    assert graph.sources == {"b.txt"}


async def test_it_is_sent_again_where_that_is_asked_for(folder: Path) -> None:
    graph = Graph()
    await ingest(graph, folder)
    summary = await ingest(graph, folder, again=True)
    assert (summary.documents, summary.unchanged) == (6, 0)


async def test_the_parts_of_a_document_carry_its_version_and_its_digest(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\n\n".join(f"Paragraph {number}. " + "word " * 100 for number in range(100)))
    graph = Graph()
    await ingest(graph, tmp_path)
    assert len(graph.sent) > 3
    assert [request.position.version for request in graph.sent] == ["", *["v1"] * (len(graph.sent) - 1)]
    assert [request.more_follows for request in graph.sent] == [*[True] * (len(graph.sent) - 1), False]
    assert len({request.digest for request in graph.sent}) == 1
    assert graph.sent[0].digest


async def test_a_service_that_is_away_for_a_moment_is_waited_for(folder: Path) -> None:
    graph = Graph()
    graph.away = 2
    summary = await ingest(graph, folder, patience_s=5.0)
    assert (summary.documents, summary.failed, summary.stopped) == (6, [], "")


async def test_a_service_that_stays_away_ends_the_run_with_the_reason_and_not_every_file(folder: Path) -> None:
    graph = Graph()
    graph.away = 1000
    summary = await ingest(graph, folder)
    assert summary.stopped == "Milvus cannot be reached"
    assert (summary.documents, summary.failed) == (0, [])


async def test_the_same_call_finishes_what_was_broken_off(folder: Path) -> None:
    graph = Graph()
    graph.documents_there = dict.fromkeys(["a.txt"], "of another content")
    graph.away = 3
    await ingest(graph, folder)
    done_before = len(graph.documents_there)
    graph.away = 0
    summary = await ingest(graph, folder)
    assert summary.stopped == ""
    assert len(graph.documents_there) == 6 >= done_before


async def test_a_file_that_is_refused_is_told_and_the_rest_goes_in(folder: Path) -> None:
    graph = Graph()
    graph.refused = "c.txt"
    (folder / "latin.txt").write_bytes("Größe".encode("latin-1"))
    summary = await ingest(graph, folder)
    assert summary.documents == 5
    assert sorted(summary.failed) == [
        ("c.txt", "the document holds no text"),
        ("latin.txt", "it is not UTF-8 text (byte 2)"),
    ]
