"""Which texts a language cannot hold."""

import pytest

from deployments.text.scripts import may_be_written_in


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Yes.", "en"),
        ("Ça va, naïve Zoë?", "en"),
        ("Die Größe in µm, also Ω", "de"),
        ("以", "zh"),
        ("はい、YouTube で", "ja"),
        ("Да, iPhone", "ru"),
        ("안녕", "ko"),
        ("以", ""),
        ("12 − 3 = 9 ✓", "en"),
        ("", "en"),
    ],
)
def test_what_a_language_may_hold(text: str, language: str) -> None:
    assert may_be_written_in(text, language)


@pytest.mark.parametrize(
    ("text", "language"),
    [("以", "en"), ("はい", "en"), ("はい", "zh"), ("Да", "en"), ("안녕", "ja"), ("نعم", "de"), ("Yes, так", "en")],
)
def test_what_it_cannot_hold(text: str, language: str) -> None:
    assert not may_be_written_in(text, language)
