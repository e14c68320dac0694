"""Files that are text: plain, Markdown, tables of separated values, JSON."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, cast

from bridges.command_line.files.readers.encoding import decode
from bridges.command_line.files.readers.extracted import PAGE_BREAK, Extracted
from bridges.command_line.files.readers.markdown_text import escaped, table
from deployments.errors import InvalidRequestError
from deployments.values.documents import TextFormat

_DELIMITERS = ",;\t|"
_SNIFFED_LINES = 50
_TOLD_DELIMITER = re.compile(r'"?sep=(?P<delimiter>[^\n"])"?[ \t]*\n', re.IGNORECASE)
"""The first line, by which Excel is told what stands between the values."""
_MOST_LINES = 1000
"""Of one row, in the values of which lines may end."""
_DELIMITERS_OF_A_ROW = 2
"""From which on a line in a value looks like a row, if it has as many as the others."""


def read_plain(file: Path) -> Extracted:
    """Read plain text."""
    decoded = decode(file.read_bytes())
    return Extracted(decoded.text, TextFormat.PLAIN, guesses=decoded.guesses)


def read_markdown(file: Path) -> Extracted:
    """Read Markdown."""
    decoded = decode(file.read_bytes())
    return Extracted(decoded.text, TextFormat.MARKDOWN, guesses=decoded.guesses)


def read_separated_values(file: Path) -> Extracted:
    """Read a table of values between commas, semicolons, tabs or bars; its first row names the columns."""
    decoded = decode(file.read_bytes())
    csv.field_size_limit(len(decoded.text) + 1)
    told = _TOLD_DELIMITER.match(decoded.text)
    lines = _lines(decoded.text[told.end() :] if told else decoded.text)
    read = _SeparatedRows(told["delimiter"] if told else _delimiter(lines[:_SNIFFED_LINES], file.suffix.lower()))
    text = table(read.rows(lines), has_names=True)
    return Extracted(text, TextFormat.MARKDOWN, guesses=(*decoded.guesses, *read.guesses()))


def _lines(text: str) -> list[str]:
    """Return the lines of a text with their ends, which are line feeds and nothing else that Unicode calls an end."""
    return list(StringIO(text, newline="\n"))


def _delimiter(lines: Sequence[str], suffix: str) -> str:
    """Return the delimiter that cuts the first lines into the same number of fields, the most of them."""
    if suffix == ".tsv":
        return "\t"

    def fitness(delimiter: str) -> tuple[float, int]:
        counts = [len(row) for row in _SeparatedRows(delimiter).rows(lines) if row]
        usual = max(counts, key=counts.count, default=1)
        return (counts.count(usual) / len(counts) if usual > 1 else 0.0, usual)

    return max(_DELIMITERS, key=fitness)


@dataclass(slots=True)
class _SeparatedRows:
    """Reads rows of separated values. A quote that opens and does not end its value swallows no other row."""

    delimiter: str
    _unpaired: int = 0

    def rows(self, lines: Sequence[str]) -> Iterator[list[str]]:
        """Yield the rows of a table."""
        at = 0
        while at < len(lines):
            row = self._strictly(lines[at : at + 1])
            end = at + 1
            if row is None:
                end = self._end_of_row(lines, at)
                row = self._strictly(lines[at:end]) if end > at + 1 else None
            if row is None or (end > at + 1 and self._are_rows(lines[at:end])):
                end = at + 1
                row = self._without_quotes(lines[at])
            yield row
            at = end

    def guesses(self) -> tuple[str, ...]:
        """Return what was not sure in the rows so far."""
        if not self._unpaired:
            return ()
        where = "a row" if self._unpaired == 1 else f"{self._unpaired} rows"
        return (f"the quotes in {where} of it do not pair: each of its lines was read as a row",)

    def _strictly(self, lines: Sequence[str]) -> list[str] | None:
        """Return what lines say as one row; None where they are none."""
        try:
            rows = list(csv.reader(lines, delimiter=self.delimiter, strict=True))
        except csv.Error:
            return None
        return rows[0] if len(rows) == 1 else None

    def _end_of_row(self, lines: Sequence[str], at: int) -> int:
        """Return where the row ends that begins with a line whose quotes do not pair."""
        quotes = 0
        for end in range(at, min(at + _MOST_LINES, len(lines))):
            quotes += lines[end].count('"')
            if quotes % 2 == 0:
                return end + 1
        return at + 1

    def _are_rows(self, lines: Sequence[str]) -> bool:
        """Say whether lines that may be one row look like a row each."""
        counts = {line.count(self.delimiter) for line in lines}
        return len(counts) == 1 and counts.pop() >= _DELIMITERS_OF_A_ROW

    def _without_quotes(self, line: str) -> list[str]:
        if line.count('"') % 2 == 0:
            return next(csv.reader([line], delimiter=self.delimiter))
        self._unpaired += 1
        return next(csv.reader([line], delimiter=self.delimiter, quoting=csv.QUOTE_NONE))


def read_json(file: Path) -> Extracted:
    """Read JSON, or JSON line by line: each value behind the names that lead to it, lists of records as tables."""
    decoded = decode(file.read_bytes())
    try:
        value: Any = _json_of(decoded.text, by_line=file.suffix.lower() != ".json")
    except ValueError as error:
        raise InvalidRequestError(f"it is not JSON: {error}") from error
    title = cast("Mapping[str, Any]", value).get("title") if isinstance(value, dict) else ""
    text = "\n\n".join(_json_blocks("", value))
    return Extracted(text, TextFormat.MARKDOWN, title if isinstance(title, str) else "", decoded.guesses)


def _json_of(text: str, *, by_line: bool) -> Any:
    if by_line:
        return [json.loads(line) for line in _lines(text) if line.strip()]
    return json.loads(text)


def _json_blocks(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield from _json_blocks(f"{name}.{key}" if name else str(key), inner)
        return
    if not isinstance(value, list):
        if value not in (None, ""):
            yield escaped(f"{name}: {_scalar(value)}" if name else _scalar(value))
        return
    items = cast("Sequence[Any]", value)
    if records := _records(items):
        if name:
            yield escaped(f"{name}:")
        yield table(records, has_names=True)
    elif all(not isinstance(item, dict | list) for item in items):
        line = ", ".join(_scalar(item) for item in items)
        yield escaped(f"{name}: {line}" if name else line)
    else:
        for number, item in enumerate(items, 1):
            yield from _json_blocks(f"{name} {number}".strip(), item)


def _records(items: Sequence[Any]) -> list[list[str]]:
    """Return a list of flat objects as rows under their names; empty where it is another list."""
    if len(items) < 2 or not all(isinstance(item, dict) for item in items):  # noqa: PLR2004 - one is no table
        return []
    objects = cast("Sequence[Mapping[str, Any]]", items)
    names = list(dict.fromkeys(key for item in objects for key in item))
    if any(isinstance(value, dict | list) for item in objects for value in item.values()):
        return []
    return [names, *([_scalar(item.get(key)) for key in names] for item in objects)]


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    # A form feed would begin a page.
    return value.replace(PAGE_BREAK, " ") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
