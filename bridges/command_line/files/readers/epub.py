"""Books in EPUB: their chapters in the order of the book."""

from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

from bridges.command_line.files.readers.archives import archive_of, xml_of
from bridges.command_line.files.readers.extracted import Extracted
from bridges.command_line.files.readers.web_page import html_text
from deployments.errors import InvalidRequestError
from deployments.values.documents import TextFormat

_CONTAINER = "META-INF/container.xml"
_PAGE_NAMES = (".xhtml", ".html", ".htm")
_PAGES = ("application/xhtml+xml", "text/html", "application/html+xml")


def read_epub(file: Path) -> Extracted:
    """Read a book."""
    with archive_of(file) as archive:
        if "META-INF/rights.xml" in archive.namelist():
            raise InvalidRequestError("it is protected against copying")
        root = _package_path(archive)
        package = xml_of(archive.read(root))
        title = package.findtext(".//{*}metadata/{*}title") or ""
        chapters = [html_text(archive.read(path)) for path in _chapters(archive, package, PurePosixPath(root).parent)]
    text = "\n\n".join(chapter.text for chapter in chapters if chapter.text)
    return Extracted(text, TextFormat.MARKDOWN, " ".join(title.split()))


def _package_path(archive: ZipFile) -> str:
    """Return where a book says what is in it."""
    if _CONTAINER in archive.namelist():
        found = xml_of(archive.read(_CONTAINER)).find(".//{*}rootfile")
        if found is not None and found.get("full-path") in archive.namelist():
            return str(found.get("full-path"))
    packages = [name for name in archive.namelist() if name.lower().endswith(".opf")]
    if not packages:
        raise InvalidRequestError("it is damaged: it does not say what is in it")
    return packages[0]


def _chapters(archive: ZipFile, package: Any, folder: PurePosixPath) -> list[str]:
    """Return the paths of a book's chapters: in its order, else as they are listed, else all there are."""
    items = {item.get("id"): item for item in package.iterfind(".//{*}manifest/{*}item")}
    order = [reference.get("idref") for reference in package.iterfind(".//{*}spine/{*}itemref")]
    listed = [items[name] for name in order if name in items] or list(items.values())
    pages = [item for item in listed if item.get("media-type") in _PAGES and "nav" not in item.get("properties", "")]
    paths = [normpath(str(folder / unquote(item.get("href", "")))) for item in pages]
    there = archive.namelist()
    return [path for path in paths if path in there] or sorted(path for path in there if path.endswith(_PAGE_NAMES))
