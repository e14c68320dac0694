"""Documents, tables and slides of office programs, as Markdown."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile

import mammoth
from openpyxl import load_workbook
from pptx import Presentation

from bridges.command_line.files.readers.archives import archive_of, xml_of
from bridges.command_line.files.readers.extracted import PAGE_BREAK, Extracted
from bridges.command_line.files.readers.markdown_text import escaped, heading, table
from bridges.command_line.files.readers.web_page import markdown_of, page_of
from deployments.errors import InvalidRequestError
from deployments.values.documents import TextFormat

_STYLES = """
p[style-name='Title'] => p.title:fresh
p[style-name='Subtitle'] => p:fresh
comment-reference => sup
"""
_MOST_CELLS = 5_000_000


def read_docx(file: Path) -> Extracted:
    """Read a document of Word. Its footnotes stand below the paragraphs that they belong to."""
    with archive_of(file) as archive:
        title = _title_of(archive)
        with file.open("rb") as content:
            word = cast("Any", mammoth)
            images = word.images.img_element(_alt_only)
            page = page_of(word.convert_to_html(content, style_map=_STYLES, convert_image=images).value)
    for note in page.select('li[id^="footnote-"], li[id^="endnote-"]'):
        _move_note(page, note)
    if (printed := page.select_one("p.title")) is not None:
        title = " ".join(printed.get_text(" ").split())
        printed.decompose()
    return Extracted(markdown_of(page) or escaped(title), TextFormat.MARKDOWN, title)


def _title_of(archive: ZipFile) -> str:
    """Return the title that a document's properties say; empty where they say none."""
    properties = "docProps/core.xml"
    title = xml_of(archive.read(properties)).findtext("{*}title") if properties in archive.namelist() else ""
    return " ".join((title or "").split())


def _move_note(page: Any, note: Any) -> None:
    reference = page.find("a", href=f"#{note['id']}")
    for back in note.select('a[href^="#footnote-ref"], a[href^="#endnote-ref"]'):
        back.decompose()
    place = reference.find_parent(["p", "li", "table", "h1", "h2", "h3", "h4", "h5", "h6"]) if reference else None
    if reference is None or place is None:
        return
    mark = reference.get_text(strip=True).strip("[]")
    reference.string = mark
    note.name = "p"
    note.insert(0, f"{mark} ")
    for paragraph in note.find_all("p"):
        paragraph.unwrap()
    (reference.find_parent("table") or place).insert_after(note.extract())


def _alt_only(image: Any) -> dict[str, str]:
    return {"alt": image.alt_text or ""}


def read_xlsx(file: Path) -> Extracted:
    """Read a workbook of Excel: each sheet as a table under its name. Of a formula, its last result is read."""
    with archive_of(file):
        book = load_workbook(file, read_only=True, data_only=True)
    try:
        parts: list[str] = []
        for sheet in book.worksheets:
            text = table(_rows(sheet))
            if text:
                parts += [heading(1, sheet.title), text]
        title = str(book.properties.title or "")
    finally:
        book.close()
    return Extracted("\n\n".join(parts), TextFormat.MARKDOWN, title)


def _rows(sheet: Any) -> Iterator[Sequence[str]]:
    """Yield the rows of a sheet that hold something, each up to its last cell that does.

    Raises:
        InvalidRequestError: There are too many cells.
    """
    # Some programs write a size that is not the sheet's.
    sheet.reset_dimensions()
    left = _MOST_CELLS
    for row in sheet.iter_rows(values_only=True):
        cells = [_shown(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        left -= len(cells)
        if left < 0:
            raise InvalidRequestError(f"a sheet of it has more than {_MOST_CELLS:,} cells")
        if cells:
            yield cells


def _shown(value: Any) -> str:
    """Return a value as a reader of the sheet sees it, near enough."""
    match value:
        case None:
            return ""
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.isoformat(" ", "minutes")
        case date() | time():
            return value.isoformat()
        case float():
            return f"{value:.12g}"
        case _:
            return str(value).strip()


def read_pptx(file: Path) -> Extracted:
    """Read slides of PowerPoint: each a page, its title a heading, its notes below it."""
    with archive_of(file):
        slides = Presentation(str(file))
    parts = [PAGE_BREAK + "\n\n".join(_slide(slide)) + "\n\n" for slide in slides.slides]
    return Extracted("".join(parts), TextFormat.MARKDOWN, slides.core_properties.title or "")


def _slide(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    if title is not None and title.text_frame.text.strip():
        yield heading(2, title.text_frame.text)
    for shape in slide.shapes:
        if title is None or shape.shape_id != title.shape_id:
            yield from _shape(shape)
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
        yield from _paragraphs(notes)


def _shape(shape: Any) -> Iterator[str]:
    if hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _shape(inner)
    elif getattr(shape, "has_table", False):
        yield table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif shape.has_text_frame:
        yield from _paragraphs(shape.text_frame)
    elif alt := shape._element.xpath("string(.//p:cNvPr/@descr)"):  # noqa: SLF001 - the library does not give it
        yield escaped(" ".join(alt.split()))


def _paragraphs(frame: Any) -> Iterator[str]:
    for paragraph in frame.paragraphs:
        if text := " ".join(paragraph.text.split()):
            yield escaped(text)
