from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingestion.chunking import CHUNK_CHARACTERS, chunk_text, first_heading
from deployments.values.documents import Chunk, TextFormat

MARKDOWN = """# Guide

Intro with **bold**, a [link](http://example.org) and `code`.

## Install

1. Get it.
2. Run it.

### On Debian

```
apt install it
```

| key | value |
|-----|-------|
| a   | b     |

## Use

Just <b>use</b> it &amp; smile.
"""

PLAIN = """GUIDE TO THE THING
==================

1 Install

Get it and
run it.

1.1 On Debian

Use apt.

2 Use

Use it.
"""


def test_markdown_is_cut_along_its_headings_and_its_marks_are_gone() -> None:
    chunks = chunk_text(MARKDOWN, TextFormat.MARKDOWN).chunks
    assert chunks == [
        Chunk("Intro with bold, a link and code.", ("Guide",)),
        Chunk("1. Get it.\n2. Run it.", ("Guide", "Install")),
        Chunk("apt install it\nkey | value\na | b", ("Guide", "Install", "On Debian")),
        Chunk("Just use it & smile.", ("Guide", "Use")),
    ]


def test_plain_text_is_cut_along_underlined_and_numbered_headings() -> None:
    chunks = chunk_text(PLAIN, TextFormat.PLAIN).chunks
    assert [(chunk.text, chunk.headings[-1]) for chunk in chunks] == [
        ("Get it and\nrun it.", "1 Install"),
        ("Use apt.", "1.1 On Debian"),
        ("Use it.", "2 Use"),
    ]
    assert chunks[1].headings == ("GUIDE TO THE THING", "1 Install", "1.1 On Debian")


def test_long_paragraphs_are_cut_between_sentences() -> None:
    sentence = "This sentence has exactly fifty characters in it.\n"
    chunks = chunk_text(sentence * 30, TextFormat.PLAIN).chunks
    assert all(len(chunk.text) <= CHUNK_CHARACTERS for chunk in chunks)
    assert all(chunk.text.endswith("in it.") for chunk in chunks)
    assert sum(chunk.text.count("in it.") for chunk in chunks) == 30


def test_a_part_goes_on_under_the_headings_where_the_one_before_ended() -> None:
    first = chunk_text("# Guide\n\n## Install\n\nGet it.\n", TextFormat.MARKDOWN)
    assert first.headings == ("", "Guide", "Install")
    further = chunk_text("Run it.\n\n## Use\n\nUse it.\n", TextFormat.MARKDOWN, headings=first.headings)
    assert further.chunks == [Chunk("Run it.", ("Guide", "Install")), Chunk("Use it.", ("Guide", "Use"))]
    assert further.headings == ("", "Guide", "Use")


MANUAL = """Heating

How the house is kept warm,
and by whom.

1 The boiler

It stands in the cellar,
behind the door.

1.1 Its pressure

It is 1.5 bar,
and not more.

2 The radiators

They are bled in autumn,
each of them.
"""


def test_a_short_line_above_numbered_headings_is_the_title() -> None:
    first = chunk_text(MANUAL, TextFormat.PLAIN)
    assert first_heading(MANUAL, TextFormat.PLAIN) == "Heating"
    assert [chunk.headings for chunk in first.chunks] == [
        ("Heating",),
        ("Heating", "1 The boiler"),
        ("Heating", "1 The boiler", "1.1 Its pressure"),
        ("Heating", "2 The radiators"),
    ]
    further = chunk_text("3 The pump\n\nIt is quiet,\nor should be.", TextFormat.PLAIN, headings=first.headings).chunks
    assert further == [Chunk("It is quiet,\nor should be.", ("Heating", "3 The pump"))]


def test_numbered_headings_stand_below_a_title_that_was_given_and_below_underlined_ones() -> None:
    text = "The boiler, page 3\n------------------\n\n1.1 Its pressure\n\nIt is 1.5 bar,\nand not more.\n"
    chunks = chunk_text(text, TextFormat.PLAIN, headings=("Heating",)).chunks
    assert chunks[0].headings == ("Heating", "The boiler, page 3", "1.1 Its pressure")
    chunks = chunk_text(MANUAL, TextFormat.PLAIN, headings=("The house",)).chunks
    assert {chunk.headings[0] for chunk in chunks} == {"The house"}


LAW = """Article II

Section 1

The power is vested in a president.
He holds his office for four years.

Section 2

He is the commander of the army, and
of the navy.

:jiffy: n.

The duration of one tick of the clock, it
depends on the country.
"""


def test_short_lines_that_text_follows_are_headings_of_plain_text() -> None:
    first = chunk_text(LAW, TextFormat.PLAIN, headings=("law",))
    assert [chunk.headings for chunk in first.chunks] == [
        ("law", "Article II", "Section 1"),
        ("law", "Article II", "Section 2"),
        ("law", "Article II", ":jiffy: n."),
    ]
    further = chunk_text(
        "Section 3\n\nHe may be removed,\nif he is guilty.", TextFormat.PLAIN, headings=first.headings
    ).chunks
    assert further[0].headings == ("law", "Article II", "Section 3"), "another part of it goes on where this one ended"


@pytest.mark.parametrize(
    "text",
    [
        "Milk\n\nBread\n\nButter\n\nRemember the coupons that lie on the table,\nand the bag.",
        "It is closed.\n\nThe other one is open all day long,\nand all night.",
        "- one\n\n- two is longer than one and has a full stop at its end.",
        "Milk\n\nBread",
        "Name    Price\n\nMilk    1.20 for a litre, and\nBread   2.40",
    ],
)
def test_lists_sentences_and_what_stands_last_are_text(text: str) -> None:
    chunks = chunk_text(text, TextFormat.PLAIN).chunks
    assert all(chunk.headings == () for chunk in chunks)
    assert " ".join(" ".join(chunk.text for chunk in chunks).split()) == " ".join(text.split())


def test_what_a_terminal_would_show_bold_is_plain() -> None:
    text = "1 U\bUs\bse\n\n\x1b[1mman\x1b[0m shows _\bp_\ba\x00ges.\x07"
    chunks = chunk_text(text, TextFormat.PLAIN).chunks
    assert chunks == [Chunk("man shows pages.", ("1 Use",))]


def test_the_first_heading_names_a_document() -> None:
    assert first_heading(MARKDOWN, TextFormat.MARKDOWN) == "Guide"
    assert first_heading("no heading here", TextFormat.PLAIN) == ""


@settings(deadline=None)
@given(st.text(max_size=3000), st.sampled_from(TextFormat))
def test_no_text_breaks_it_and_no_chunk_is_empty_or_too_long(text: str, text_format: TextFormat) -> None:
    chunks = chunk_text(text, text_format).chunks
    assert all(0 < len(chunk.text) <= CHUNK_CHARACTERS for chunk in chunks)


@settings(deadline=None)
@given(st.text(alphabet="ab .\n", max_size=3000))
def test_no_word_of_plain_text_is_lost(text: str) -> None:
    """Each letter stands in a chunk, or in the headings above one."""
    chunks = chunk_text(text, TextFormat.PLAIN).chunks
    kept = Counter("".join("".join((*chunk.headings, chunk.text)) for chunk in chunks))
    assert not Counter("".join(text.split())) - kept
