"""Questions with known answers: of small documents that are kept here, and of real texts that are fetched."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bridges.command_line.main import SAMPLES

T = TypeVar("T")

DOCUMENTS = Path(__file__).with_name("documents")
SMALL = Path(__file__).with_name("questions.tsv")
REAL = Path(__file__).with_name("real_questions.tsv")


@dataclass(frozen=True)
class Question:
    """A question and what answers it.

    Attributes:
        kind: The document, or the kind of text, that it is about.
        choosing: Whether models, prompts and sizes may be chosen by it; the others judge what was chosen.
        text: As a person asks it.
        evidence: Stands in a passage that answers it.
        fact: Stands in a right answer.
    """

    kind: str
    choosing: bool
    text: str
    evidence: re.Pattern[str]
    fact: re.Pattern[str]


def small_questions() -> list[Question]:
    """Return those of the small documents: document, question, fact in each line. All were used for choosing."""
    rows = (line.split("\t") for line in SMALL.read_text().splitlines())
    return [Question(kind, True, text, re.compile(fact), re.compile(fact)) for kind, text, fact in rows]


def real_questions() -> list[Question]:
    """Return those of the real texts: kind, "choose" or "judge", question, evidence, fact in each line."""
    return list(_real())


def _real() -> Iterator[Question]:
    for line in REAL.read_text().splitlines():
        kind, use, text, evidence, fact = line.split("\t")
        yield Question(kind, use == "choose", text, re.compile(evidence), re.compile(fact))


def some_of(items: Sequence[T], limit: int) -> list[T]:
    """Return at most so many items, spread evenly over all of them."""
    wanted = min(limit, len(items))
    return [items[at * len(items) // wanted] for at in range(wanted)]


def small_document(kind: str) -> tuple[list[Path], Path]:
    """Return the files of a small document and the folder that they are in; those of "house" come with Hearth."""
    return (sorted(SAMPLES.iterdir()), SAMPLES) if kind == "house" else ([DOCUMENTS / kind], DOCUMENTS)
