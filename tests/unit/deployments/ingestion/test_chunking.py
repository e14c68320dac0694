from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.ingestion.chunking import CHUNK_CHARACTERS, chunk_text, first_heading, title_of
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


def markdown(text: str, *headings: str) -> list[tuple[str, str]]:
    chunks = chunk_text(text, TextFormat.MARKDOWN, headings=headings).chunks
    return [(" > ".join(chunk.headings), chunk.text) for chunk in chunks]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Type `x` <archive-name> --into <target-folder>.", "Type x <archive-name> --into <target-folder>."),
        ("Called <site>-<year>-<week>.tar", "Called <site>-<year>-<week>.tar"),
        ("<backup-operators>", "<backup-operators>"),
        ("<backup-operators>\n\nThey may.", "<backup-operators>\nThey may."),
        ("A temperature <5 and a humidity >80.", "A temperature <5 and a humidity >80."),
        ("if a<b and c>d", "if a<b and c>d"),
        ("Copy <source> to <target> at <time>.", "Copy <source> to <target> at <time>."),
        ("List<String> of Map<K, V>", "List<String> of Map<K, V>"),
        ("Write to <help@example.org>.", "Write to help@example.org."),
        ("It is <b>very</b> <em class='x'>hot</em><br/>here.", "It is very hot here."),
        ("10 m<sup>2</sup> of H<sub>2</sub>O", "10 m² of H2O"),
        ("<p align=center>\n  if (a < b) &amp; so on\n</p>", "if (a < b) & so on"),
        ("<div data-instructions>\n\nUse pip.\n\n</div>", "Use pip."),
        ("<!-- never shown -->shown", "shown"),
        ("<script>alert(1)</script>\n\nshown", "shown"),
        ("![A red pump](pump.png)", "A red pump"),
        ("<img src='pump.png' alt='A red pump'>", "A red pump"),
        ("True[^1].\n\n[^1]: Mostly.", "True^1.\n[^1]: Mostly."),
        ("True[^a].\n\n[^a]: Mostly, but not on Sundays.", "True[^a].\n[^a]: Mostly, but not on Sundays."),
        ("<details><summary>More</summary>\n\nIt is **dry**.\n\n</details>", "More\nIt is dry."),
        ("Term\n: What it means.", "Term : What it means."),
    ],
)
def test_nothing_of_the_text_is_lost_and_what_is_no_html_is_text(text: str, read: str) -> None:
    assert markdown(text) == [("", read)]


@pytest.mark.parametrize(
    "line",
    [
        "<style> is an element that holds rules.",
        "<style> is ended by its own tag.\n\nThat is </style> always.",
        "<script> runs.",
        "<title> of the page.",
        "<title>",
        "<pre> keeps spaces.",
        "<pre>",
        "<textarea>",
        '<textarea rows="3">',
        "<iframe> shows a page.",
        "<!-- no end",
        "<? no end",
        "- <style> in a list",
    ],
)
def test_html_that_does_not_end_takes_no_text_along(line: str) -> None:
    read = markdown(f"# A\n\n{line}\n\nMore 4712.\n\n## B\n\nText 4713.\n\n<p>And <b>4714</b>.</p>\n")
    (above, first), below = read[0], read[1:]
    assert (above, "More 4712." in first) == ("A", True)
    assert all(word in first for word in line.split() if word.isalpha())
    assert below == [("A > B", "Text 4713.\nAnd 4714.")]


@pytest.mark.parametrize("name", ["script", "style", "textarea", "title"])
def test_an_element_that_is_open_in_a_block_of_html_takes_no_text_along(name: str) -> None:
    read = markdown(f"<div>\n<{name}> 4711\n\nMore 4712.\n\n</div>\n\n<p>And 4713.</p>\n")
    assert all(code in read[0][1] for code in ("4711", "4712", "4713"))


def test_headings_and_tables_in_html_are_headings_and_tables() -> None:
    text = (
        '<h1 align="center">Pumps</h1>\n\n<table>\n<tr><th>Day</th><th>Open</th></tr>\n'
        "<tr><td>Monday</td><td>8:00<br>16:30</td></tr>\n<tr><td>\n\n**Sunday**\n\n</td><td>shut</td></tr>\n</table>\n"
    )
    assert markdown(text) == [("Pumps", "Day | Open\nMonday | 8:00, 16:30\nSunday | shut")]


def test_lines_in_a_cell_stay_apart() -> None:
    text = "| Day | Open |\n|---|---|\n| Monday | 8:00<br>16:30<br/>20:00 |\n| Sunday | Shut.<br />Ring twice. |\n"
    assert markdown(text) == [("", "Day | Open\nMonday | 8:00, 16:30, 20:00\nSunday | Shut. Ring twice.")]


@pytest.mark.parametrize("head", ["---\n{}\n---\n", "---\r\n{}\r\n---\r\n", "\ufeff---\n{}\n---", "+++\n{}\n+++\n"])
def test_front_matter_is_no_text_and_its_title_is_the_title(head: str) -> None:
    said = 'title = "Boiler room"\ntags = ["a"]' if head.startswith("+") else "title: Boiler room\ntags: [a]"
    text = head.format(said) + "\n\n# Boiler\n\nIt runs at 1.5 bar.\n"
    assert title_of(text, TextFormat.MARKDOWN) == "Boiler room"
    assert markdown(text, "Boiler room") == [("Boiler room > Boiler", "It runs at 1.5 bar.")]


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA line above.\n\n---\n\nA line below.",
        "---\n\nOpening hours: Monday 8 to 16\n\n---\n\nThe rest.",
        "\n---\nCode: 4711\n---\n\nThe rest.",
        "***\n\nCode: 4711\n\n***\n\nThe rest.",
        "---\nCode: 4711, and: no\nyaml at all\n---\n\nText.",
        "+++\nno toml\n+++\n\nText.",
    ],
)
def test_what_only_looks_like_front_matter_is_text(text: str) -> None:
    assert title_of(text, TextFormat.MARKDOWN) == ""
    letters = "".join(heading + read for heading, read in markdown(text))
    assert all(word in letters for word in text.split() if word.strip("-+*"))


def test_what_stands_between_rules_at_the_top_of_a_further_part_is_text() -> None:
    text = "---\nid: R-17\n---\n\nThe record.\n"
    first = chunk_text(text, TextFormat.MARKDOWN, headings=("Records",))
    assert [chunk.text for chunk in first.chunks] == ["The record."]
    further = chunk_text(text, TextFormat.MARKDOWN, headings=first.headings, is_further=True)
    assert "R-17" in " ".join(" ".join((*chunk.headings, chunk.text)) for chunk in further.chunks)


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("title: Hearth: the handbook\ntags: [a]", "Hearth: the handbook"),
        ('title: "Hearth"\ndate: 2024-13-45', "Hearth"),
        ("title: Hearth\n\tkey: a tab", "Hearth"),
        ("title: Hearth\nvalue: @at", "Hearth"),
        ("tags: !custom x\nTitle: Hearth", "Hearth"),
        ("layout: page\ntitle: {{ site.title }}", ""),
        ("no: [yaml", ""),
    ],
)
def test_front_matter_with_a_slip_is_no_text_and_its_title_is_what_its_line_says(said: str, title: str) -> None:
    text = f"---\n{said}\n---\n\nIt runs at 1.5 bar.\n"
    assert title_of(text, TextFormat.MARKDOWN) == title
    assert markdown(text) == [("", "It runs at 1.5 bar.")]


@pytest.mark.parametrize(
    ("title", "path"),
    [
        ("The ferry", "The ferry"),
        ("the Ferry", "The ferry"),
        ("The ferry - Island ferries", "The ferry"),
        ("Island ferries | The ferry", "The ferry"),
        ("Harbour handbook", "Harbour handbook > The ferry"),
        ("The ferry handbook", "The ferry handbook > The ferry"),
    ],
)
def test_a_title_stands_above_the_headings_unless_they_say_the_same(title: str, path: str) -> None:
    assert markdown("# The ferry\n\nIt leaves at 6:40.", title) == [(path, "It leaves at 6:40.")]


@pytest.mark.parametrize("mark", ["# ", "###### ", "<h1>"])
def test_a_heading_longer_than_a_chunk_is_text_so_that_chunks_do_not_multiply_it(mark: str) -> None:
    text = f"{mark}{'word ' * 2000}\n\n" + "Some words of a sentence. " * 1000
    cut = chunk_text(text, TextFormat.MARKDOWN)
    assert sum(len(chunk.embedded_text()) for chunk in cut.chunks) < 1.1 * len(text)
    assert first_heading(text, TextFormat.MARKDOWN) == ""


def test_a_heading_that_nothing_stands_under_is_text() -> None:
    text = "# House\n\n## Closed on Mondays\n\n## Dogs are welcome\n\n## Attic\n\nIt is dry.\n\n## The end\n"
    assert markdown(text) == [
        ("House", "Closed on Mondays\nDogs are welcome"),
        ("House > Attic", "It is dry."),
        ("House", "The end"),
    ]
    open_end = chunk_text("# House\n\n## Attic\n", TextFormat.MARKDOWN, more_follows=True)
    assert (open_end.chunks, open_end.headings) == ([], ("", "House", "Attic"))


@pytest.mark.parametrize("text_format", TextFormat)
def test_a_form_feed_begins_a_page(text_format: TextFormat) -> None:
    first = chunk_text("\fOne, it is.\n\f\n\fThree, it is.\n", text_format)
    assert [(chunk.text, chunk.page) for chunk in first.chunks] == [("One, it is.", 1), ("Three, it is.", 3)]
    further = chunk_text("Three, still.\n\fFour, it is.", text_format, page=first.page)
    assert [(chunk.text, chunk.page) for chunk in further.chunks] == [("Three, still.", 3), ("Four, it is.", 4)]
    between = chunk_text("One, it is.\fTwo, it is.", text_format)
    assert [chunk.page for chunk in between.chunks] == [1, 2]
    assert [chunk.page for chunk in chunk_text("No page.", text_format).chunks] == [0]


def test_a_line_that_only_looks_like_a_heading_holds_to_the_end_of_its_page() -> None:
    text = "\fReleases\n========\n\nBuzz of 1996\n\nIt was the first.\n\fJessie was the eighth of them.\n"
    chunks = chunk_text(text, TextFormat.PLAIN).chunks
    assert [chunk.headings for chunk in chunks] == [("Releases", "Buzz of 1996"), ("Releases",)]


@pytest.mark.parametrize("rows", [12, 80])
def test_every_piece_of_a_table_names_its_columns(rows: int) -> None:
    text = "| Part | Pieces in stock |\n|---|---|\n" + "".join(f"| P-{at:03} | {at * 7} |\n" for at in range(rows))
    pieces = [piece for _, piece in markdown(text)]
    assert all(piece.startswith("Part | Pieces in stock\n") for piece in pieces)
    assert sum(piece.count("P-") for piece in pieces) == rows


def test_each_piece_of_a_long_row_names_its_columns() -> None:
    long = "It is cleaned by hand in spring. " * 40
    text = f"| Part | What to do |\n|---|---|\n| P-1 | {long}|\n| P-2 | nothing |\n"
    pieces = [piece for _, piece in markdown(text)]
    assert len(pieces) > 2
    assert all("What to do: " in piece for piece in pieces)
    assert sum(piece.count("It is cleaned by hand in spring.") for piece in pieces) == 40


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
