import pytest

from deployments.chat.prefix_reuse import in_read_order, kept_share
from deployments.text.words import says_the_same


@pytest.mark.parametrize(
    ("found", "read", "ordered"),
    [
        ("abc", "", "abc"),
        ("abc", "abc", "abc"),
        ("cab", "abc", "abc"),
        ("cab", "ab", "abc"),
        ("cda", "abc", "acd"),
        ("cd", "abc", "cd"),
    ],
)
def test_what_was_read_first_and_found_again_comes_first(found: str, read: str, ordered: str) -> None:
    assert "".join(in_read_order(tuple(found), tuple(read))) == ordered


@pytest.mark.parametrize(
    ("shown", "read", "share"),
    [("abc", "abc", 1.0), ("abd", "abcd", 0.5), ("ba", "ab", 0.0), ("a", "", 1.0), ("", "a", 0.0)],
)
def test_what_is_read_is_kept_up_to_the_first_difference(shown: str, read: str, share: float) -> None:
    assert kept_share(tuple(shown), tuple(read)) == share


def test_marks_and_capitals_do_not_count() -> None:
    assert says_the_same("How long, is it?", "how long is it")
    assert not says_the_same("How long is it?", "How long was it?")
