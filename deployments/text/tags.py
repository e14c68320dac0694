"""Tags of HTML and SSML, told from angle brackets that are none, in a text of which more may come."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from html import unescape

_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9:_-]*)")
_SPACE = re.compile(r"\s*")
_ATTRIBUTE = re.compile(r"[A-Za-z_:@][\w:.-]*")
_VALUE = re.compile(r""""[^"]*"|'[^']*'|[^\s"'=<>`]+""")

BREAKING = frozenset(
    "address article aside audio blockquote body br caption center dd details dialog div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hr html legend li main media menu nav ol optgroup option p par "
    "paragraph section select sentence seq speak summary table tbody tfoot thead tr ul".split()
)
"""Where one begins or ends, a sentence does."""
CELLS = frozenset(["td", "th"])
LEFT_OUT = frozenset("head math metadata noscript object pre script style svg template textarea title".split())
"""Nothing of them is spoken."""
_PLAIN = frozenset(
    "a abbr acronym b base bdi bdo big break button canvas cite code col colgroup data datalist del desc dfn em embed "
    "emphasis font i iframe img input ins kbd label lang lexicon link lookup map mark meta meter output phoneme "
    "picture progress prosody q rp rt ruby s samp say-as slot small source span strike strong sub sup time token track "
    "tt u var video voice w wbr".split()
)
_KNOWN = BREAKING | CELLS | LEFT_OUT | _PLAIN
_WITHOUT_VALUE = frozenset(
    "allowfullscreen async autofocus autoplay checked contenteditable controls crossorigin default defer disabled "
    "download formnovalidate hidden inert ismap itemscope loop multiple muted nomodule novalidate open playsinline "
    "readonly required reversed selected".split()
)


class Unclear(Enum):
    """What is yet to come decides."""

    UNCLEAR = "unclear"


UNCLEAR = Unclear.UNCLEAR


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag.

    Attributes:
        name: In small letters.
        attributes: Values by name, in small letters; of one without a value, empty.
        is_closing: Whether it is `</name>`.
        is_empty: Whether it is `<name/>`.
        end: Where it ends in its text.
    """

    name: str
    attributes: Mapping[str, str]
    is_closing: bool
    is_empty: bool
    end: int


def tag_at(text: str, at: int) -> Tag | Unclear | None:
    """Return the tag that begins with the angle bracket at `at`.

    None where none does: `a<b and c>d` compares, and `<your name>` is to be filled in. A tag is one that HTML or SSML
    knows, or has a name with a colon, or an attribute with a value, or it closes one.
    """
    named = _NAME.match(text, at + 1)
    if named is None:
        return UNCLEAR if text[at + 1 :] in {"", "/"} else None
    name = named[1].lower()
    is_closing = text[at + 1] == "/"
    attributes: dict[str, str] = {}
    end = named.end()
    while True:
        space = end
        end = _end(_SPACE, text, end)
        if end == len(text):
            return UNCLEAR
        if text[end] == ">" or text.startswith("/>", end):
            is_tag = is_closing or name in _KNOWN or ":" in name or any(attributes.values())
            return Tag(name, attributes, is_closing, text[end] == "/", end + 1 + (text[end] == "/")) if is_tag else None
        if text[end:] == "/":
            return UNCLEAR
        attribute = _ATTRIBUTE.match(text, end)
        if attribute is None or space == end or "\n\n" in text[space:end]:
            return None
        value = _value_at(text, attribute)
        if not isinstance(value, tuple):
            return value
        attributes[attribute[0].lower()], end = value


def _value_at(text: str, attribute: re.Match[str]) -> tuple[str, int] | Unclear | None:
    """Return an attribute's value, and where that ends."""
    end = _end(_SPACE, text, attribute.end())
    if end == len(text):
        return UNCLEAR
    if text[end] != "=":
        return ("", attribute.end()) if attribute[0].lower() in _WITHOUT_VALUE else None
    start = _end(_SPACE, text, end + 1)
    value = _VALUE.match(text, start)
    if value is None:
        return UNCLEAR if text[start : start + 1] in {"", '"', "'"} and "\n\n" not in text[start:] else None
    if value.end() == len(text):
        return UNCLEAR
    if "\n\n" in value[0]:
        return None
    quoted = value[0][0] in "\"'"
    return unescape(value[0][1:-1] if quoted else value[0]), value.end()


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
