"""Ingesting files: what is sent, what is not sent again, what a service that goes away does to a run."""

import os
from pathlib import Path
from typing import cast
from unicodedata import normalize

import pytest

from bridges.command_line.client import HearthClient
from bridges.command_line.files.extraction import READERS
from bridges.command_line.files.finding import find_files
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.files.naming import name_files
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

    async def delete(self, request: documents_pb2.DeleteRequest, timeout_s: float) -> documents_pb2.DeleteResponse:
        del timeout_s
        del self.documents_there[request.source]
        return documents_pb2.DeleteResponse(removed=1)

    @property
    def sources(self) -> set[str]:
        return {request.source for request in self.sent}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcdef":
        (tmp_path / f"{name}.txt").write_text(f"The text of {name}.")
    return tmp_path


async def ingest(
    graph: Graph,
    folder: Path,
    *,
    prefix: str | None = "",
    patience_s: float = 0.0,
    again: bool = False,
    drop_earlier: bool = False,
) -> IngestSummary:
    summary = IngestSummary()
    options = IngestOptions(patience_s=patience_s, again=again, drop_earlier=drop_earlier)
    files = name_files(find_files([folder], READERS).files, [folder], prefix).files
    await ingest_files(cast("HearthClient", graph), files, options, summary, Unobserved())
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
    (folder / "zip.docx").write_bytes(b"PK")
    summary = await ingest(graph, folder)
    assert summary.documents == 5
    assert sorted(summary.failed) == [
        ("c.txt", "the document holds no text"),
        ("zip.docx", "it is damaged: File is not a zip file"),
    ]


async def test_what_a_reader_guessed_is_told(folder: Path) -> None:
    (folder / "latin.txt").write_bytes("Größe".encode("latin-1"))
    summary = await ingest(Graph(), folder)
    assert summary.documents == 7
    assert summary.guessed == [("latin.txt", "its encoding is not marked: it was read as Windows-1252")]


async def test_a_file_name_that_is_not_utf8_ends_no_run(folder: Path) -> None:
    (folder / os.fsdecode(b"h\xf6he.txt")).write_text("The height.")
    summary = await ingest(Graph(), folder)
    assert (summary.documents, summary.failed) == (7, [])


@pytest.mark.parametrize("above", ["# Parts\n\n", "# Parts\n", "The parts of today:\n", "<!-- made -->\n", ""])
async def test_every_part_of_a_long_table_begins_with_the_names_of_its_columns(tmp_path: Path, above: str) -> None:
    rows = "".join(f"| P-{at:05} | valve {at} |\n" for at in range(3000))
    (tmp_path / "parts.md").write_text(f"{above}| Part | Name |\n|---|---|\n{rows}\nThe end.\n")
    graph = Graph()
    await ingest(graph, tmp_path)
    assert len(graph.sent) > 3
    assert all("| Part | Name |\n|---|---|\n| P-" in request.text for request in graph.sent)
    assert "".join(request.text for request in graph.sent).count("| P-") == 3000
    assert graph.sent[-1].text.endswith("The end.\n")


async def test_names_do_not_depend_on_where_the_command_runs(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for current, path in ((folder, Path()), (folder.parent, Path(folder.name)), (elsewhere, folder)):
        monkeypatch.chdir(current)
        await ingest(graph, path, prefix=None)
    assert set(graph.documents_there) == {f"{folder.name}/{name}.txt" for name in "abcdef"}
    assert len(graph.sent) == 6, "the second and the third time nothing is new"


async def test_what_was_stored_under_an_earlier_name_is_told_and_deleted_where_that_is_asked_for(folder: Path) -> None:
    graph = Graph()
    earlier = {(folder / "a.txt").as_posix(): "x", "b.txt": "y", f"{folder.parent.name}/{folder.name}/c.txt": "z"}
    graph.documents_there = {**earlier, "other/a.txt": "u", f"{folder.name}/d.txt": "v", "z.txt": "w"}
    summary = await ingest(graph, folder, prefix=None)
    assert set(summary.earlier) == set(earlier)
    assert summary.earlier["b.txt"] == f"{folder.name}/b.txt"
    assert summary.dropped == []
    assert set(earlier) < set(graph.documents_there)
    summary = await ingest(graph, folder, prefix=None, drop_earlier=True)
    assert set(summary.dropped) == set(earlier)
    assert set(graph.documents_there) == {"other/a.txt", "z.txt", *(f"{folder.name}/{name}.txt" for name in "abcdef")}


async def test_a_document_that_replaces_one_of_its_name_from_another_folder_is_told(tmp_path: Path) -> None:
    for parent in ("one", "other"):
        (tmp_path / parent / "notes").mkdir(parents=True)
        (tmp_path / parent / "notes" / "roof.md").write_text(f"The roof of {parent}.")
        (tmp_path / parent / "notes" / "same.md").write_text("The same in both.")
    graph = Graph()
    assert (await ingest(graph, tmp_path / "one" / "notes", prefix=None)).from_elsewhere == []
    summary = await ingest(graph, tmp_path / "other" / "notes", prefix=None)
    assert summary.from_elsewhere == ["notes/roof.md"]
    assert (summary.documents, summary.unchanged) == (1, 1)
    (tmp_path / "other" / "notes" / "roof.md").write_text("The new roof.")
    assert (await ingest(graph, tmp_path / "other" / "notes", prefix=None)).from_elsewhere == []


async def test_a_digest_of_before_tells_the_content_still(folder: Path) -> None:
    graph = Graph()
    await ingest(graph, folder)
    graph.documents_there = {name: digest.partition(".")[0] for name, digest in graph.documents_there.items()}
    summary = await ingest(graph, folder)
    assert (summary.documents, summary.unchanged, summary.from_elsewhere) == (0, 6, [])


async def test_a_name_that_is_stored_in_another_unicode_form_is_the_same(tmp_path: Path) -> None:
    (tmp_path / normalize("NFD", "höhe.txt")).write_text("The height.")
    graph = Graph()
    await ingest(graph, tmp_path)
    assert set(graph.documents_there) == {normalize("NFC", "höhe.txt")}
    graph.documents_there = {normalize("NFD", name): digest for name, digest in graph.documents_there.items()}
    assert (await ingest(graph, tmp_path)).unchanged == 1
