import hashlib

import pytest

from deployments.values.versions import has_same_content, is_version, new_version

ONE, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"one", b"other"))


def test_names_sort_as_their_ingestions_began() -> None:
    names = [new_version(content) for content in (OTHER, ONE, OTHER, ONE)]
    assert names == sorted(names)
    assert len(set(names)) == 4


def test_a_name_sorts_behind_the_newest_that_there_is_whatever_the_clock_says() -> None:
    ahead = f"t{2**62:016x}{'f' * 15}"
    assert new_version(ONE, ahead) > ahead
    assert new_version(ONE, new_version(ONE, ahead)) > new_version(ONE, ahead)


def test_names_of_before_sort_before_all_others() -> None:
    before = "f" * 32
    assert is_version(before)
    assert new_version("0" * 64, before) > before


def test_the_same_content_is_known_by_the_name() -> None:
    assert has_same_content(new_version(ONE), new_version(ONE))
    assert not has_same_content(new_version(ONE), new_version(OTHER))
    assert has_same_content("f" * 32, "f" * 32)
    assert not has_same_content("f" * 32, new_version("f" * 32))


@pytest.mark.parametrize("name", ["", "t", "f" * 31, "t" + "g" * 31, "t" + "0" * 32, 'x" or chunks > 0 or id == "'])
def test_other_texts_are_no_names(name: str) -> None:
    assert not is_version(name)
    assert is_version(new_version(ONE))
