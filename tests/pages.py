"""The pages for readers as tests read them: blocks of code, links, headings, tables."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.servers import ROOT

README = ROOT / "README.md"

_PARSER = MarkdownIt("commonmark").enable("table")
_NOT_RUN = re.compile(r"<!-- not run by a test: (?P<reason>.+?) -->")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: The word behind its fence, such as "sh".
        code: What is in it.
        not_run: Why no test runs it; empty where one has to.
    """

    language: str
    code: str
    not_run: str


@dataclass(frozen=True)
class TableRow:
    """A row of a table, as written.

    Attributes:
        headings: The headings above it, outermost first.
        header: The first cell of the table's header.
        cells: Of the row.
    """

    headings: tuple[str, ...]
    header: str
    cells: tuple[str, ...]


def pages() -> list[Path]:
    """Return the pages for readers: every README of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "README.md", "*/README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines()]


def blocks(text: str, *languages: str) -> list[Block]:
    """Return the blocks of a page that are in one of the languages; all of them where none is named."""
    found: list[Block] = []
    reason = ""
    for token in _PARSER.parse(text):
        if token.type == "html_block" and (mark := _NOT_RUN.search(token.content)):
            reason = mark["reason"]
        elif token.type == "fence":
            if not languages or token.info in languages:
                found.append(Block(token.info, token.content, reason))
            reason = ""
    return found


def links(text: str) -> list[str]:
    """Return where the links of a page lead."""
    return [
        str(part.attrs["href"]) for token in _inline(text) for part in token.children or () if part.type == "link_open"
    ]


def code_spans(text: str) -> list[str]:
    """Return the code that stands within sentences and tables."""
    return [part.content for token in _inline(text) for part in token.children or () if part.type == "code_inline"]


def anchors(text: str) -> set[str]:
    """Return the fragments that lead to a page's headings."""
    return {_anchor(heading) for _, heading in _headings(_PARSER.parse(text))}


def table_rows(text: str) -> Iterator[TableRow]:
    """Yield the rows of a page's tables in order."""
    path: list[tuple[int, str]] = []
    header = ""
    cells: list[str] = []
    tokens = _PARSER.parse(text)
    for token, following in pairwise(tokens):
        match token.type:
            case "heading_open":
                level = int(token.tag[1:])
                path = [*(entry for entry in path if entry[0] < level), (level, following.content)]
            case "tr_open":
                cells = []
            case "th_open" | "td_open":
                cells.append(following.content)
            case "thead_open":
                header = ""
            case "tr_close" if not header:
                header = cells[0]
            case "tr_close":
                yield TableRow(tuple(heading for _, heading in path), header, tuple(cells))
            case _:
                pass


def _inline(text: str) -> Iterator[Token]:
    return (token for token in _PARSER.parse(text) if token.type == "inline")


def _headings(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            yield int(token.tag[1:]), following.content


def _anchor(heading: str) -> str:
    """Return the fragment that code hosts make of a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.strip().replace(" ", "-")
