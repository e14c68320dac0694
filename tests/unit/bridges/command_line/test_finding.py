"""Which files of a folder can be ingested, and what is told of the others."""

import os
from pathlib import Path

from bridges.command_line.files.finding import FoundFiles, find_files

SUFFIXES = (".md", ".txt")


def found_in(*paths: Path) -> FoundFiles:
    return find_files(paths, SUFFIXES)


def test_kinds_that_are_not_read_are_counted(tmp_path: Path) -> None:
    for name in ("a.md", "b.MD", "plan.PDF.txt.bak", "c.bak", "d.BAK", "Makefile", "sub/e.psd", ".git/f.bak", "~$a.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = found_in(tmp_path)
    assert [file.name for file in found.files] == ["a.md", "b.MD"]
    assert found.not_read == {".bak": 3, "": 1, ".psd": 1}
    assert found.failed == []


def test_what_a_folder_links_to_outside_of_it_is_left_out_and_told(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (folder / "a.txt").write_text("a")
    (folder / "link.txt").symlink_to(outside / "secret.txt")
    (folder / "inside.txt").symlink_to(folder / "a.txt")
    (folder / "elsewhere").symlink_to(outside)
    found = found_in(folder)
    assert [file.name for file in found.files] == ["a.txt", "inside.txt"]
    assert [link.name for link in found.outside] == ["elsewhere", "link.txt"]


def test_what_only_looks_like_a_document_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "folder.md" / "in it.txt").touch()
    os.mkfifo(tmp_path / "pipe.txt")
    found = found_in(tmp_path, tmp_path / "gone.md", tmp_path / "never.md")
    assert [file.name for file in found.files] == ["in it.txt"]
    assert [(file.name, reason) for file, reason in found.failed] == [
        ("gone.md", "it is a link that leads nowhere"),
        ("pipe.txt", "it is no file"),
        ("gone.md", "it is a link that leads nowhere"),
        ("never.md", "it does not exist"),
    ]


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "a.md").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "self.md").symlink_to(tmp_path / "self.md")
    found = found_in(tmp_path)
    assert [file.name for file in found.files] == ["a.md"]
    assert [file.name for file, _ in found.failed] == ["self.md"]


def test_names_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"h\xf6he.txt")).touch()
    assert len(found_in(tmp_path).files) == 1


def test_a_pipe_that_is_named_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    found = found_in(tmp_path / "pipe.md")
    assert (found.files, found.failed) == ([], [(tmp_path / "pipe.md", "it is no file")])
