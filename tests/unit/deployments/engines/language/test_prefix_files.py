import os
from pathlib import Path

from deployments.engines.language.prefix_files import PrefixFiles


def kept(files: PrefixFiles, prefix: str, content: bytes, age_s: int = 0) -> Path:
    written = files.new_name()
    (files.folder / written).write_bytes(content)
    path = files.keep(written, prefix)
    before = path.stat().st_mtime - age_s
    os.utime(path, (before, before))
    return path


def test_a_file_is_found_by_its_prefix_alone(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path)
    path = kept(files, "one", b"state")
    assert (files.find("one"), files.find("another")) == (path.name, None)


def test_a_damaged_file_is_removed(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path)
    kept(files, "one", b"state").write_bytes(b"stats")
    assert files.find("one") is None
    assert [*tmp_path.iterdir()] == []


def test_the_four_that_were_used_last_are_kept(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path)
    for number in range(4):
        kept(files, f"{number}", b"state", age_s=100 - number)
    assert files.find("0")
    kept(files, "4", b"state")
    assert [bool(files.find(f"{number}")) for number in range(5)] == [True, False, True, True, True]


def test_a_file_that_was_never_finished_is_removed_at_a_start_an_hour_later(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path)
    old, new = tmp_path / files.new_name(), tmp_path / files.new_name()
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (0, 0))
    assert PrefixFiles.opened(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)
