"""Plain text into blocks: paragraphs, and lines that are headings by their form."""

import re
from collections.abc import Iterator, Sequence

from deployments.ingestion.blocks import LOOSE_LEVEL, Block, Heading

_NUMBERED_HEADING = re.compile(r"^(?P<number>\d+(?:\.\d+)*)\.?\s+\S.{0,78}$")
_UNDERLINE = re.compile(r"^(=+|-+|~+|\^+)\s*$")
_HEADING_CHARACTERS = 80
_MIN_UNDERLINE = 3
_SHORT_LINE_CHARACTERS = 60
_SHORT_LINE = re.compile(r"[:\"'(\w](?:(?!\s{2}|\|).)*(?:[^.!?:;,]|\b[a-z]{1,4}\.|:)")
"""No bullet, no row of a table, no sentence: its full stop may end an abbreviation ("n.")."""
_SHORT_HEADINGS = 2
_NUMBERED_LEVEL = 3


def plain_blocks(text: str, *, may_begin_with_title: bool) -> Iterator[Block]:
    """Yield paragraphs and headings of plain text.

    Headings are numbered lines of their own, underlined lines, and short lines of their own, one or two, that text
    follows. More of them in a row are a list. A short line before all else is the title of a text with numbers.
    """
    short: list[str] = []
    paragraphs = list(_paragraphs(text))
    if may_begin_with_title and _begins_with_title(paragraphs):
        yield Heading(0, " ".join(paragraphs.pop(0)[0].split()))
    for lines in paragraphs:
        heading, rest = _plain_heading(lines)
        if heading is None and _may_head(lines):
            short.append(" ".join(lines[0].split()))
            continue
        yield from _short_lines(short, is_text_next=heading is None)
        short.clear()
        if heading is not None:
            yield heading
        if rest:
            yield "\n".join(" ".join(line.split()) for line in rest)
    yield from _short_lines(short, is_text_next=False)


def _begins_with_title(paragraphs: Sequence[list[str]]) -> bool:
    """Say whether the first line stands above numbered headings without having a number itself."""
    if not paragraphs or not _may_head(paragraphs[0]) or _numbered_level(paragraphs[0]) is not None:
        return False
    return any(_numbered_level(lines) is not None for lines in paragraphs)


def _paragraphs(text: str) -> Iterator[list[str]]:
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line.rstrip() for line in paragraph.strip("\n").split("\n") if line.strip()]
        if lines:
            yield lines


def _may_head(lines: Sequence[str]) -> bool:
    """Say whether a paragraph is a short line that is no sentence: a heading, if text follows it."""
    line = lines[0].strip()
    return len(lines) == 1 and len(line) <= _SHORT_LINE_CHARACTERS and bool(_SHORT_LINE.fullmatch(line))


def _short_lines(lines: Sequence[str], *, is_text_next: bool) -> Iterator[Block]:
    """Yield short lines as the headings of the text that follows them, or as text."""
    if not is_text_next or len(lines) > _SHORT_HEADINGS:
        yield from lines
        return
    # Below the title and numbered or underlined headings; the last of them below the one before it.
    deepest = LOOSE_LEVEL + _SHORT_HEADINGS - 1
    yield from (Heading(deepest - len(lines) + at, line) for at, line in enumerate(lines, 1))


def _plain_heading(lines: list[str]) -> tuple[Heading | None, list[str]]:
    """Split a heading off the front of a paragraph, if it has one."""
    first = lines[0].strip()
    underlined = len(lines) > 1 and _UNDERLINE.match(lines[1].strip()) and len(lines[1].strip()) >= _MIN_UNDERLINE
    if underlined and len(first) <= _HEADING_CHARACTERS:
        return Heading(1 if lines[1].strip()[0] == "=" else 2, first), lines[2:]
    level = _numbered_level(lines)
    return (None, lines) if level is None else (Heading(level, first), [])


def _numbered_level(lines: Sequence[str]) -> int | None:
    """Return the level of a numbered heading, which is below the title and the underlined ones."""
    first = lines[0].strip()
    numbered = _NUMBERED_HEADING.match(first)
    if len(lines) > 1 or not numbered or first.endswith((".", ";", ":", ",")):
        return None
    return _NUMBERED_LEVEL + numbered["number"].count(".")
