"""Front matter: what some writers put above the text of a Markdown document, about the document."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

_FENCED = re.compile(
    r"\A\ufeff*(?P<fence>---|\+\+\+)[ \t]*\n(?P<content>.*?)^(?P=fence)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_MOST_CHARACTERS = 100_000
_BEGINS = {
    "---": re.compile(r"(?:[ \t]*#.*\n)*[\w\"'][^:\n]*:(?:\s|\Z)"),
    "+++": re.compile(r"(?:[ \t]*#.*\n)*(?:\[|[\w\"'.-]+[ \t]*=)"),
}
"""How the lines below the fence begin: a blank line below it makes it a rule, with text below."""
_LINES = {
    "---": re.compile(r"(?:[ \t]*|[ \t]*#.*|[ \t]+\S.*|-[ \t].*|[\w\"'][^:]*:(?:[ \t].*)?|[\]}].*)"),
    "+++": re.compile(r"(?:[ \t]*|[ \t]*#.*|[ \t]+\S.*|\[.*|[\w\"'.-]+[ \t]*=.*|[\]}].*)"),
}
"""What lines may look like of what cannot be read, so that it is front matter with a slip in it."""
_TITLE_LINE = re.compile(r"^[\"']?title[\"']?[ \t]*[:=][ \t]*(?P<title>.*)$", re.IGNORECASE | re.MULTILINE)
_TEMPLATE = "{{"


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """A document in two.

    Attributes:
        title: As the front matter says it; empty where it does not, or where there is none.
        text: What stands below.
    """

    title: str
    text: str


def split_front_matter(text: str) -> FrontMatter:
    """Split YAML or TOML off the top of a document, which has to begin with its fence.

    The names and values follow the fence at once. What cannot be read for a slip is no text all the same, and its title
    is what its line says. Text between two rules is text.
    """
    fenced = _FENCED.match(text[:_MOST_CHARACTERS])
    if fenced is None:
        return FrontMatter("", text)
    fence, content = fenced["fence"], fenced["content"]
    if content.strip() and not _BEGINS[fence].match(content):
        return FrontMatter("", text)
    values = _values(fence, content)
    if values is None and not all(_LINES[fence].fullmatch(line) for line in content.split("\n")):
        return FrontMatter("", text)
    title = _title_line(content) if values is None else _title(values)
    return FrontMatter(title, text[fenced.end() :])


def _title(values: Mapping[Any, Any]) -> str:
    title = next((value for key, value in values.items() if str(key).lower() == "title"), None)
    is_said = isinstance(title, str | int | float) and not isinstance(title, bool)
    return " ".join(str(title).split()) if is_said else ""


def _title_line(content: str) -> str:
    """Return the title as its line says it; empty where a template is to fill it in."""
    line = _TITLE_LINE.search(content)
    title = " ".join(line["title"].split()) if line else ""
    if len(title) > 1 and title[0] == title[-1] and title[0] in "\"'":
        title = title[1:-1]
    return "" if _TEMPLATE in title else title


def _values(fence: str, content: str) -> Mapping[Any, Any] | None:
    try:
        values: Any = tomllib.loads(content) if fence == "+++" else yaml.safe_load(content)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError):
        return None
    if values is None and not content.strip():
        return {}
    return cast("Mapping[Any, Any]", values) if isinstance(values, dict) else None
