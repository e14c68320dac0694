"""What a reader makes of a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.values.documents import TextFormat

PAGE_BREAK = "\f"
"""Stands in front of each page of a text that has pages."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file.

    Attributes:
        text: As `format` says. `PAGE_BREAK` begins each page of a document that has pages.
        format: How it is to be read.
        title: What the document calls itself; empty where it does not.
        guesses: What the reader was not sure about, in words for the user.
    """

    text: str
    format: TextFormat
    title: str = ""
    guesses: tuple[str, ...] = ()


Reader = Callable[[Path], Extracted]
"""Raises `InvalidRequestError` where a file cannot be read as its name promises."""
