"""Text out of the files that people have: HTML, PDF, Markdown, plain text.

HTML and PDF are read in processes of their own, with bounds on memory and time, because a file may be made to exhaust
whoever reads it.
"""

import asyncio
import logging
import multiprocessing
import re
import resource
import statistics
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from deployments.errors import InvalidRequestError
from deployments.values.documents import TextFormat

MAX_FILE_BYTES = 100_000_000
"""Larger files are refused unless the command says otherwise."""

EXTRACTION = "2"
"""Which way of reading this is: another one, other text out of the same file."""

_MAX_CHARACTERS = 50_000_000
"""Of the text of one file: some 25,000 pages."""
_MEMORY_BYTES = 2 << 30
_SECONDS = 120.0
_PROCESSES = 2
_NO_TEXT_HTML = ("script", "style", "noscript", "template", "nav", "footer", "aside", "form", "svg", "button", "iframe")
_AROUND_TEXT = ", ".join(
    f".{name}"
    for name in (
        *("toc", "navheader", "navfooter", "navbar", "breadcrumb", "breadcrumbs", "headerlink"),
        *("sphinxsidebar", "sphinxsidebarwrapper", "related", "footer", "sidebar"),
    )
)
"""What the common writers of documentation call the parts of a page that lead elsewhere."""
_RUNNING_HEAD_SHARE = 0.5
_RUNNING_HEAD_PAGES = 4
_SHORT_LINE = 0.6
_SHORTER_LINE = 0.9
_BROKEN_WORD = re.compile(r"\w-$")
_TITLE_NUMBER = re.compile(
    r"^(chapter |section |part |appendix )?([A-Z]|[IVXLC]+|\d+)(\.\d+)*[.:]?\s+(?=\S)", re.IGNORECASE
)
_DOT_LEADER = re.compile(r"(\. ?){5,}\s*\w*$")
"""What a line of a table of contents has between a title and its page."""
_SENTENCE_ENDS = (".", ":", "!", "?", "”", '"')


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file.

    Attributes:
        text: As `format` says.
        format: How it is to be read.
        title: What the document calls itself; empty where it does not.
    """

    text: str
    format: TextFormat
    title: str = ""


class Extractor:
    """Reads files; to be used as a context, for its processes.

    Args:
        max_bytes: Larger files are refused.
    """

    def __init__(self, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._processes: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    async def extract(self, file: Path) -> Extracted:
        """Return the text of a file.

        Raises:
            InvalidRequestError: It is too large, damaged, protected, holds no text, or takes too much to read; the
                message says which.
            OSError: It cannot be read.
        """
        size = (await asyncio.to_thread(file.stat)).st_size
        if size > self._max_bytes:
            raise InvalidRequestError(f"it has {_megabytes(size)}: at most {_megabytes(self._max_bytes)} are taken")
        read = READERS[file.suffix.lower()]
        if read in {_read_plain, _read_markdown}:
            return await asyncio.to_thread(read, file)
        return await self._apart(read, file)

    async def _apart(self, read: Callable[[Path], Extracted], file: Path) -> Extracted:
        if self._processes is None:
            # Not forked: this process has threads, and a client of NATS.
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(_PROCESSES, context, _prepare_process)
        reading = asyncio.get_running_loop().run_in_executor(self._processes, _guarded, read, file)
        try:
            async with asyncio.timeout(_SECONDS):
                result = await reading
        except TimeoutError:
            self._end()
            raise InvalidRequestError(f"it was not read within {_SECONDS:g} s") from None
        except BrokenProcessPool:
            self._end()
            raise InvalidRequestError("the process that read it has died, or another file's reader with it") from None
        if isinstance(result, str):
            raise InvalidRequestError(result)
        return result

    def _end(self) -> None:
        processes, self._processes = self._processes, None
        if processes is None:
            return
        # There is no public way to end a process that does not come back.
        for process in list(cast("dict[int, Any]", processes._processes or {}).values()):  # noqa: SLF001
            process.kill()
        processes.shutdown(wait=True, cancel_futures=True)


def _prepare_process() -> None:
    # What is wrong with a file is told once, by its error.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _guarded(read: Callable[[Path], Extracted], file: Path) -> Extracted | str:
    """Read a file in this process; return what is wrong with it as text, for not every library's errors can travel."""
    try:
        return read(file)
    except InvalidRequestError as error:
        return error.message
    except MemoryError:
        return f"reading it takes more than {_megabytes(_MEMORY_BYTES)} of memory"
    except RecursionError:
        return "it is nested too deeply"
    except ImportError as error:
        return f"{error.name} is not installed, which reads such files: it comes with the extra `documents`"
    except Exception as error:  # noqa: BLE001 - whatever a library makes of a damaged file
        return f"it is damaged: {' '.join(str(error).split())[:200] or type(error).__name__}"


def _read_plain(file: Path) -> Extracted:
    return Extracted(_decoded(file), TextFormat.PLAIN)


def _read_markdown(file: Path) -> Extracted:
    return Extracted(_decoded(file), TextFormat.MARKDOWN)


def _decoded(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"it is not UTF-8 text (byte {error.start})") from error


def _read_html(file: Path) -> Extracted:
    # Imported where they are used: they come with an extra, and into the reading process alone.
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning  # noqa: PLC0415
    from markdownify import MarkdownConverter  # noqa: PLC0415

    # XHTML is read as HTML, which needs no word to the user.
    warnings.filterwarnings("ignore", category=XMLParsedAsHTMLWarning)
    soup = BeautifulSoup(file.read_bytes(), "lxml")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for element in (*soup.find_all(_NO_TEXT_HTML), *soup.find_all(role="navigation"), *soup.select(_AROUND_TEXT)):
        element.decompose()
    body = soup.find("main") or soup.find("article") or soup.body or soup
    converter = cast("Any", MarkdownConverter)(heading_style="ATX", bullets="-", strip=["a", "img"], escape_misc=True)
    text = _bounded(str(converter.convert_soup(body)).strip())
    if not text:
        raise InvalidRequestError("it holds no text")
    return Extracted(text, TextFormat.MARKDOWN, title)


def _read_pdf(file: Path) -> Extracted:
    from pypdf import PdfReader  # noqa: PLC0415

    reader = PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        raise InvalidRequestError("it is protected by a password")
    pages = [_lines(page.extract_text()) for page in reader.pages]
    if not any(pages):
        raise InvalidRequestError("no text can be read in it: its pages are pictures, or damaged")
    title = str((reader.metadata.title if reader.metadata else "") or "").strip()
    sections = _sections(reader)
    return Extracted(_bounded("\n\n".join(_paged(_without_running_heads(pages), sections))), TextFormat.PLAIN, title)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _sections(reader: Any) -> dict[int, list[str]]:
    """Return the titles of the outline, in order, by the page, from 0, that each begins on."""
    sections: dict[int, list[str]] = {}

    def collect(entries: Sequence[Any]) -> None:
        for entry in entries:
            if isinstance(entry, list):
                collect(cast("list[Any]", entry))
                continue
            page = reader.get_destination_page_number(entry)
            if page is not None:
                sections.setdefault(page, []).append(" ".join(str(entry.title).split()))

    collect(reader.outline)
    return sections


def _without_running_heads(pages: Sequence[list[str]]) -> list[list[str]]:
    """Leave out what stands first or last on most pages, page numbers apart from their number."""

    def form(line: str) -> str:
        return re.sub(r"\d+", "#", line)

    if len(pages) < _RUNNING_HEAD_PAGES:
        return list(pages)
    edges = Counter(form(line) for page in pages for line in {*page[:1], *page[-1:]})
    running = {line for line, count in edges.items() if count > len(pages) * _RUNNING_HEAD_SHARE}
    return [
        [line for at, line in enumerate(page) if at not in {0, len(page) - 1} or form(line) not in running]
        for page in pages
    ]


def _paged(pages: Sequence[list[str]], sections: Mapping[int, Sequence[str]]) -> Iterator[str]:
    """Yield the text of each section on each page, under a heading that names both.

    A section begins where a line says its title; the first of a page that is not found so begins with the page.
    """
    section = ""
    for number, lines in enumerate(pages):
        titles = sections.get(number, ())
        by_form = {form: title for title in titles for form in _forms(title)}
        printed = {form for line in lines for form in _forms(line)}
        section = next((title for title in titles if not _forms(title) & printed), section)
        parts: list[tuple[str, list[str]]] = [(section, [])]
        for line in lines:
            if title := next((by_form[form] for form in _forms(line) if form in by_form), ""):
                section = title
                parts.append((title, []))
            elif not _DOT_LEADER.search(line):
                parts[-1][1].append(line)
        for title, part in parts:
            if part:
                heading = f"{title[:60]}, page {number + 1}" if title else f"Page {number + 1}"
                # Underlined so, it stands below the document's title.
                yield f"{heading}\n{'-' * len(heading)}\n\n" + "\n\n".join(_paragraphs(part))


def _forms(title: str) -> set[str]:
    """Return a title for comparison: in lower case, with its number and without."""
    return {" ".join(form.lower().split()) for form in (title, _TITLE_NUMBER.sub("", title))}


def _paragraphs(lines: Sequence[str]) -> Iterator[str]:
    """Join lines that were broken for the page, and words that were broken for the line.

    A paragraph ends with a line that is clearly shorter than the others, or somewhat shorter behind a full stop.
    """
    longest = statistics.quantiles([*map(len, lines), len(lines[0])], n=10)[-1]
    paragraph = ""
    for line in lines:
        is_broken_word = bool(_BROKEN_WORD.search(paragraph)) and line[:1].islower()
        joined = paragraph[:-1] + line if is_broken_word else f"{paragraph} {line}"
        paragraph = joined if paragraph else line
        share = len(line) / longest
        ends = share < _SHORT_LINE or (share < _SHORTER_LINE and line.endswith(_SENTENCE_ENDS))
        if ends and not _BROKEN_WORD.search(line):
            yield paragraph
            paragraph = ""
    if paragraph:
        yield paragraph


def _bounded(text: str) -> str:
    if len(text) > _MAX_CHARACTERS:
        raise InvalidRequestError(f"its text has {len(text)} characters: at most {_MAX_CHARACTERS} are taken")
    return text


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


READERS: dict[str, Callable[[Path], Extracted]] = {
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".txt": _read_plain,
    ".text": _read_plain,
    ".html": _read_html,
    ".htm": _read_html,
    ".xhtml": _read_html,
    ".pdf": _read_pdf,
}
"""How files are read, by the end of their names."""
