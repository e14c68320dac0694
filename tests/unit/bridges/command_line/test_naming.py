"""What documents are called."""

import os
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

import pytest

from bridges.command_line.files.extraction import READERS
from bridges.command_line.files.finding import find_files
from bridges.command_line.files.naming import NamedFile, earlier_names, name_files

NFC, NFD = (normalize(form, "höhe.txt") for form in ("NFC", "NFD"))


def write(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"The text of {name}.", errors="replace")


def names(*paths: Path, prefix: str | None = None) -> list[str]:
    return sorted(one.source for one in name_files(find_files(paths, READERS).files, paths, prefix).files)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    write(tmp_path / "home" / "notes", "roof.md", "2024/barn.md")
    return tmp_path / "home" / "notes"


@pytest.mark.parametrize("spelled", [".", "../notes", "2024/..", "../../home/notes", "whole"])
def test_a_folder_is_named_the_same_however_it_is_written(
    notes: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    monkeypatch.chdir(notes)
    assert names(notes if spelled == "whole" else Path(spelled)) == ["notes/2024/barn.md", "notes/roof.md"]


def test_the_folder_above_gives_its_own_name(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notes)
    assert names(Path("..")) == ["home/notes/2024/barn.md", "home/notes/roof.md"]


def test_a_file_is_named_with_its_folder_as_when_the_folder_is_named(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(notes / "roof.md") == ["notes/roof.md"]
    monkeypatch.chdir(notes)
    assert names(Path("roof.md")) == ["notes/roof.md"]
    assert names(*sorted(Path().iterdir())) == ["2024/barn.md", "notes/roof.md"]


def test_the_home_folder_gives_no_name(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(notes.parent, "list.txt")
    monkeypatch.setenv("HOME", str(notes.parent))
    assert names(notes.parent) == ["list.txt", "notes/2024/barn.md", "notes/roof.md"]
    assert names(notes.parent / "list.txt") == ["list.txt"]


@pytest.mark.parametrize(("prefix", "expected"), [("house", "house/roof.md"), ("", "roof.md"), ("a/b/", "a/b/roof.md")])
def test_a_prefix_stands_in_place_of_the_folder_s_name(notes: Path, prefix: str, expected: str) -> None:
    assert expected in names(notes, prefix=prefix)
    assert names(notes / "roof.md", prefix=prefix) == [expected]


def test_of_folders_that_overlap_the_outermost_names(notes: Path) -> None:
    for paths in ([notes / "2024", notes], [notes, notes / "2024"], [notes / "2024" / "barn.md", notes]):
        assert names(*paths) == ["notes/2024/barn.md", "notes/roof.md"]


def test_a_folder_and_one_beside_it_are_told_apart(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(notes.parent / "other", "roof.md")
    monkeypatch.chdir(notes)
    assert names(Path(), Path("../other")) == ["notes/2024/barn.md", "notes/roof.md", "other/roof.md"]


def test_a_link_to_a_folder_or_a_file_is_named_as_what_it_leads_to(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(notes)
    (tmp_path / "link.md").symlink_to(notes / "roof.md")
    assert names(tmp_path / "link") == ["notes/2024/barn.md", "notes/roof.md"]
    assert names(tmp_path / "link.md") == ["notes/roof.md"]
    assert names(tmp_path / "link", notes) == ["notes/2024/barn.md", "notes/roof.md"]


def test_a_file_with_links_beside_it_is_one_document(notes: Path) -> None:
    (notes / "a.md").symlink_to(notes / "roof.md")
    assert names(notes) == ["notes/2024/barn.md", "notes/roof.md"]


def test_files_that_are_links_into_a_hidden_folder_keep_their_names(notes: Path) -> None:
    write(notes, ".store/0815.md")
    (notes / "shed.md").symlink_to(notes / ".store" / "0815.md")
    assert names(notes) == ["notes/2024/barn.md", "notes/roof.md", "notes/shed.md"]


def test_of_two_folders_of_one_name_the_first_wins_and_the_other_s_files_are_told(notes: Path, tmp_path: Path) -> None:
    other = tmp_path / "work" / "notes"
    write(other, "roof.md", "desk.md")
    named = name_files(find_files([notes, other], READERS).files, [notes, other])
    assert {one.source: one.file for one in named.files} == {
        "notes/roof.md": notes / "roof.md",
        "notes/2024/barn.md": notes / "2024" / "barn.md",
        "notes/desk.md": other / "desk.md",
    }
    ((file, reason),) = named.clashes
    assert file == other / "roof.md"
    assert reason == (
        f"{notes / 'roof.md'} has the same name, 'notes/roof.md': ingest one of them with another --prefix"
    )


def test_files_whose_names_differ_only_in_their_unicode_form_are_told(tmp_path: Path) -> None:
    write(tmp_path, NFC, NFD)
    named = name_files(find_files([tmp_path], READERS).files, [tmp_path], "")
    assert [one.source for one in named.files] == [NFC]
    ((_, reason),) = named.clashes
    assert "written in another Unicode form" in reason


def test_a_name_that_is_not_utf8_is_a_name_nevertheless(tmp_path: Path) -> None:
    write(tmp_path, os.fsdecode(b"h\xf6he.txt"))
    assert names(tmp_path, prefix="") == ["h\ufffdhe.txt"]


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (["/home/u/notes/2024/barn.md"], ["/home/u/notes/2024/barn.md"]),
        (["barn.md", "2024/barn.md", "u/notes/2024/barn.md"], ["2024/barn.md", "barn.md", "u/notes/2024/barn.md"]),
        (["notes/2024/barn.md"], []),
        (["arn.md", "other/barn.md", "notes/2024", "home/u/barn.md", "notes/barn.md"], []),
    ],
)
def test_an_earlier_name_is_the_whole_path_or_its_end(stored: Iterable[str], found: list[str]) -> None:
    file = NamedFile(Path("/home/u/notes/2024/barn.md"), "notes/2024/barn.md")
    assert earlier_names(file, {name: {name} for name in stored}, {file.source}) == found


def test_the_name_of_another_file_of_the_run_is_no_earlier_name() -> None:
    file = NamedFile(Path("/home/u/docs/docs/a.md"), "docs/docs/a.md")
    assert earlier_names(file, {"docs/a.md": {"docs/a.md"}}, {file.source, "docs/a.md"}) == []


def test_a_name_of_before_in_mixed_unicode_forms_is_an_earlier_name() -> None:
    mixed = normalize("NFC", "höhe/") + NFD
    whole = normalize("NFC", mixed)
    file = NamedFile(Path("/home/u") / mixed, whole)
    assert earlier_names(file, {whole: {mixed}}, {whole}) == [mixed]
    for known in (whole, normalize("NFD", whole)):
        assert earlier_names(file, {whole: {known}}, {whole}) == [], "ingestion itself replaces it"
