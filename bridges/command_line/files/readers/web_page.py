"""HTML into Markdown: what a reader of the page reads, without what leads elsewhere."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning
from bs4.dammit import EncodingDetector
from markdownify import MarkdownConverter

from bridges.command_line.files.readers.encoding import decode
from bridges.command_line.files.readers.extracted import Extracted
from bridges.command_line.files.readers.markdown_text import escaped, table
from deployments.values.documents import TextFormat

_NOT_TEXT = ("script", "style", "noscript", "template", "iframe", "svg", "input", "select", "textarea", "datalist")
_AROUND_TEXT = (
    *("nav", "menu", "[role=navigation]", "[role=search]", ".headerlink", ".toc", ".navheader", ".navfooter"),
    *(".navbar", ".breadcrumb", ".breadcrumbs", ".sphinxsidebar", ".sphinxsidebarwrapper"),
)
"""What leads elsewhere, some of it by the names that common writers of documentation give it."""
_MAYBE_AROUND_TEXT = (
    "header, footer, aside, [role=contentinfo], [role=banner], [role=complementary], .related, .footer, .sidebar"
)
"""What may lead elsewhere and may hold text. It leads elsewhere where most of its words are links."""
_LINKED_SHARE = 0.5
_MAIN_SHARE = 0.4
"""Of a page's text that its main part has at least; a part with less is not where the text is."""
_QUESTION_WORDS = 4
_BLOCKS = ("p", "div", "li", "ul", "ol", "dl", "dt", "dd", "pre", "blockquote", "section", "article", "h1", "h2", "h3")
_STRIPPED = ("a", "b", "strong", "em", "i", "del", "s")
"""What changes the look of words alone: its marks would be read as letters inside a word."""
_FEWEST_COLUMNS = 2
_WIDEST_SPAN = 100
_RAISED = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
_LINES = ("p", "li", "dt", "dd", "summary", "h1", "h2", "h3", "h4", "h5", "h6", "td", "th")
_LAYOUT = ("table", "h1", "h2", "h3", "h4", "h5", "h6", "pre")
_LEGAL_FOOTER = ("©", "copyright", "all rights reserved", "imprint", "impressum", "privacy policy")
_LEGAL_WORDS = 60


def read_html(file: Path) -> Extracted:
    """Read a web page."""
    return html_text(file.read_bytes())


def html_text(content: bytes | str) -> Extracted:
    """Return the text of a web page; empty where it holds none."""
    guesses: tuple[str, ...] = ()
    if isinstance(content, bytes):
        decoded = decode(content, EncodingDetector.find_declared_encoding(content, is_html=True) or "")
        content, guesses = decoded.text, decoded.guesses
    soup = page_of(content)
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    _leave_out(soup)
    return Extracted(markdown_of(_main_part(soup)), TextFormat.MARKDOWN, " ".join(title.split()), guesses)


def page_of(content: bytes | str) -> Any:
    """Return a page, or a piece of one, to look around in."""
    # XHTML is read as HTML, which needs no word to the user.
    warnings.filterwarnings("ignore", category=XMLParsedAsHTMLWarning)
    return BeautifulSoup(content, "lxml")


def markdown_of(element: Any) -> str:
    """Return an element of a page, and all in it, as Markdown."""
    for found in reversed(element.find_all("table")):
        if found.get("role") == "presentation" or found.find(_LAYOUT) or _columns(found) < _FEWEST_COLUMNS:
            _unfold(found)
    return str(
        _Converter(heading_style="ATX", bullets="-", strip=list(_STRIPPED), escape_misc=True).convert_soup(element)
    ).strip()


class _Converter(MarkdownConverter):
    """Writes tables with the names of their columns, and what stands for pictures."""

    def convert_table(self, el: Any, text: str, parent_tags: set[str]) -> str:
        del text, parent_tags
        caption = el.find("caption")
        said = escaped(caption.get_text(" ", strip=True)) if caption else ""
        names, rows = _names(el), _rows(el)
        written = table([names, *rows[len(_name_rows(el)) :]], has_names=True) if names else table(rows)
        return f"\n\n{said}\n\n{written}\n\n"

    def convert_img(self, el: Any, text: str, parent_tags: set[str]) -> str:
        del text, parent_tags
        alt = " ".join(str(el.get("alt") or "").split())
        return f" {escaped(alt)} " if alt else ""

    def convert_hr(self, el: Any, text: str, parent_tags: set[str]) -> str:
        del el, text, parent_tags
        # With hyphens, it would be the fence of front matter where a page begins with it.
        return "\n\n***\n\n"

    def convert_sup(self, el: Any, text: str, parent_tags: set[str]) -> str:
        del el, parent_tags
        return text.translate(_RAISED)

    def convert_summary(self, el: Any, text: str, parent_tags: set[str]) -> str:
        del el, parent_tags
        return f"\n\n{text.strip()}\n\n"

    convert_figcaption = convert_summary
    convert_legend = convert_summary


def _name_rows(found: Any) -> Sequence[Any]:
    """Return the rows of a table that name its columns."""
    rows = found.find_all("tr")
    above = [row for row in rows if row.find_parent("thead") is not None]
    if above:
        return above
    return rows[:1] if rows and all(cell.name == "th" for cell in rows[0].find_all(["th", "td"])) else []


def _names(found: Any) -> list[str]:
    """Return the names of a table's columns, each as all rows say it that name columns; empty where none does."""
    rows = _rows(found)[: len(_name_rows(found))]
    width = max(map(len, rows), default=0)
    columns = ([row[at] for row in rows if at < len(row) and row[at]] for at in range(width))
    return [" ".join(dict.fromkeys(column)) for column in columns]


def _columns(found: Any) -> int:
    return max((len(row.find_all(["th", "td"])) for row in found.find_all("tr")), default=0)


def _rows(found: Any) -> list[list[str]]:
    """Return the cells of a table; one that spans columns or rows stands in each of them."""
    rows: list[list[str]] = []
    hanging: dict[int, tuple[int, str]] = {}
    for row in found.find_all("tr"):
        cells = [
            (_text_of(cell), _span(cell, "colspan"), _span(cell, "rowspan")) for cell in row.find_all(["th", "td"])
        ]
        line: list[str] = []
        while cells or len(line) in hanging:
            at = len(line)
            if at in hanging:
                left, text = hanging.pop(at)
                if left > 1:
                    hanging[at] = (left - 1, text)
                line.append(text)
                continue
            text, columns, down = cells.pop(0)
            for column in range(columns):
                line.append(text if column == 0 or row.find_parent("thead") is not None else "")
                if down > 1:
                    hanging[at + column] = (down - 1, line[-1])
        rows.append(line)
    return rows


def _span(cell: Any, name: str) -> int:
    value = str(cell.get(name) or "1")
    return min(int(value), _WIDEST_SPAN) if value.isdigit() and int(value) > 0 else 1


def _text_of(cell: Any) -> str:
    """Return what a cell holds, in lines."""
    for line_break in cell.find_all("br"):
        line_break.replace_with("\v")
    for image in cell.find_all("img"):
        image.replace_with(f" {image.get('alt') or ''} ")
    for raised in cell.find_all("sup"):
        raised.string = raised.get_text().translate(_RAISED)
    for block in cell.find_all(_BLOCKS):
        block.append("\v")
    lines = (" ".join(line.split()) for line in cell.get_text().split("\v"))
    return "\n".join(line for line in lines if line)


def _leave_out(soup: Any) -> None:
    for element in (*soup.find_all(_NOT_TEXT), *soup.select(", ".join(_AROUND_TEXT))):
        element.decompose()
    for element in soup.select(_MAYBE_AROUND_TEXT):
        # One that stood in another is gone with it.
        if not element.decomposed and (_leads_elsewhere(element) or _is_legal_footer(element)):
            element.decompose()
    for button in soup.find_all("button"):
        if button.decomposed:
            continue
        if not _is_text(button):
            button.decompose()
        elif button.find_parent(_LINES) is not None:
            button.unwrap()
        else:
            button.name = "p"


def _leads_elsewhere(element: Any) -> bool:
    linked = sum(len(link.get_text("", strip=True)) for link in element.find_all("a"))
    return linked > len(element.get_text("", strip=True)) * _LINKED_SHARE


def _is_legal_footer(element: Any) -> bool:
    is_footer = element.name == "footer" or element.get("role") == "contentinfo" or "footer" in _classes(element)
    if not is_footer or element.find_parent(["article", "blockquote", "figure"]):
        return False
    text = element.get_text(" ", strip=True).lower()
    return len(text.split()) < _LEGAL_WORDS and any(word in text for word in _LEGAL_FOOTER)


def _classes(element: Any) -> Sequence[str]:
    return cast("Sequence[str]", element.get("class") or ())


def _is_text(button: Any) -> bool:
    """Say whether a button is what a reader reads, such as the question of an answer that it opens."""
    text = button.get_text(" ", strip=True)
    opens = any(button.has_attr(name) for name in ("aria-expanded", "aria-controls", "data-bs-toggle", "data-toggle"))
    is_heading = button.find_parent(_LINES) is not None
    return opens or is_heading or text.endswith("?") or len(text.split()) >= _QUESTION_WORDS


def _main_part(soup: Any) -> Any:
    """Return the part of a page that holds its text."""
    body = soup.body or soup
    size = len(body.get_text("", strip=True))
    parts = soup.select("main, [role=main]") or soup.find_all("article")
    if len(parts) != 1 or len(parts[0].get_text("", strip=True)) < size * _MAIN_SHARE:
        return body
    return parts[0]


def _unfold(found: Any) -> None:
    """Make a table that lays out a page into what it holds; tables in it stay."""
    parts = [
        part
        for part in found.find_all(["thead", "tbody", "tfoot", "tr", "caption", "td", "th"])
        if part.find_parent("table") is found
    ]
    for part in (found, *parts):
        part.name = "div"
