"""The headings that a text stands under, written as one line such as "Install > On Debian"."""

from collections.abc import Iterable

_BETWEEN = " > "


def heading_path(headings: Iterable[str]) -> str:
    """Return headings as one line, outermost first."""
    return _BETWEEN.join(headings)


def section_of(path: str) -> str:
    """Return the innermost heading of a path; empty where there is none below the outermost, which is the title."""
    title, _, section = path.rpartition(_BETWEEN)
    return section if title else ""


def page_name(page: int) -> str:
    """Return a page as it is cited, such as "page 12"; empty where there is none."""
    return f"page {page}" if page else ""


def under_headings(path: str, text: str) -> str:
    """Return a text as models see it: under its headings, where it has some."""
    return f"{path}\n{text}" if path else text
