"""Documents into chunks: along headings and sentences, about 500 characters each.

Retrieval on a 180 kB manual found the right passage first for 88 % of the questions with chunks of 500 characters
whose embedded text carries their heading path, against 84 % with 300 and 80 % with 800 (25 questions).
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from deployments.text.sentences import split_sentences
from deployments.values.documents import Chunk, TextFormat

CHUNK_CHARACTERS = 500
"""Characters that a chunk aims at and never exceeds."""


_NUMBERED_HEADING = re.compile(r"^(?P<number>\d+(?:\.\d+)*)\.?\s+\S.{0,78}$")
_UNDERLINE = re.compile(r"^(=+|-+|~+|\^+)\s*$")
_HEADING_CHARACTERS = 80
_MIN_UNDERLINE = 3
_SHORT_LINE_CHARACTERS = 60
_SHORT_LINE = re.compile(r"[:\"'(\w](?:(?!\s{2}|\|).)*(?:[^.!?:;,]|\b[a-z]{1,4}\.|:)")
"""No bullet, no row of a table, no sentence: its full stop may end an abbreviation ("n.")."""
_SHORT_HEADINGS = 2
_NUMBERED_LEVEL = 2
_DEEPEST_LEVEL = 9
_TAG = re.compile(r"<[^>]*>")
_TERMINAL_MARKS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|.\x08")
"""How text made for a terminal sets words in bold or underlines them: escape sequences, or overstrikes."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _Heading:
    level: int
    text: str


_Block = str | _Heading


def chunk_text(
    text: str, text_format: TextFormat, *, headings: Sequence[str] = (), limit: int = CHUNK_CHARACTERS
) -> tuple[list[Chunk], tuple[str, ...]]:
    """Cut a document, or a part of one, into chunks.

    Args:
        text: The document.
        text_format: How to read it.
        headings: The headings that apply where the text begins, by their level, outermost first; empty where a level
            has none.
        limit: Characters in a chunk at most.

    Returns:
        The chunks in order, and the headings that apply where the text ends, likewise.
    """
    blocks = _blocks(text, text_format, may_begin_with_title=not headings)
    path = [_Heading(level, heading) for level, heading in enumerate(headings) if heading]
    chunks: list[Chunk] = []
    waiting: list[str] = []

    def finish() -> None:
        names = tuple(heading.text for heading in path)
        chunks.extend(Chunk(piece, names) for piece in _pack(waiting, limit))
        waiting.clear()

    for block in blocks:
        if isinstance(block, str):
            waiting.append(block)
            continue
        finish()
        path = [heading for heading in path if heading.level < block.level]
        path.append(block)
    finish()
    by_level = {heading.level: heading.text for heading in path}
    return chunks, tuple(by_level.get(level, "") for level in range(max(by_level, default=-1) + 1))


def first_heading(text: str, text_format: TextFormat) -> str:
    """Return the first heading of a document, empty where it has none."""
    blocks = _blocks(text, text_format, may_begin_with_title=True)
    return next((block.text for block in blocks if isinstance(block, _Heading)), "")


def _blocks(text: str, text_format: TextFormat, *, may_begin_with_title: bool) -> Iterator[_Block]:
    clean = _CONTROL.sub("", _TERMINAL_MARKS.sub("", text))
    if text_format is TextFormat.MARKDOWN:
        return _markdown_blocks(clean)
    return _plain_blocks(clean, may_begin_with_title=may_begin_with_title)


def _pack(blocks: Iterable[str], limit: int) -> Iterator[str]:
    """Join neighbouring blocks into pieces of at most `limit` characters, cutting long ones at sentences."""
    piece = ""
    for part in (part for block in blocks for part in _parts(block, limit)):
        if piece and len(piece) + 1 + len(part) > limit:
            yield piece
            piece = ""
        piece = f"{piece}\n{part}" if piece else part
    if piece:
        yield piece


def _parts(block: str, limit: int) -> Iterator[str]:
    """Yield a block in parts of at most `limit` characters: whole, else by lines and sentences, else by words."""
    if len(block) <= limit:
        yield block
        return
    part = ""
    for unit in (unit for sentence in _units(block) for unit in _by_words(sentence, limit)):
        if part and len(part) + 1 + len(unit) > limit:
            yield part
            part = ""
        part = f"{part} {unit}" if part else unit
    if part:
        yield part


def _units(block: str) -> Iterator[str]:
    for line in block.split("\n"):
        yield from split_sentences(line)


def _by_words(sentence: str, limit: int) -> Iterator[str]:
    while len(sentence) > limit:
        cut = sentence.rfind(" ", 1, limit + 1)
        cut = cut if cut > 0 else limit
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    if sentence:
        yield sentence


def _plain_blocks(text: str, *, may_begin_with_title: bool) -> Iterator[_Block]:
    """Yield paragraphs and headings of plain text.

    Headings are numbered lines of their own, underlined lines, and short lines of their own, one or two, that text
    follows. More of them in a row are a list. A short line before all else is the title of a text with numbers.
    """
    short: list[str] = []
    paragraphs = list(_paragraphs(text))
    if may_begin_with_title and _begins_with_title(paragraphs):
        yield _Heading(0, " ".join(paragraphs.pop(0)[0].split()))
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
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\f", "\n\n")):
        lines = [line.rstrip() for line in paragraph.strip("\n").split("\n") if line.strip()]
        if lines:
            yield lines


def _may_head(lines: Sequence[str]) -> bool:
    """Say whether a paragraph is a short line that is no sentence: a heading, if text follows it."""
    line = lines[0].strip()
    return len(lines) == 1 and len(line) <= _SHORT_LINE_CHARACTERS and bool(_SHORT_LINE.fullmatch(line))


def _short_lines(lines: Sequence[str], *, is_text_next: bool) -> Iterator[_Block]:
    """Yield short lines as the headings of the text that follows them, or as text."""
    if not is_text_next or len(lines) > _SHORT_HEADINGS:
        yield from lines
        return
    # Below the title and numbered or underlined headings; the last of them below the one before it.
    deepest = _DEEPEST_LEVEL
    yield from (_Heading(deepest - len(lines) + at, line) for at, line in enumerate(lines, 1))


def _plain_heading(lines: list[str]) -> tuple[_Heading | None, list[str]]:
    """Split a heading off the front of a paragraph, if it has one."""
    first = lines[0].strip()
    underlined = len(lines) > 1 and _UNDERLINE.match(lines[1].strip()) and len(lines[1].strip()) >= _MIN_UNDERLINE
    if underlined and len(first) <= _HEADING_CHARACTERS:
        return _Heading(0 if lines[1].strip()[0] == "=" else 1, first), lines[2:]
    level = _numbered_level(lines)
    return (None, lines) if level is None else (_Heading(level, first), [])


def _numbered_level(lines: Sequence[str]) -> int | None:
    """Return the level of a numbered heading, which is below the title and the underlined ones."""
    first = lines[0].strip()
    numbered = _NUMBERED_HEADING.match(first)
    if len(lines) > 1 or not numbered or first.endswith((".", ";", ":", ",")):
        return None
    return _NUMBERED_LEVEL + numbered["number"].count(".")


def _markdown_blocks(text: str) -> Iterator[_Block]:
    """Yield paragraphs, list items, table rows, code and headings of Markdown."""
    reader = _MarkdownReader()
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if (block := reader.read(token)) is not None:
            yield block


@dataclass(slots=True)
class _MarkdownReader:
    """What is open while the tokens of a Markdown document go by."""

    item_mark: str = ""
    row: list[str] | None = None
    heading_level: int | None = None

    def read(self, token: Token) -> _Block | None:
        """Take the next token; return the block that it completes, if any."""
        match token.type:
            case "heading_open":
                self.heading_level = int(token.tag[1:]) - 1
            case "heading_close":
                self.heading_level = None
            case "list_item_open":
                self.item_mark = f"{token.info}. " if token.info else "- "
            case "tr_open":
                self.row = []
            case "tr_close":
                row, self.row = self.row, None
                return " | ".join(row or [])
            case _:
                return self._inline(_inline_text(token)) if token.type == "inline" else _literal(token)
        return None

    def _inline(self, content: str) -> _Block | None:
        if self.row is not None:
            self.row.append(content)
            return None
        if not content:
            return None
        if self.heading_level is not None:
            return _Heading(self.heading_level, content)
        item_mark, self.item_mark = self.item_mark, ""
        return item_mark + content


def _literal(token: Token) -> str | None:
    """Return the text of a token that holds code or HTML, None for any other."""
    if token.type in {"fence", "code_block"}:
        return token.content.rstrip() or None
    if token.type == "html_block":
        return " ".join(html.unescape(_TAG.sub(" ", token.content)).split()) or None
    return None


def _inline_text(token: Token) -> str:
    pieces: list[str] = []
    for child in token.children or []:
        if child.type in {"softbreak", "hardbreak"}:
            pieces.append(" ")
        elif child.type == "image" or child.type in {"text", "code_inline"}:
            pieces.append(child.content)
    return " ".join("".join(pieces).split())
