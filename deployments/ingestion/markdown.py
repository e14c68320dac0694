"""Markdown into blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, html_block
from markdown_it.token import Token

from deployments.ingestion.blocks import Block, Heading, Table
from deployments.ingestion.html_in_markdown import LINE_IN_CELL, HtmlBlocks, cell_text, is_html, is_open_end, raised

_BREAK = ("<br>", "<br/>", "<br />")


def markdown_blocks(text: str) -> Iterator[Block]:
    """Yield paragraphs, list items, tables, code and headings of Markdown.

    The text of footnotes stays where it stands, and so does what stands in angle brackets and is no HTML.
    """
    found: dict[str, dict[str, dict[str, list[int]]]] = {}
    parser = MarkdownIt("commonmark").enable("table")
    parser.block.ruler.at("html_block", _html_block, {"alt": ["paragraph", "reference", "blockquote"]})
    tokens = parser.parse(text, found)
    reader = _MarkdownReader()
    for token in tokens:
        yield from reader.read(token)
    yield from reader.html.finish()
    yield from _footnotes(text, found)


def _html_block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Read a block of HTML as the library does, unless it would take all that follows with it."""
    at = state.bMarks[start_line] + state.tShift[start_line]
    return not is_open_end(state.src, at) and html_block(state, start_line, end_line, silent)


def _footnotes(text: str, found: dict[str, dict[str, dict[str, list[int]]]]) -> Iterator[Block]:
    """Yield the footnotes of one word, which are taken for the target of a link."""
    lines = text.split("\n")
    for label, target in found.get("references", {}).items():
        if label.startswith("^"):
            first, end = target["map"]
            yield " ".join(" ".join(lines[first:end]).split())


@dataclass(slots=True)
class _MarkdownReader:
    """What is open while the tokens of a Markdown document go by."""

    html: HtmlBlocks = field(default_factory=HtmlBlocks)
    item_mark: str = ""
    rows: list[list[str]] | None = None
    heading_level: int | None = None

    def read(self, token: Token) -> Iterator[Block]:
        """Take the next token; yield the blocks that it completes."""
        match token.type:
            case "heading_open":
                self.heading_level = int(token.tag[1:])
            case "heading_close":
                self.heading_level = None
            case "list_item_open":
                self.item_mark = f"{token.info}. " if token.info else "- "
            case "table_open":
                self.rows = []
            case "tr_open" if self.rows is not None:
                self.rows.append([])
            case "table_close" if self.rows is not None:
                columns, *rows = (tuple(row) for row in self.rows)
                self.rows = None
                yield Table(columns, tuple(rows))
            case "inline":
                yield from self._inline(token)
            case "html_block":
                yield from self.html.read(token.content)
            case "fence" | "code_block" if token.content.strip():
                yield token.content.rstrip()
            case _:
                return

    def _inline(self, token: Token) -> Iterator[Block]:
        text = _inline_text(token)
        if self.rows is not None:
            self.rows[-1].append(cell_text(text))
            return
        content = " ".join(text.replace(LINE_IN_CELL, " ").split())
        if not content or self.html.add_text(content):
            return
        if self.heading_level is not None:
            yield Heading(self.heading_level, content)
            return
        item_mark, self.item_mark = self.item_mark, ""
        yield item_mark + content


def _inline_text(token: Token) -> str:
    pieces: list[str] = []
    raised_from: int | None = None
    for child in token.children or []:
        tag = child.content.lower() if child.type == "html_inline" else ""
        if child.type == "softbreak":
            pieces.append(" ")
        elif child.type == "hardbreak" or tag in _BREAK:
            pieces.append(LINE_IN_CELL)
        elif tag == "<sup>":
            raised_from = len(pieces)
        elif tag == "</sup>" and raised_from is not None:
            pieces[raised_from:] = [raised("".join(pieces[raised_from:]))]
            raised_from = None
        elif child.type == "html_inline":
            pieces.append("" if is_html(child.content, token.content) else child.content)
        elif child.type in {"text", "code_inline", "image"}:
            pieces.append(child.content)
    return "".join(pieces)
