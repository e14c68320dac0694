"""Files that are text: plain, Markdown, tables of separated values, JSON."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from bridges.command_line.files.readers.encoding import decode
from bridges.command_line.files.readers.extracted import Extracted
from bridges.command_line.files.readers.markdown_text import escaped, table
from deployments.errors import InvalidRequestError
from deployments.values.documents import TextFormat

_DELIMITERS = ",;\t|"
_SNIFFED_CHARACTERS = 50_000
_ONE_LINE_CHARACTERS = 400


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
    sample = decoded.text[:_SNIFFED_CHARACTERS]
    csv.field_size_limit(len(decoded.text) + 1)
    rows = csv.reader(decoded.text.splitlines(keepends=True), delimiter=_delimiter(sample, file.suffix.lower()))
    return Extracted(table(rows, has_names=True), TextFormat.MARKDOWN, guesses=decoded.guesses)


def _delimiter(sample: str, suffix: str) -> str:
    """Return the delimiter that cuts the first lines into the same number of fields, the most of them."""
    if suffix == ".tsv":
        return "\t"
    lines = sample.splitlines(keepends=True)[:50]

    def fitness(delimiter: str) -> tuple[float, int]:
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        usual = max(counts, key=counts.count, default=1)
        return (counts.count(usual) / len(counts) if usual > 1 else 0.0, usual)

    return max(_DELIMITERS, key=fitness)


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
        return [json.loads(line) for line in text.splitlines() if line.strip()]
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
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
