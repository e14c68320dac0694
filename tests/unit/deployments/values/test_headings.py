"""Headings as one line, and texts under them."""

import pytest

from deployments.values.documents import Chunk
from deployments.values.headings import heading_path, section_of
from deployments.values.retrieval import Passage


@pytest.mark.parametrize(
    ("headings", "path", "section"),
    [
        ((), "", ""),
        (("Install",), "Install", ""),
        (("Install", "On Debian"), "Install > On Debian", "On Debian"),
        (("Install", "On Debian", "By hand"), "Install > On Debian > By hand", "By hand"),
    ],
)
def test_the_section_of_a_path_is_its_last_heading_below_the_title(
    headings: tuple[str, ...], path: str, section: str
) -> None:
    assert heading_path(headings) == path
    assert section_of(path) == section


@pytest.mark.parametrize(
    ("headings", "seen"),
    [((), "Run it."), (("Install", "On Debian"), "Install > On Debian\nRun it.")],
)
def test_models_see_a_passage_as_they_saw_the_chunk_that_it_was(headings: tuple[str, ...], seen: str) -> None:
    assert Chunk("Run it.", headings).embedded_text() == seen
    assert Passage("Run it.", "manual.md", heading_path(headings)).embedded_text() == seen
