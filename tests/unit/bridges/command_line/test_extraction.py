"""Text out of files: what a reader of the file would read, and nothing that a hostile one asks for."""

import asyncio
import json
import zlib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from bridges.command_line.files.extraction import Extractor
from deployments.errors import InvalidRequestError
from deployments.ingestion.chunking import chunk_text
from deployments.values.documents import TextFormat
from tests.pdf_file import pdf, pdf_of

PAGE = """<!DOCTYPE html>
<html><head><title>The ferry &amp; its island</title><style>p { color: red }</style><script>alert("no")</script></head>
<body>
<nav><a href="/">Home</a> <a href="/about">About us</a></nav>
<main>
<h1>The ferry</h1>
<p>The first ferry leaves at <b>6:40</b>. See the <a href="map.html">map</a>.</p>
<h2>Tickets</h2>
<table><tr><th>Who</th><th>Price</th></tr><tr><td>Adults</td><td>18 euros</td></tr></table>
<ul><li>Children under six travel free.</li><li>Bicycles cost 4 euros.</li></ul>
</main>
<footer>Imprint</footer>
</body></html>
"""


STARTS = (
    "The pump starts when the tank is below a third of its height and stops when it is full. "
    "Its filter is cleaned in spring."
)
E_17 = (
    "E-17 means that the pressure is too low. Open the valve a quarter turn and wait for two minutes before the pump "
    "is started again."
)


@pytest.fixture(scope="module")
def extractor():
    with Extractor(max_bytes=10_000_000) as made:
        yield made


async def test_a_web_page_is_its_text_without_what_stands_around_it(tmp_path: Path, extractor: Extractor) -> None:
    file = tmp_path / "ferry.html"
    file.write_text(PAGE)
    extracted = await extractor.extract(file)
    assert (extracted.title, extracted.format) == ("The ferry & its island", TextFormat.MARKDOWN)
    for absent in ("alert", "color", "Home", "Imprint", "map.html", "<"):
        assert absent not in extracted.text
    chunks = chunk_text(extracted.text, extracted.format, headings=(extracted.title,)).chunks
    assert [(chunk.headings[-1], chunk.text) for chunk in chunks] == [
        ("The ferry", "The first ferry leaves at 6:40. See the map."),
        ("Tickets", "Who | Price\nAdults | 18 euros\n- Children under six travel free.\n- Bicycles cost 4 euros."),
    ]


async def test_a_page_of_documentation_is_read_without_its_table_of_contents(
    tmp_path: Path, extractor: Extractor, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><div class="navheader">Next</div>'
        '<div class="toc"><p>Table of Contents</p></div><h1>Pumps<a class="headerlink" href="#p">#</a></h1>'
        '<p>They pump.</p><ul role="navigation"><li>Elsewhere</li></ul></body></html>'
    )
    assert (await extractor.extract(file)).text == "# Pumps\n\nThey pump."
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
async def test_a_web_page_says_what_it_is_written_in(tmp_path: Path, extractor: Extractor, encoding: str) -> None:
    file = tmp_path / "page.htm"
    file.write_bytes(f'<html><head><meta charset="{encoding}"></head><body><p>Größe</p></body>'.encode(encoding))
    assert (await extractor.extract(file)).text == "Größe"


async def test_a_pdf_is_read_by_page_and_section_with_its_lines_joined(tmp_path: Path, extractor: Extractor) -> None:
    file = tmp_path / "manual.pdf"
    lines = [
        [
            "Pump manual",
            "The pump starts when the tank is below a third of its height and stops when it is",
            "full. Its fil-",
            "ter is cleaned in spring.",
            "1",
        ],
        [
            "Pump manual",
            "E-17 means that the pressure is too low. Open the valve a quarter turn and wait for",
            "two minutes before the pump is started again.",
            "2",
        ],
        ["Pump manual", "Call the service when that does not help.", "3"],
        ["Pump manual", "The guarantee lasts for two years.", "4"],
    ]
    file.write_bytes(pdf(lines, "The pump", [("How it works", 0), ("Errors", 1)]))
    extracted = await extractor.extract(file)
    assert (extracted.title, extracted.format) == ("The pump", TextFormat.PLAIN)
    chunks = chunk_text(extracted.text, extracted.format, headings=(extracted.title,)).chunks
    assert [(chunk.headings, chunk.text, chunk.page) for chunk in chunks] == [
        (("The pump", "How it works"), STARTS, 1),
        (("The pump", "Errors"), E_17, 2),
        (("The pump", "Errors"), "Call the service when that does not help.", 3),
        (("The pump", "Errors"), "The guarantee lasts for two years.", 4),
    ]


async def test_a_section_of_a_pdf_begins_where_its_title_stands(tmp_path: Path, extractor: Extractor) -> None:
    file = tmp_path / "manual.pdf"
    pages = [
        ["Contents", "1 Pumps . . . . . . . . . . . . 2", "1.1 Valves . . . . . . . . . . . 2"],
        ["Chapter 1 Pumps", "They pump water all day long and rest at night.", "1.1 Valves", "They shut it off."],
        ["And they open again when it is needed in the house."],
    ]
    file.write_bytes(pdf(pages, "Water", [("Pumps", 1), ("Valves", 1)]))
    extracted = await extractor.extract(file)
    chunks = chunk_text(extracted.text, extracted.format, headings=(extracted.title,)).chunks
    assert [(chunk.headings[-1], chunk.text, chunk.page) for chunk in chunks] == [
        ("Water", "Contents", 1),
        ("Pumps", "They pump water all day long and rest at night.", 2),
        ("Valves", "They shut it off.", 2),
        ("Valves", "And they open again when it is needed in the house.", 3),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.pdf", b"", "it is damaged: "),
        ("page.pdf", b"<html>404</html>", "it is damaged: "),
        ("zip.pdf", b"PK\x03\x04" + bytes(1000), "it is damaged: "),
        ("cut.pdf", pdf([["A line"]])[:200], "it is damaged: "),
        ("scan.pdf", pdf([[]]), "no text can be read in it: its pages are pictures"),
        ("empty.html", b"", "it holds no text"),
        ("script.html", b"<script>alert(1)</script>", "it holds no text"),
        ("large.txt", bytes(10_000_001), "it has 10 MB: at most 10 MB are taken"),
    ],
)
async def test_what_cannot_be_read_says_why(
    tmp_path: Path, extractor: Extractor, name: str, content: bytes, reason: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InvalidRequestError, match=reason):
        await extractor.extract(file)


async def test_a_bomb_is_named_and_the_next_file_is_read(tmp_path: Path, extractor: Extractor) -> None:
    bomb = tmp_path / "bomb.pdf"
    stream = zlib.compress(zlib.compress(b"BT (a) Tj ET " * 10_000_000))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 11 0 R >>"
    bomb.write_bytes(
        pdf_of(
            {
                1: b"<< /Type /Catalog /Pages 2 0 R >>",
                2: b"<< /Type /Pages /Kids [10 0 R] /Count 1 >>",
                4: b"<< >>",
                10: page,
                11: f"<< /Length {len(stream)} /Filter [/FlateDecode /FlateDecode] >>\nstream\n".encode()
                + stream
                + b"\nendstream",
            }
        )
    )
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(InvalidRequestError, match=r"damaged|memory|died"):
        await extractor.extract(bomb)
    nested = tmp_path / "nested.html"
    nested.write_text("<div>" * 100_000 + "deep" + "</div>" * 100_000)
    with pytest.raises(InvalidRequestError, match=r"nested too deeply|no text"):
        await extractor.extract(nested)
    good = tmp_path / "good.pdf"
    good.write_bytes(pdf([["A line that is whole."]]))
    assert "A line that is whole." in (await extractor.extract(good)).text


async def test_a_hundred_thousand_headings_are_taken_in_time(tmp_path: Path, extractor: Extractor) -> None:
    file = tmp_path / "headings.md"
    file.write_text("".join(f"# {number}\n\n" for number in range(100_000)))
    extracted = await extractor.extract(file)
    chunks = chunk_text(extracted.text[:100_000], extracted.format).chunks
    assert len(chunks) < 1000, "headings that nothing stands under are text, many in a chunk"


async def test_a_reader_that_dies_takes_no_other_file_along(tmp_path: Path) -> None:
    bomb, good = tmp_path / "bomb.json", tmp_path / "good.txt"
    bomb.write_text("[" * 200_000 + "]" * 200_000)
    good.write_text("A text that is whole.")
    with Extractor() as extractor:
        read = await asyncio.gather(
            *(extractor.extract(file) for file in (bomb, good, bomb, good)), return_exceptions=True
        )
    assert [isinstance(one, InvalidRequestError) for one in read] == [True, False, True, False]


async def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, extractor: Extractor) -> None:
    folder = tmp_path / "folder.txt"
    folder.mkdir()
    with pytest.raises(InvalidRequestError, match="it cannot be read: Is a directory"):
        await extractor.extract(folder)


@pytest.mark.parametrize("title", ["half \ud83d of a pair", "plain"])
async def test_halves_of_characters_are_left_out(tmp_path: Path, extractor: Extractor, title: str) -> None:
    file = tmp_path / "page.json"
    file.write_text(json.dumps({"title": title, "text": "one \ude00 two"}))
    extracted = await extractor.extract(file)
    assert f"{extracted.title}{extracted.text}".encode()


async def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, extractor: Extractor) -> None:
    file = tmp_path / "bomb.docx"
    with ZipFile(file, "w", ZIP_DEFLATED) as made, made.open("word/document.xml", "w") as member:
        for _ in range(501):
            member.write(bytes(1_000_000))
    with pytest.raises(InvalidRequestError, match="it unpacks to 501 MB: at most 500 MB are taken"):
        await extractor.extract(file)
