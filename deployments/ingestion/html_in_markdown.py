"""HTML that stands in Markdown, as blocks. What only looks like a tag is text."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from deployments.ingestion.blocks import Block, Heading, Table

_ELEMENTS = frozenset(
    (
        "a abbr acronym address applet area article aside audio b base basefont bdi bdo big blockquote body br button "
        "canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed "
        "fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i "
        "iframe img input ins kbd label legend li link main map mark menu meta meter nav noframes noscript object ol "
        "optgroup option output p param picture pre progress q rp rt ruby s samp script search section select slot "
        "small source span strike strong style sub summary sup svg table tbody td template textarea tfoot th thead "
        "time title tr track tt u ul var video wbr"
    ).split()
)
"""The elements of HTML, those of before included."""
_INLINE = frozenset(
    (
        "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q ruby rp rt s samp "
        "small span strike strong sub sup time tt u var wbr button"
    ).split()
)
_NOT_TEXT = frozenset({"script", "style", "template"})
_WITHOUT_CONTENT = frozenset("area base col embed frame img input link meta param source track".split())
"""Elements that are nothing without attributes."""
_SWITCHES = frozenset(
    (
        "allowfullscreen async autofocus autoplay checked compact controls default defer disabled download hidden "
        "inert ismap itemscope loop multiple muted nomodule noshade novalidate nowrap open readonly required reversed "
        "selected"
    ).split()
)
"""The attributes that have no value."""
_RAW = "script|style|pre|textarea|title|iframe|noframes|noembed|xmp|plaintext"
"""The elements in which there are no others, or of which Markdown takes the end for that of a block."""
_RAW_TAG = re.compile(rf"<(?P<name>{_RAW})(?=[\s>/]|\Z)(?P<attributes>[^<>]*)>?", re.IGNORECASE)
_OF_A_SENTENCE = re.compile(r"[ \t]+[^\W\d_]+[ \t]+[^{}()<>;=]*(?:\n|\Z)")
"""What stands behind the name of an element where a line tells of it."""
_ENDS = {"<!--": "-->", "<?": "?>", "<![CDATA[": "]]>"}
_TAG = re.compile(r"<(?P<end>/?)(?P<name>[A-Za-z][^\s/>]*)(?P<rest>[^>]*)")
_RAISED = str.maketrans("0123456789+-n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ")
_DEPTHS = {f"h{depth}": depth for depth in range(1, 7)}


def is_html(tag: str, around: str) -> bool:
    """Say whether what stands in angle brackets is HTML: an element, a comment or a declaration.

    Args:
        tag: With its brackets.
        around: The text that it stands in. An element without attributes that is not ended there is none.

    >>> is_html("<br/>", ""), is_html("<!-- no -->", ""), is_html("<i>", "very <i>hot</i>")
    (True, True, True)
    >>> is_html("<archive-name>", ""), is_html("<source>", ""), is_html("<b and c>", ""), is_html("<time>", "at <time>")
    (False, False, False, False)
    """
    parts = _TAG.match(tag)
    if parts is None:
        return True
    name, attributes = parts["name"].lower(), parts["rest"].strip(" /\n")
    if name not in _ELEMENTS or not _are_attributes(attributes):
        return False
    if parts["end"] or attributes or name in {"br", "hr", "wbr"}:
        return True
    return name not in _WITHOUT_CONTENT and f"</{name}" in around.lower()


def is_open_end(text: str, at: int) -> bool:
    """Say whether what begins at a place like HTML would take all text behind it, as it does not end or is a word.

    >>> is_open_end("<style> is an element.", 0), is_open_end("<style>p {}</style>", 0), is_open_end("<!-- so", 0)
    (True, False, True)
    """
    for begin, end in _ENDS.items():
        if text.startswith(begin, at):
            return text.find(end, at) < 0
    tag = _RAW_TAG.match(text, at)
    if tag is None:
        return False
    is_word = not tag["attributes"].strip() and _OF_A_SENTENCE.match(text, tag.end()) is not None
    return is_word or not _ends_behind(text, tag)


def _ends_behind(text: str, tag: re.Match[str]) -> bool:
    return re.compile(rf"</{tag['name']}", re.IGNORECASE).search(text, tag.end()) is not None


def _are_attributes(text: str) -> bool:
    return "=" in text or all(_is_switch(word.lower()) for word in text.split())


def _is_switch(name: str) -> bool:
    """Say whether an attribute may stand without a value: those of a page's own have a hyphen."""
    return name in _SWITCHES or "-" in name


def raised(text: str) -> str:
    """Return a text as superscript, where there are such characters: a power must not become a digit more."""
    return text.translate(_RAISED) if all(ord(character) in _RAISED for character in text) else f"^{text}"


@dataclass(slots=True)
class _OpenTable:
    """A table of which the end is not reached; its first row names the columns."""

    rows: list[list[str]] = field(default_factory=list[list[str]])
    is_in_cell: bool = False

    def begin_cell(self) -> None:
        if not self.rows:
            self.rows.append([])
        self.rows[-1].append("")
        self.is_in_cell = True

    def closed(self) -> Table | None:
        rows = [tuple(row) for row in self.rows if any(row)]
        return Table(rows[0], tuple(rows[1:])) if rows else None


class HtmlBlocks(HTMLParser):
    """Reads pieces of HTML, one after the other, which may leave elements open between them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._blocks: list[Block] = []
        self._text: list[str] = []
        self._tables: list[_OpenTable] = []
        self._heading: int | None = None
        self._not_text = 0
        self._raised_from: int | None = None
        self._mark = ""
        self._is_preformatted = False

    def read(self, html: str) -> list[Block]:
        """Return the blocks of a piece; a table comes with its end."""
        self.feed(_RAW_TAG.sub(lambda tag: tag[0] if _ends_behind(html, tag) else f"&lt;{tag[0][1:]}", html))
        self._end_block()
        blocks, self._blocks = self._blocks, []
        return blocks

    def add_text(self, text: str) -> bool:
        """Put text that stands between pieces where it belongs; say whether that is in a table."""
        if not self._cell_is_open:
            return False
        self._text.append(text)
        self._end_block()
        return True

    def finish(self) -> list[Block]:
        """Return the blocks that were left open."""
        self.close()
        self._end_block()
        while self._tables:
            self._end_table()
        blocks, self._blocks = self._blocks, []
        return blocks

    @property
    def _cell_is_open(self) -> bool:
        return bool(self._tables) and self._tables[-1].is_in_cell

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        is_element = tag in _ELEMENTS and (attrs or tag not in _WITHOUT_CONTENT)
        if not is_element or not all(value is not None or _is_switch(name) for name, value in attrs):
            self.handle_data(self.get_starttag_text() or "")
        elif tag in _NOT_TEXT:
            self._not_text += 1
        elif tag == "img":
            self.handle_data(dict(attrs).get("alt") or "")
        elif tag == "sup":
            self._raised_from = len(self._text)
        elif tag not in _INLINE:
            self._begin(tag)

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if tag not in _ELEMENTS:
            self.handle_data(f"</{tag}>")
        elif tag in _NOT_TEXT:
            self._not_text = max(0, self._not_text - 1)
        elif tag == "sup":
            self._end_raised()
        elif tag not in _INLINE:
            self._end(tag)

    def handle_data(self, data: str) -> None:
        """Take text."""
        if not self._not_text:
            self._text.append(data)

    def _begin(self, tag: str) -> None:
        if tag == "br" and self._cell_is_open:
            self._text.append(LINE_IN_CELL)
            return
        self._end_block()
        if tag == "table":
            self._tables.append(_OpenTable())
        elif tag == "tr" and self._tables:
            self._tables[-1].rows.append([])
        elif tag in {"td", "th"} and self._tables:
            self._tables[-1].begin_cell()
        elif tag == "li":
            self._mark = "- "
        elif tag == "pre":
            self._is_preformatted = True
        self._heading = _DEPTHS.get(tag, self._heading)

    def _end(self, tag: str) -> None:
        self._end_block()
        if tag in {"td", "th", "tr"} and self._tables:
            self._tables[-1].is_in_cell = False
        elif tag == "table" and self._tables:
            self._end_table()
        elif tag == "li":
            self._mark = ""
        elif tag == "pre":
            self._is_preformatted = False
        elif tag in _DEPTHS:
            self._heading = None

    def _end_raised(self) -> None:
        if self._raised_from is None:
            return
        text = "".join(self._text[self._raised_from :]).strip()
        self._text[self._raised_from :] = [raised(text)] if text else []
        self._raised_from = None

    def _end_block(self) -> None:
        text, self._text, self._raised_from = "".join(self._text), [], None
        if self._cell_is_open:
            row = self._tables[-1].rows[-1]
            row[-1] = cell_text(f"{row[-1]} {text}")
            return
        text = text.strip("\n") if self._is_preformatted else " ".join(text.split())
        if not text.strip():
            return
        if self._heading is not None:
            self._blocks.append(Heading(self._heading, text))
        else:
            self._blocks.append(self._mark + text)
            self._mark = ""

    def _end_table(self) -> None:
        table = self._tables.pop().closed()
        if table is None:
            return
        if self._cell_is_open:
            row = self._tables[-1].rows[-1]
            row[-1] = cell_text(f"{row[-1]} {'; '.join(', '.join(cells) for cells in (table.columns, *table.rows))}")
        else:
            self._blocks.append(table)


LINE_IN_CELL = "\v"
"""Stands for a line break in a cell until the cell is whole: no text holds it."""


def cell_text(text: str) -> str:
    """Return what a cell holds as one line: its lines apart by commas, unless they end in a mark themselves."""
    lines = [line for part in text.split(LINE_IN_CELL) if (line := " ".join(part.split()))]
    pieces = [line if line.endswith((".", ",", ";", ":", "!", "?")) else f"{line}," for line in lines]
    return " ".join(pieces).removesuffix(",") if lines and not lines[-1].endswith(",") else " ".join(pieces)
