"""Text out of the files that people have.

Files are read in processes of their own, with bounds on memory and time, because a file may be made to exhaust whoever
reads it.
"""

import asyncio
import multiprocessing
import resource
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from bridges.command_line.files.readers.extracted import Extracted, Reader
from deployments.errors import InvalidRequestError
from deployments.text.characters import written_out

MAX_FILE_BYTES = 100_000_000
"""Larger files are refused unless the command says otherwise."""

EXTRACTION = "4"
"""Which way of reading this is: another one, other text out of the same file."""

READERS: Mapping[str, str] = {
    suffix: reader
    for reader, suffixes in {
        "text_files:read_markdown": (".md", ".markdown"),
        "text_files:read_plain": (".txt", ".text"),
        "text_files:read_separated_values": (".csv", ".tsv"),
        "text_files:read_json": (".json", ".jsonl", ".ndjson"),
        "restructured_text:read_restructured_text": (".rst",),
        "web_page:read_html": (".html", ".htm", ".xhtml"),
        "pdf:read_pdf": (".pdf",),
        "office:read_docx": (".docx",),
        "office:read_xlsx": (".xlsx",),
        "office:read_pptx": (".pptx",),
        "open_document:read_open_document": (".odt", ".ods", ".odp"),
        "epub:read_epub": (".epub",),
        "mail:read_mail": (".eml",),
    }.items()
    for suffix in suffixes
}
"""Which function of `readers` reads a file, by the end of its name. The modules need packages of an extra, and are
imported into the processes that read."""

_ROOM = "bridges.command_line.files.readers"
_MAX_CHARACTERS = 50_000_000
"""Of the text of one file: some 25,000 pages."""
_MEMORY_BYTES = 2 << 30
_SECONDS = 120.0
_PROCESSES = 2


class Extractor:
    """Reads files; to be used as a context, for its processes.

    Args:
        max_bytes: Larger files are refused.
    """

    def __init__(self, max_bytes: int = MAX_FILE_BYTES) -> None:
        self._max_bytes = max_bytes
        # One process each, so that a file that ends its reader takes no other file along.
        self._idle: list[ProcessPoolExecutor] = []
        self._places = asyncio.Semaphore(_PROCESSES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._idle:
            _end(self._idle.pop())

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
        async with self._places:
            result = await self._apart(READERS[file.suffix.lower()], file)
        if isinstance(result, str):
            raise InvalidRequestError(result)
        return result

    async def _apart(self, reader: str, file: Path) -> Extracted | str:
        """Read a file in a process of its own, which is kept for the next file if it comes back."""
        # Not forked: this process has threads, and a client of NATS.
        spawn = multiprocessing.get_context("spawn")
        process = self._idle.pop() if self._idle else ProcessPoolExecutor(1, spawn, _prepare_process)
        comes_back = False
        try:
            async with asyncio.timeout(_SECONDS):
                result = await asyncio.get_running_loop().run_in_executor(process, _guarded, reader, file)
            comes_back = True
        except TimeoutError:
            return f"it was not read within {_SECONDS:g} s"
        except BrokenProcessPool:
            return "the process that read it has died"
        finally:
            if comes_back:
                self._idle.append(process)
            else:
                _end(process)
        return result


def _end(pool: ProcessPoolExecutor) -> None:
    # There is no public way to end a process that does not come back.
    for process in list(cast("dict[int, Any]", pool._processes or {}).values()):  # noqa: SLF001
        process.kill()
    pool.shutdown(wait=True, cancel_futures=True)


def _prepare_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _guarded(reader: str, file: Path) -> Extracted | str:
    """Read a file in this process; return what is wrong with it as text, for not every library's errors can travel."""
    try:
        extracted = _read(reader, file)
    except Exception as error:  # noqa: BLE001 - whatever a library makes of a damaged file
        return _reason(error)
    return extracted if extracted.text.strip() else "it holds no text"


def _reason(error: Exception) -> str:
    match error:
        case InvalidRequestError():
            return error.message
        case MemoryError():
            return f"reading it takes more than {_megabytes(_MEMORY_BYTES)} of memory"
        case RecursionError():
            return "it is nested too deeply"
        case ImportError():
            return f"{error.name} is not installed, which reads such files: it comes with the extra `documents`"
        case OSError() if error.strerror:
            return f"it cannot be read: {error.strerror}"
        case _:
            return f"it is damaged: {' '.join(str(error).split())[:200] or type(error).__name__}"


def _read(reader: str, file: Path) -> Extracted:
    module, function = reader.split(":")
    read = cast("Reader", getattr(import_module(f"{_ROOM}.{module}"), function))
    extracted = read(file)
    return replace(extracted, text=_bounded(written_out(extracted.text)), title=written_out(extracted.title))


def _bounded(text: str) -> str:
    if len(text) > _MAX_CHARACTERS:
        raise InvalidRequestError(f"its text has {len(text)} characters: at most {_MAX_CHARACTERS} are taken")
    return text


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
