"""Documents into chunks: along headings and sentences, about 500 characters each.

Retrieval on a 180 kB manual found the right passage first for 88 % of the questions with chunks of 500 characters
whose embedded text carries their heading path, against 84 % with 300 and 80 % with 800 (25 questions).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from deployments.ingestion.blocks import LOOSE_LEVEL, Block, Heading, PageBreak, Table
from deployments.ingestion.front_matter import split_front_matter
from deployments.ingestion.markdown import markdown_blocks
from deployments.ingestion.plain_text import plain_blocks
from deployments.text.characters import written_out
from deployments.text.sentences import split_sentences
from deployments.values.documents import Chunk, TextFormat

CHUNK_CHARACTERS = 500
"""Characters that a chunk aims at and never exceeds."""
PAGE_BREAK = "\f"
"""Stands in a text where a page ends and the next begins, or in front of all else where the first begins."""

_TERMINAL_MARKS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|.\x08")
"""How text made for a terminal sets words in bold or underlines them: escape sequences, or overstrikes."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_BETWEEN_TITLES = re.compile(r"\s+[-–—|·•»:/]\s+|[:;]\s+")
"""What stands between the title of a page and that of its site."""
_COLUMN = " | "
_MOST_OF_A_PIECE = 0.5
"""That the names of a table's columns may take."""
_NAME_CHARACTERS = 60
"""Of a column, where its name stands before each of its cells."""


@dataclass(frozen=True, slots=True)
class CutText:
    """A document, or a part of one, in chunks.

    Attributes:
        chunks: In order.
        headings: Those that apply where the text ends, by their level, outermost first; empty where a level has none.
        page: The page where the text ends, from 1; 0 where it has no pages.
    """

    chunks: list[Chunk]
    headings: tuple[str, ...]
    page: int = 0


def chunk_text(
    text: str,
    text_format: TextFormat,
    *,
    headings: Sequence[str] = (),
    page: int = 0,
    is_further: bool = False,
    more_follows: bool = False,
    limit: int = CHUNK_CHARACTERS,
) -> CutText:
    """Cut a document, or a part of one, into chunks.

    Args:
        text: The document. A form feed begins a new page.
        text_format: How to read it.
        headings: The headings that apply where the text begins, by their level, outermost first; empty where a level
            has none.
        page: The page on which it begins, from 1; 0 where no part before has pages.
        is_further: Whether this is a part behind the first: only a whole document, or its first part, has front matter.
        more_follows: Whether another part of the document follows.
        limit: Characters in a chunk at most.
    """
    path = [Heading(level, heading) for level, heading in enumerate(headings) if heading]
    cutter = _Cutter(path, page, limit)
    text = _clean(text)
    below = text if is_further else _below_front_matter(text, text_format)
    for block in _blocks(below, text_format, page, may_begin_with_title=not headings):
        cutter.take(block)
    cutter.finish(more_follows=more_follows)
    by_level = {heading.level: heading.text for heading in cutter.path}
    at_end = tuple(by_level.get(level, "") for level in range(max(by_level, default=-1) + 1))
    return CutText(cutter.chunks, at_end, cutter.page)


def title_of(text: str, text_format: TextFormat) -> str:
    """Return the title that a Markdown document gives itself above its text; empty where it does not."""
    return split_front_matter(_clean(text)).title if text_format is TextFormat.MARKDOWN else ""


def first_heading(text: str, text_format: TextFormat) -> str:
    """Return the first heading of a document, empty where it has none; one that is longer than a chunk is text."""
    blocks = _blocks(_below_front_matter(_clean(text), text_format), text_format, 0, may_begin_with_title=True)
    headings = (block.text for block in blocks if isinstance(block, Heading))
    return next((heading for heading in headings if len(heading) <= CHUNK_CHARACTERS), "")


@dataclass(slots=True)
class _Cutter:
    """Makes chunks of blocks: none goes over a heading or the end of a page.

    A heading that nothing stands under is text itself, under the headings above it.
    """

    path: list[Heading]
    page: int
    limit: int
    chunks: list[Chunk] = field(default_factory=list[Chunk])
    _waiting: list[str | Table] = field(default_factory=list[str | Table])
    _alone: list[str] = field(default_factory=list[str])
    _is_bare: bool = False
    _page_of_heading: int = 0
    _page_alone: int = 0

    def take(self, block: Block) -> None:
        match block:
            case PageBreak():
                self._cut()
                self.path = [heading for heading in self.path if heading.level < LOOSE_LEVEL]
                self.page += 1
            case Heading() if len(block.text) > self.limit:
                # It would stand above each chunk below it: of a long one, a text becomes hundreds of times as large.
                self.take(block.text)
            case Heading():
                self._begin(block)
            case _:
                self._cut_alone()
                self._is_bare = False
                self._waiting.append(block)

    def finish(self, *, more_follows: bool) -> None:
        """Make chunks of what has waited."""
        self._cut()
        if self._is_bare and not more_follows:
            self._leave_bare()
        self._cut_alone()

    def _begin(self, heading: Heading) -> None:
        self._cut()
        if self._is_bare and heading.level <= self.path[-1].level:
            self._leave_bare()
        kept = [above for above in self.path if above.level < heading.level and not _says(above, heading)]
        if kept != self.path:
            self._cut_alone()
        self.path = [*kept, heading]
        self._is_bare = True
        self._page_of_heading = self.page

    def _leave_bare(self) -> None:
        if not self._alone:
            self._page_alone = self._page_of_heading
        self._alone.append(self.path.pop().text)
        self._is_bare = False

    def _cut_alone(self) -> None:
        """Make chunks of headings that stand alone, which are siblings."""
        if self._alone:
            above = self.path[:-1] if self._is_bare else self.path
            names = tuple(heading.text for heading in above)
            self.chunks.extend(Chunk(piece, names, self._page_alone) for piece in _pack(self._alone, self.limit))
            self._alone.clear()

    def _cut(self) -> None:
        names = tuple(heading.text for heading in self.path)
        self.chunks.extend(Chunk(piece, names, self.page) for piece in _pack(self._waiting, self.limit))
        self._waiting.clear()


def _says(title: Heading, heading: Heading) -> bool:
    """Say whether a title has what an outermost heading says: "The ferry - Island ferries" has "The ferry"."""
    are_both_outermost = title.level == 0 and heading.level == 1
    said = heading.text.casefold()
    return are_both_outermost and said in {title.text.casefold(), *_BETWEEN_TITLES.split(title.text.casefold())}


def _clean(text: str) -> str:
    """Return a text with one kind of line end, and without what a reader does not see."""
    lines = written_out(text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", _TERMINAL_MARKS.sub("", lines))


def _below_front_matter(text: str, text_format: TextFormat) -> str:
    return split_front_matter(text).text if text_format is TextFormat.MARKDOWN else text


def _blocks(text: str, text_format: TextFormat, page: int, *, may_begin_with_title: bool) -> Iterator[Block]:
    pages = text.split(PAGE_BREAK)
    if page == 0 and len(pages) > 1 and pages[0].strip():
        # Before the first break is a page, too.
        pages.insert(0, "")
    for number, content in enumerate(pages):
        if number:
            yield PageBreak()
        if text_format is TextFormat.MARKDOWN:
            yield from markdown_blocks(content)
        else:
            yield from plain_blocks(content, may_begin_with_title=may_begin_with_title and number <= 1)


def _pack(blocks: Iterable[str | Table], limit: int) -> Iterator[str]:
    """Join neighbouring blocks into pieces of at most `limit` characters, cutting long ones at sentences."""
    piece = ""
    for part in (part for block in blocks for part in _parts(block, limit)):
        if piece and len(piece) + 1 + len(part) > limit:
            yield piece
            piece = ""
        piece = f"{piece}\n{part}" if piece else part
    if piece:
        yield piece


def _parts(block: str | Table, limit: int) -> Iterator[str]:
    """Yield a block in parts of at most `limit` characters: whole, else by lines and sentences, else by words."""
    if isinstance(block, Table):
        yield from _table_parts(block, limit)
    elif len(block) <= limit:
        yield block
    else:
        yield from _joined((unit for sentence in _units(block) for unit in _by_words(sentence, limit)), " ", limit)


def _joined(units: Iterable[str], mark: str, limit: int) -> Iterator[str]:
    """Join units, each of at most `limit` characters, into parts of at most as many."""
    part = ""
    for unit in units:
        if part and len(part) + len(mark) + len(unit) > limit:
            yield part
            part = ""
        part = f"{part}{mark}{unit}" if part else unit
    if part:
        yield part


def _table_parts(table: Table, limit: int) -> Iterator[str]:
    """Yield a table in parts that each name its columns: whole, else by rows, else by cells."""
    rows = [_COLUMN.join(row) for row in table.rows]
    head = _COLUMN.join(table.columns) if any(table.columns) else ""
    whole = "\n".join((head, *rows)).strip()
    if len(whole) <= limit:
        yield from [whole] if whole else []
        return
    room = limit - len(head) - 1
    if rows and len(head) <= limit * _MOST_OF_A_PIECE and all(len(row) <= room for row in rows):
        yield from (f"{head}\n{part}".strip() for part in _joined(rows, "\n", room))
        return
    if not rows:
        yield from _joined((unit for cell in table.columns for unit in _by_words(cell, limit)), _COLUMN, limit)
    for row in table.rows:
        yield from _joined(_named_cells(table.columns, row, limit), "; ", limit)


def _named_cells(columns: Sequence[str], row: Sequence[str], limit: int) -> Iterator[str]:
    """Yield each cell of a row behind the name of its column, in pieces where it is long."""
    for index, cell in enumerate(row):
        column = columns[index][:_NAME_CHARACTERS].strip() if index < len(columns) else ""
        name = f"{column}: " if column else ""
        yield from (f"{name}{piece}" for piece in _parts(cell, limit - len(name)) if piece)


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
