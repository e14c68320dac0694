"""Writing Markdown: texts and tables that are read back as they are."""

import re
from collections.abc import Iterable, Sequence

_MARKS = re.compile(r"([\\`*_\[\]<>|~&])")
_AT_START = re.compile(r"^(\s*)([-+#=>]|\d+[.)])", re.MULTILINE)
_HEADING_CELL_CHARACTERS = 60
_HEADED_ROWS = 3


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return _AT_START.sub(_escaped_start, _MARKS.sub(r"\\\1", text))


def _escaped_start(match: re.Match[str]) -> str:
    mark = match[2]
    return f"{match[1]}{mark[:-1]}\\{mark[-1]}"


def heading(level: int, text: str) -> str:
    """Return a heading of a level from 1."""
    return f"{'#' * min(level, 6)} {escaped(' '.join(text.split()))}"


def table(rows: Iterable[Sequence[str]], *, has_names: bool | None = None) -> str:
    """Return a table; empty where it holds nothing.

    Args:
        rows: Texts of cells.
        has_names: Whether the first row names the columns; where it is not known, the row's look decides.
    """
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if not filled:
        return ""
    used = [at for at in range(max(map(len, filled))) if any(at < len(row) and row[at].strip() for row in filled)]
    lines = [[row[at] if at < len(row) else "" for at in used] for row in filled]
    if has_names is False or (has_names is None and not looks_like_names(lines)):
        lines.insert(0, [""] * len(used))
    ruler = ["---"] * len(used)
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in (lines[0], ruler, *lines[1:]))


def _cell(text: str) -> str:
    if text == "---":
        return text
    return "<br>".join(escaped(" ".join(line.split())) for line in text.strip().splitlines())


def looks_like_names(rows: Sequence[Sequence[str]]) -> bool:
    """Say whether the first row of a table looks as if it named the columns: short different words, no figures."""
    first = [cell.strip() for cell in rows[0]]
    if len(rows) < _HEADED_ROWS or len(first) < 2 or len(set(first)) < len(first):  # noqa: PLR2004 - a list has one
        return False
    return all(
        cell and len(cell) <= _HEADING_CELL_CHARACTERS and not re.fullmatch(r"[\d.,:%€$£/\s+-]+", cell)
        for cell in first
    )
