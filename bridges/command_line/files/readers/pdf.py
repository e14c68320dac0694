"""PDF into plain text: page by page, column by column, its broken lines and words joined."""

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pypdfium2 as pdfium
from pypdfium2 import raw

from bridges.command_line.files.readers.extracted import PAGE_BREAK, Extracted
from bridges.command_line.files.readers.markdown_text import looks_like_names
from deployments.errors import InvalidRequestError
from deployments.text.characters import written_out
from deployments.values.documents import TextFormat

_RUNNING_HEAD_SHARE = 0.5
_RUNNING_HEAD_PAGES = 4
_SHORT_LINE = 0.6
_SHORTER_LINE = 0.9
_BROKEN_WORD = re.compile(r"\w-$")
_WORD = re.compile(r"\w+(?:-\w+)*")
_TITLE_NUMBER = re.compile(
    r"^(chapter |section |part |appendix )?([A-Z]|[IVXLC]+|\d+)(\.\d+)*[.:]?\s+(?=\S)", re.IGNORECASE
)
_DOT_LEADER = re.compile(r"(\. ?){5,}\s*\w*$")
"""What a line of a table of contents has between a title and its page."""
_SENTENCE_ENDS = (".", ":", "!", "?", "”", '"')
_HYPHENS = frozenset({0x02, 0xFFFE})
"""What PDFium gives for a hyphen at the end of a line."""
_LINE_ENDS = "\r\n"
_SAME_LINE = 0.5
"""Of a line's height, by which its letters may stand higher or lower."""
_GAP = 0.7
"""Of a line's height, that ends a piece of it behind a space."""
_MOST_ACROSS = 0.25
"""Of the pieces of a page in columns, that may go over all of them."""
_COLUMN_LINES = 4
_COLUMN_CHARACTERS = 18
"""Of the lines of a column at the median: the cells of a table have fewer."""
_OUTLINE_DEPTH = 8
_FEWEST_COLUMNS = 2
_FEWEST_ROWS = 3
_PIECE_CHARACTERS = 400
"""Of a table that are kept together, under the names of its columns."""
_HEADING_CHARACTERS = 80
_SLANT = 0.1
"""Of a quarter of a turn, by which letters may be turned more or less."""
_Box = tuple[float, float, float, float]
_Placed = tuple[str, _Box]
"""A character, and its left, lower, right and upper edge."""


def read_pdf(file: Path) -> Extracted:
    """Read a PDF."""
    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise InvalidRequestError("it is protected by a password") from error
        raise
    pages = [_lines(page) for page in document]
    if not any(pages):
        raise InvalidRequestError("no text can be read in it: its pages are pictures, or damaged")
    title = " ".join(written_out(document.get_metadata_value("Title")).replace("\x00", "").split())
    words = Counter(word.lower() for page in pages for line in page for word in _WORD.findall(line.text))
    blocks = list(_page_blocks(_without_running_heads(pages), _sections(document), words))
    text = "".join(PAGE_BREAK + "\n\n".join(page) + "\n" for page in _over_pages(blocks, words))
    return Extracted(text, TextFormat.PLAIN, title)


@dataclass(slots=True)
class _Run:
    """A piece of a line that is written at once, with its place on the page: `bottom` is below `top`."""

    text: str
    left: float
    right: float
    bottom: float
    top: float

    @property
    def height(self) -> float:
        return max(self.top - self.bottom, 1.0)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a page.

    Attributes:
        cells: Its pieces, which stand far apart, with the places where each begins and ends.
        begins: Whether it begins a part of the page, such as a column.
    """

    cells: tuple[tuple[str, float, float], ...]
    begins: bool = False

    @property
    def text(self) -> str:
        return " ".join(text for text, _, _ in self.cells)

    def is_row_like(self, other: Self) -> bool:
        """Say whether two lines have the same columns, as the rows of a table have."""
        if len(self.cells) != len(other.cells) or len(self.cells) < _FEWEST_COLUMNS:
            return False
        pairs = zip(self.cells, other.cells, strict=True)
        return all(one[1] < another[2] and another[1] < one[2] for one, another in pairs)


def _lines(page: Any) -> list[_Line]:
    """Return the lines of a page in the order in which they are read."""
    text_page = page.get_textpage()
    try:
        by_turn = _by_turn(text_page)
    finally:
        text_page.close()
        page.close()
    slanted = "".join(character for character, _ in by_turn.get(None, ()))
    lines = [line for turn in range(4) for line in _lines_at(by_turn.get(turn, ()), is_turned=turn > 0)]
    return [
        *lines,
        *(_Line(((text, 0.0, 0.0),), begins=True) for line in slanted.split("\n") if (text := line.strip())),
    ]


def _by_turn(text_page: Any) -> dict[int | None, list[_Placed]]:
    """Return the characters of a page by the quarters of a turn that they are turned; None where they are slanted.

    Their boxes are turned back, so that all are written from the left to the right.
    """
    found: dict[int | None, list[_Placed]] = {}
    turn: int | None = 0
    before: int | None = 0
    for index in range(text_page.count_chars()):
        character = _character(text_page, index)
        # What PDFium puts between the characters of a page has no angle.
        if not (character.isspace() or character == "-"):
            turn = _turn(raw.FPDFText_GetCharAngle(text_page.raw, index))
        if turn != before:
            found.setdefault(before, []).append(("\n", (0.0, 0.0, 0.0, 0.0)))
            before = turn
        box = text_page.get_charbox(index, loose=True)
        found.setdefault(turn, []).append((character, _turned_back(box, turn or 0)))
    return found


def _turn(angle: float) -> int | None:
    quarters = angle / (math.pi / 2)
    return round(quarters) % 4 if abs(quarters - round(quarters)) < _SLANT else None


def _turned_back(box: _Box, turn: int) -> _Box:
    left, bottom, right, top = box
    for _ in range(turn):
        left, bottom, right, top = -top, left, -bottom, right
    return left, bottom, right, top


def _lines_at(characters: Sequence[_Placed], *, is_turned: bool) -> Iterator[_Line]:
    runs = list(_runs(characters))
    # PDFium puts the pieces of a page in order as they are seen where the page is not turned.
    for part in _parts(_from_above(runs) if is_turned else runs):
        yield from _lines_of(part)


def _from_above(runs: Iterable[_Run]) -> list[_Run]:
    """Return pieces line by line, each line from the left."""
    lines: list[list[_Run]] = []
    for run in sorted(runs, key=lambda run: -(run.top + run.bottom)):
        if lines and abs(_middle(lines[-1][0]) - _middle(run)) < run.height * _SAME_LINE:
            lines[-1].append(run)
        else:
            lines.append([run])
    return [run for line in lines for run in sorted(line, key=lambda run: run.left)]


def _middle(run: _Run) -> float:
    return (run.bottom + run.top) / 2


def _lines_of(part: Sequence[_Run]) -> Iterator[_Line]:
    line: list[_Run] = []
    begins = True
    for run in [*part, None]:
        if line and (run is None or not _is_same_line(line[-1], run)):
            cells = ((_characters(piece.text), piece.left, piece.right) for piece in line)
            if whole := tuple(cell for cell in cells if cell[0]):
                yield _Line(whole, begins)
                begins = False
            line = []
        if run is not None:
            line.append(run)


def _characters(line: str) -> str:
    """Return a line whose characters beyond the first plane are whole; halves of them are left out."""
    return written_out(line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")).strip()


def _is_same_line(one: _Run, other: _Run) -> bool:
    return other.left >= one.left and abs(_middle(one) - _middle(other)) < min(one.height, other.height) * _SAME_LINE


def _runs(characters: Iterable[_Placed]) -> Iterator[_Run]:
    """Yield the pieces of the lines that characters make, in the order in which they are written."""
    current: _Run | None = None
    for character, (left, bottom, right, top) in characters:
        if character in _LINE_ENDS:
            yield from _ended(current)
            current = None
            continue
        if current is not None and _breaks(current, character, left, bottom, top):
            yield from _ended(current)
            current = None
        if current is None:
            current = _Run("", left, right, bottom, top)
        current.text += character
        if not character.isspace():
            current.right = max(current.right, right)
            current.bottom, current.top = min(current.bottom, bottom), max(current.top, top)
    yield from _ended(current)


def _character(text_page: Any, index: int) -> str:
    code = raw.FPDFText_GetUnicode(text_page.raw, index)
    return "-" if code in _HYPHENS else chr(code)


def _ended(run: _Run | None) -> Iterator[_Run]:
    if run is not None:
        # A soft hyphen is seen at the end of a line.
        run.text = re.sub("\u00ad$", "-", " ".join(run.text.split()))
        if run.text:
            yield run


def _breaks(run: _Run, character: str, left: float, bottom: float, top: float) -> bool:
    """Say whether a character begins another piece: on another line, or far behind a space."""
    if character.isspace() or top <= bottom:
        return False
    is_lower = (top + bottom) / 2 < run.bottom or (top + bottom) / 2 > run.top
    is_apart = run.text.endswith(" ") and left - run.right > run.height * _GAP
    return is_lower or is_apart or run.right - left > run.height


def _parts(runs: Sequence[_Run]) -> Iterator[Sequence[_Run]]:
    """Yield the parts of a page in the order in which they are read, each in the order in which it is written.

    A page in columns is read one column after the other, between the lines that go over all of them.
    """
    gutter = _gutter(runs)
    if gutter is None:
        yield runs
        return
    waiting: list[_Run] = []
    across = {id(run) for run in runs if run.left < gutter < run.right}
    for run in sorted(runs, key=lambda run: -(run.top + run.bottom)):
        if id(run) not in across:
            waiting.append(run)
            continue
        yield from _beside(runs, waiting, gutter)
        waiting.clear()
        yield [run]
    yield from _beside(runs, waiting, gutter)


def _beside(runs: Sequence[_Run], of_band: Sequence[_Run], gutter: float) -> Iterator[Sequence[_Run]]:
    """Yield what stands left and what stands right of a gutter in a band of a page."""
    wanted = {id(run) for run in of_band}
    in_order = [run for run in runs if id(run) in wanted]
    for column in (
        [run for run in in_order if run.right <= gutter],
        [run for run in in_order if run.right > gutter],
    ):
        if column:
            yield from _parts(column)


def _gutter(runs: Sequence[_Run]) -> float | None:
    """Return where a page is free between two columns of text; None where it has one column.

    The cells of a table are shorter than the lines of a column, so that its rows stay together.
    """
    if len(runs) < 2 * _COLUMN_LINES:
        return None
    best: tuple[int, float] | None = None
    for edge in sorted({round(run.left) for run in runs})[1:]:
        gutter = edge - 1.0
        left = [run for run in runs if run.right <= gutter]
        right = [run for run in runs if run.left >= gutter]
        across = len(runs) - len(left) - len(right)
        if across > len(runs) * _MOST_ACROSS or not (_is_column(left) and _is_column(right)) or not _face(left, right):
            continue
        if best is None or across < best[0]:
            best = (across, gutter)
    return None if best is None else best[1]


def _is_column(runs: Sequence[_Run]) -> bool:
    return len(runs) >= _COLUMN_LINES and statistics.median(len(run.text) for run in runs) >= _COLUMN_CHARACTERS


def _face(left: Sequence[_Run], right: Sequence[_Run]) -> bool:
    """Say whether two columns stand beside each other, and not one below the other."""
    lowest, highest = (
        max(min(run.bottom for run in side) for side in (left, right)),
        min(max(run.top for run in side) for side in (left, right)),
    )
    return highest - lowest > _COLUMN_LINES * statistics.median(run.height for run in left) / 2


def _sections(document: Any) -> dict[int, list[str]]:
    """Return the titles of the outline, in order, by the page, from 0, that each begins on."""
    sections: dict[int, list[str]] = {}
    for entry in document.get_toc(max_depth=_OUTLINE_DEPTH):
        target = entry.get_dest()
        page = target.get_index() if target is not None else None
        title = " ".join(written_out(entry.get_title()).split())
        if page is not None and title:
            sections.setdefault(page, []).append(title)
    return sections


def _without_running_heads(pages: Sequence[list[_Line]]) -> list[list[_Line]]:
    """Leave out what stands first or last on most pages, page numbers apart from their number."""

    def form(line: _Line) -> str:
        return re.sub(r"\d+|\b[ivxlc]+$", "#", line.text)

    if len(pages) < _RUNNING_HEAD_PAGES:
        return list(pages)
    edges = Counter(edge for page in pages for edge in {form(line) for line in (*page[:1], *page[-1:])})
    running = {line for line, count in edges.items() if count > len(pages) * _RUNNING_HEAD_SHARE}
    return [
        [line for at, line in enumerate(page) if at not in {0, len(page) - 1} or form(line) not in running]
        for page in pages
    ]


def _page_blocks(
    pages: Sequence[list[_Line]], sections: Mapping[int, Sequence[str]], words: Mapping[str, int]
) -> Iterator[list[str]]:
    """Yield the paragraphs of each page, and the headings of the sections that begin on it.

    A section begins where a line says its title; the first of a page that is not found so begins with the page.
    """
    for number, lines in enumerate(pages):
        entries = sections.get(number, ())
        by_form = {form: entry for entry in entries for form in _forms(entry)}
        printed = {form for line in lines for form in _forms(line.text)}
        blocks = [_heading(entry) for entry in entries if not _forms(entry) & printed]
        part: list[_Line] = []
        for line in lines:
            if entry := next((by_form[form] for form in _forms(line.text) if form in by_form), None):
                blocks += [*_blocks(part, words), _heading(entry)]
                part = []
            elif not _DOT_LEADER.search(line.text):
                part.append(line)
        yield [*blocks, *_blocks(part, words)]


def _blocks(lines: Sequence[_Line], words: Mapping[str, int]) -> Iterator[str]:
    """Yield the paragraphs and tables that lines make."""
    text: list[str] = []
    at = 0
    while at < len(lines):
        rows = 1
        while at + rows < len(lines) and lines[at].is_row_like(lines[at + rows]):
            rows += 1
        if lines[at].begins or rows >= _FEWEST_ROWS:
            yield from _paragraphs(text, words)
            text = []
        if rows >= _FEWEST_ROWS:
            yield from _table([[cell[0] for cell in line.cells] for line in lines[at : at + rows]])
            at += rows
        else:
            text.append(lines[at].text)
            at += 1
    yield from _paragraphs(text, words)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table in pieces that each begin with the names of its columns, where it has some."""
    head, *rest = [" | ".join(row) for row in rows]
    names = head if looks_like_names(rows) else ""
    piece = head
    for row in rest:
        if len(piece) + len(row) > _PIECE_CHARACTERS:
            yield piece
            piece = names
        piece = f"{piece}\n{row}".strip()
    yield piece


def _heading(title: str) -> str:
    """Return a heading of plain text. All sections stand below the title alone.

    With the sections around it, too, above each chunk, retrieval found a right passage less of 32 first.
    """
    shown = title[:_HEADING_CHARACTERS]
    return f"{shown}\n{'-' * max(len(shown), 3)}"


def _forms(title: str) -> set[str]:
    """Return a title for comparison: in lower case, with its number and without."""
    return {" ".join(form.lower().split()) for form in (title, _TITLE_NUMBER.sub("", title))}


def _over_pages(pages: list[list[str]], words: Mapping[str, int]) -> list[list[str]]:
    """Give the end of a paragraph that goes over to the next page back to the page on which it begins."""
    for page, following in pairwise(pages):
        if page and following and _goes_on(page[-1], following[0]):
            page[-1] = _joined(page[-1], following.pop(0), words)
    return pages


def _goes_on(paragraph: str, following: str) -> bool:
    is_open = "\n" not in paragraph and not paragraph.endswith(_SENTENCE_ENDS)
    return is_open and following[:1].islower() and "\n" not in following


def _paragraphs(lines: Sequence[str], words: Mapping[str, int]) -> Iterator[str]:
    """Join lines that were broken for the page, and words that were broken for the line.

    A paragraph ends with a line that is clearly shorter than the others, or somewhat shorter behind a full stop.
    """
    if not lines:
        return
    longest = statistics.quantiles([*map(len, lines), len(lines[0])], n=10)[-1]
    paragraph = ""
    for line in lines:
        paragraph = _joined(paragraph, line, words) if paragraph else line
        share = len(line) / longest
        ends = share < _SHORT_LINE or (share < _SHORTER_LINE and line.endswith(_SENTENCE_ENDS))
        if ends and not _BROKEN_WORD.search(line):
            yield paragraph
            paragraph = ""
    if paragraph:
        yield paragraph


def _joined(text: str, line: str, words: Mapping[str, int]) -> str:
    """Join two lines; a word that is broken between them keeps its hyphen where the document writes it so elsewhere."""
    if not (_BROKEN_WORD.search(text) and line[:1].islower()):
        return f"{text} {line}"
    first, second = re.findall(r"[\w-]+$", text)[0].lower(), re.findall(r"^\w+", line)[0].lower()
    with_hyphen, without = words.get(first + second, 0), words.get(first[:-1] + second, 0)
    return text + line if with_hyphen > without else text[:-1] + line
