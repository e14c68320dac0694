"""Front matter: what some writers put above the text of a Markdown document, about the document."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

_FENCED = re.compile(
    r"\A\s*(?P<fence>---|\+\+\+)[ \t]*\n(?P<content>.*?)^(?P=fence)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_MOST_CHARACTERS = 100_000


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
    """Split YAML or TOML off the top of a text. What looks like it and cannot be read as such is text."""
    fenced = _FENCED.match(text[:_MOST_CHARACTERS])
    values = _values(fenced["fence"], fenced["content"]) if fenced else None
    if fenced is None or values is None:
        return FrontMatter("", text)
    title = next((value for key, value in values.items() if str(key).lower() == "title"), None)
    is_said = isinstance(title, str | int | float) and not isinstance(title, bool)
    return FrontMatter(" ".join(str(title).split()) if is_said else "", text[fenced.end() :])


def _values(fence: str, content: str) -> Mapping[Any, Any] | None:
    try:
        values: Any = tomllib.loads(content) if fence == "+++" else yaml.safe_load(content)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError):
        return None
    if values is None and not content.strip():
        return {}
    return cast("Mapping[Any, Any]", values) if isinstance(values, dict) else None
