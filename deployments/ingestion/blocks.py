"""What a document is made of once it is read: paragraphs, headings, tables and pages."""

from dataclasses import dataclass

LOOSE_LEVEL = 9
"""From this level on, headings are lines that only look like one: they hold to the end of their page at most."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading.

    Attributes:
        level: 0 is the document's title, 1 the outermost below it.
        text: What it says, without its marks.
    """

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        columns: What its columns are called.
        rows: What its cells hold, row by row.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class PageBreak:
    """The place where a page ends and the next begins."""


Block = str | Heading | Table | PageBreak
"""A `str` is a paragraph, an item of a list or a piece of code."""
