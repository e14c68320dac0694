"""Documents, tables and slides of LibreOffice and its kin, as Markdown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bridges.command_line.files.readers.archives import archive_of, xml_of
from bridges.command_line.files.readers.extracted import PAGE_BREAK, Extracted
from bridges.command_line.files.readers.markdown_text import escaped, heading, table
from deployments.errors import InvalidRequestError
from deployments.values.documents import TextFormat

_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
_DRAW = "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
_MANIFEST = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
_DC = "http://purl.org/dc/elements/1.1/"
_NOT_TEXT = frozenset(
    {f"{{{_TEXT}}}tracked-changes", f"{{{_OFFICE}}}forms", f"{{{_TEXT}}}table-of-content", f"{{{_TEXT}}}sequence-decls"}
)
_MOST_REPEATED = 100
"""Times that one cell stands in a row: more of them fill the sheet to its end."""


def read_open_document(file: Path) -> Extracted:
    """Read a text, a table or slides."""
    with archive_of(file) as archive:
        manifest = xml_of(archive.read("META-INF/manifest.xml"))
        if manifest.find(f".//{{{_MANIFEST}}}encryption-data") is not None:
            raise InvalidRequestError("it is protected by a password")
        content = xml_of(archive.read("content.xml"))
        meta = xml_of(archive.read("meta.xml")) if "meta.xml" in archive.namelist() else None
    body = content.find(f"{{{_OFFICE}}}body")
    blocks = [] if body is None else list(_blocks(body))
    title = meta.findtext(f".//{{{_DC}}}title") if meta is not None else ""
    return Extracted("\n\n".join(block for block in blocks if block), TextFormat.MARKDOWN, (title or "").strip())


def _blocks(parent: Any) -> Iterator[str]:
    for element in parent:
        if element.tag in _NOT_TEXT or not isinstance(element.tag, str):
            continue
        space, name = element.tag[1:].split("}")
        match (space, name):
            case (_, "h") if space == _TEXT:
                yield heading(int(element.get(f"{{{_TEXT}}}outline-level", "1")), _text(element))
            case (_, "p") if space == _TEXT:
                yield from _paragraph(element)
            case (_, "list-item" | "list-header") if space == _TEXT:
                yield from _item(element)
            case (_, "table") if space == _TABLE:
                yield from _sheet(element)
            case (_, "page") if space == _DRAW:
                yield PAGE_BREAK
                yield from _blocks(element)
            case _:
                yield from _blocks(element)


def _paragraph(element: Any) -> Iterator[str]:
    if text := _text(element):
        yield escaped(text)
    # Frames of text and pictures hang on a paragraph.
    for frame in element.iter(f"{{{_DRAW}}}text-box", f"{{{_TABLE}}}table"):
        yield from _blocks(frame) if frame.tag != f"{{{_TABLE}}}table" else _sheet(frame)
    for note in element.iter(f"{{{_TEXT}}}note-body"):
        yield escaped(" ".join(_text(part) for part in note))


def _item(element: Any) -> Iterator[str]:
    first, *further = list(_blocks(element)) or [""]
    if first:
        yield first if first.startswith("- ") else f"- {first}"
    yield from further


def _text(element: Any) -> str:
    return " ".join("".join(_pieces(element)).split())


def _pieces(element: Any) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        local = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
        if local in {"s", "tab", "line-break"}:
            yield " "
        elif local in {"title", "desc"}:
            yield f" {child.text or ''} "
        elif local == "note":
            yield " "
            yield from _pieces(child.find(f"{{{_TEXT}}}note-citation"))
        elif local not in {"text-box", "annotation", ""} and child.tag != f"{{{_TABLE}}}table":
            yield from _pieces(child)
        yield child.tail or ""


def _sheet(element: Any) -> Iterator[str]:
    """Yield a table; in a workbook under the name of its sheet."""
    text = table(list(_rows(element)))
    parent = element.getparent()
    is_sheet = parent is not None and parent.tag == f"{{{_OFFICE}}}spreadsheet"
    if text and is_sheet and (name := element.get(f"{{{_TABLE}}}name")):
        yield heading(1, name)
    yield text


def _rows(element: Any) -> Iterator[Sequence[str]]:
    for row in element.iter(f"{{{_TABLE}}}table-row"):
        cells: list[str] = []
        for cell in row:
            if not isinstance(cell.tag, str) or not cell.tag.endswith(("}table-cell", "}covered-table-cell")):
                continue
            times = int(cell.get(f"{{{_TABLE}}}number-columns-repeated", "1"))
            text = "\n".join(_text(part) for part in cell.iter(f"{{{_TEXT}}}p", f"{{{_TEXT}}}h"))
            cells += [text] * min(times, _MOST_REPEATED)
        if any(cells):
            yield cells
