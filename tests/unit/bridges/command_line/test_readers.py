"""What a reader of each kind of file reads: its text, whole, in order, under its headings."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

from bridges.command_line.files.extraction import Extractor
from bridges.command_line.files.readers import office
from bridges.command_line.files.readers.extracted import Extracted
from deployments.errors import InvalidRequestError
from deployments.ingestion.chunking import chunk_text, title_of
from deployments.values.documents import Chunk
from tests.office_files import archive, docx, epub, open_document, paragraph, word_table
from tests.pdf_file import pdf, placed


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    with Extractor() as made:
        yield made


class Reading:
    """Reads contents as files of a kind."""

    def __init__(self, folder: Path, extractor: Extractor) -> None:
        self.folder = folder
        self.extractor = extractor

    async def extracted(self, kind: str, content: bytes | str) -> Extracted:
        file = self.folder / f"file{kind}"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return await self.extractor.extract(file)

    async def chunks(self, kind: str, content: bytes | str) -> list[Chunk]:
        read = await self.extracted(kind, content)
        title = read.title or title_of(read.text, read.format)
        return chunk_text(read.text, read.format, headings=(title,) if title else ()).chunks

    async def texts(self, kind: str, content: bytes | str) -> list[tuple[str, str]]:
        return [
            (chunk.headings[-1] if chunk.headings else "", chunk.text) for chunk in await self.chunks(kind, content)
        ]


@pytest.fixture
def read(tmp_path: Path, extractor: Extractor) -> Reading:
    return Reading(tmp_path, extractor)


METER = "The meter in café Müller showed 4,812 kWh – that is 96 €."


@pytest.mark.parametrize(
    ("encoding", "mark", "guess"),
    [
        ("utf-8", b"", ""),
        ("utf-8", b"\xef\xbb\xbf", ""),
        ("utf-16-le", b"\xff\xfe", ""),
        ("utf-16-be", b"\xfe\xff", ""),
        ("utf-32-le", b"\xff\xfe\0\0", ""),
        ("utf-16-le", b"", "UTF-16-LE"),
        ("utf-16-be", b"", "UTF-16-BE"),
        ("cp1252", b"", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
async def test_a_text_is_read_in_its_encoding_and_a_guess_is_told(
    read: Reading, encoding: str, mark: bytes, guess: str, line_end: str
) -> None:
    read_text = await read.extracted(".txt", mark + f"Readings{line_end * 2}{METER}{line_end}".encode(encoding))
    assert read_text.text == f"Readings\n\n{METER}\n"
    assert [guess in told for told in read_text.guesses] == ([True] if guess else [])


IN_ENCODINGS = [
    ("cp1250", "Pompa włącza się, gdy zbiornik jest pełny w mniej niż jednej trzeciej, a zawór zamyka się źle."),
    ("cp1250", "Čerpadlo se zapne, když je nádrž plná z méně než třetiny, a ventil se zavře. Žluťoučký kůň."),
    ("cp1254", "Pompa, depo üçte birinden az dolu olduğunda çalışır ve dolduğunda durur. Işık şimdi açık."),
    ("cp1252", "Die Pumpe läuft an, wenn der Behälter zu weniger als einem Drittel gefüllt ist – Größe: 5 €."),
    ("cp1252", "La pompe démarre lorsque le réservoir est rempli à moins d’un tiers et s’arrête dès l’été."),
    ("cp1252", "Dælan fer í gang þegar tankurinn er fullur að minna en þriðjungi og stöðvast þegar hann er fullur."),
    ("cp1252", "Größe"),
    ("cp1252", "Übergrößen"),
    ("cp1251", "Насос включается, когда бак заполнен меньше чем на треть, и выключается, когда он полон."),
    ("koi8-r", "Насос включается, когда бак заполнен меньше чем на треть, и выключается, когда он полон."),
    ("cp1253", "Η αντλία ξεκινά όταν η δεξαμενή είναι κάτω από το ένα τρίτο και σταματά όταν γεμίσει."),
    ("cp1255", "המשאבה מתחילה כאשר המיכל מלא בפחות משליש."),
    ("shift_jis", "ポンプはタンクの水が三分の一より少なくなると動き、満水になると止まります。"),
    ("euc_jp", "ポンプはタンクの水が三分の一より少なくなると動き、満水になると止まります。"),
    ("gb18030", "水箱水位低于三分之一时水泵启动，满时停止。"),
    ("big5", "水箱水位低於三分之一時水泵啟動，滿時停止。"),
    ("cp949", "펌프는 탱크가 삼분의 일 미만일 때 시작하고 가득 차면 멈춥니다."),
    ("mac_roman", "The meter in café Müller showed 4,812 kWh on 3 March – that is 96 €."),
]


@pytest.mark.parametrize(("encoding", "text"), IN_ENCODINGS)
async def test_a_text_in_an_encoding_of_before_unicode_is_read(read: Reading, encoding: str, text: str) -> None:
    read_text = await read.extracted(".txt", text.encode(encoding))
    assert read_text.text == text
    assert len(read_text.guesses) == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", [text for encoding, text in IN_ENCODINGS if encoding in {"cp1251", "cp1253", "cp1255"}]
)
async def test_utf16_without_a_mark_is_known_in_any_script_with_spaces(read: Reading, encoding: str, text: str) -> None:
    assert (await read.extracted(".txt", text.encode(encoding))).text == text


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        b"\x7fELF" + bytes(2000),
        b"\xff\xfe\xfa not UTF-8",
        b"\x00\x01\x02\x03\xff\xfe\x80binary\x00\x00" * 5,
    ],
)
async def test_what_is_no_text_is_told(read: Reading, content: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="it is not text"):
        await read.extracted(".txt", content)


async def test_ligatures_soft_hyphens_and_broken_words_are_written_out(read: Reading) -> None:
    text = "The of\u00adfice has the \ufb01le, noti\u00ad\nfied by the o\ufb03ce. Cafe\u0301\u200b."
    assert (await read.extracted(".txt", text)).text == "The office has the file, notified by the office. Café."


WINDOW = """<html><head><title>Windows - The works</title></head><body><form id="aspnetForm">
<header><h1>Windows</h1></header><nav><a href="/">Home</a></nav><main></main>
<article><h2>Frames</h2><p>They are of oak. Type <code>paint &lt;colour&gt;</code> or &lt;name&gt;.
20 m<sup>2</sup>.</p>
<figure><img src="x" alt="A frame with two wings"><figcaption>The frame of 1910</figcaption></figure></article>
<article><h2>Panes</h2><details><summary>How thick?</summary>Four millimetres.</details>
<dl><dt>Float</dt><dd>Even glass.</dd></dl></article>
<aside>Never clean them in frost.</aside>
<button>Send</button><button aria-expanded="false">Who cleans them?</button><p>The caretaker.</p>
<label>Your floor</label><input></form><footer>© The works</footer></body></html>"""


async def test_nothing_of_a_web_page_is_lost_but_what_leads_elsewhere(read: Reading) -> None:
    assert await read.texts(".html", WINDOW) == [
        (
            "Frames",
            "They are of oak. Type paint <colour> or <name>. 20 m².\nA frame with two wings\nThe frame of 1910",
        ),
        (
            "Panes",
            (
                "How thick?\nFour millimetres.\nFloat : Even glass.\nNever clean them in frost.\nWho cleans them?\n"
                "The caretaker.\nYour floor"
            ),
        ),
    ]


async def test_the_questions_of_an_faq_may_be_buttons(read: Reading) -> None:
    page = (
        "<main><h1>E-bike</h1><h2><button>How long is the guarantee?</button></h2><div><p>Three years.</p></div>"
        "<aside class='admonition'><p>Never charge it below 5 degrees.</p></aside></main>"
    )
    assert await read.texts(".html", page) == [
        ("How long is the guarantee?", "Three years.\nNever charge it below 5 degrees.")
    ]


async def test_a_table_of_a_web_page_keeps_its_lines_its_caption_and_what_spans(read: Reading) -> None:
    page = """<table><caption>Opening hours</caption>
    <thead><tr><th rowspan="2">Day</th><th colspan="2">Pool</th></tr><tr><th>from</th><th>to</th></tr></thead>
    <tr><td>Monday<br>Tuesday</td><td>8:00</td><td><ul><li>12:00</li><li>16:30</li></ul></td></tr>
    <tr><td colspan="2">Sunday</td><td>shut | open</td></tr></table>"""
    ((_, text),) = await read.texts(".html", page)
    assert text == (
        "Opening hours\nDay | Pool from | Pool to\nMonday, Tuesday | 8:00 | 12:00, 16:30\nSunday |  | shut | open"
    )


async def test_a_table_that_lays_out_a_page_is_what_it_holds(read: Reading) -> None:
    page = """<table><tr><td>The pumps are on the left side.</td><td>
    <table><tr><th>Pump</th><th>Power</th></tr><tr><td>P1</td><td>4 kW</td></tr></table></td></tr></table>"""
    assert await read.texts(".html", page) == [("", "The pumps are on the left side.\nPump | Power\nP1 | 4 kW")]


async def test_a_web_page_whose_encoding_is_not_said_is_read_and_that_is_told(read: Reading) -> None:
    extracted = await read.extracted(".html", "<p>Größe in café</p>".encode("cp1252"))
    assert extracted.text == "Größe in café"
    assert extracted.guesses == ("its encoding is not marked: it was read as Windows-1252",)


@pytest.mark.parametrize(
    ("label", "encoding", "text"),
    [
        ("iso-8859-1", "cp1252", "Price 5 €, the “good” one – don’t."),
        ("US-ASCII", "cp1252", "Die Tür – 4711"),
        ("iso-8859-9", "cp1254", "Işık “iyi” 4711"),
        ("gb2312", "gb18030", "镕基的密码是 4711 €"),
        ("shift_jis", "cp932", "①番の鍵 4711 髙橋"),
        ("euc-kr", "cp949", "똠방각하 4711 햏"),
        ("big5", "big5hkscs", "水箱水位 4711 㗎"),
        ("utf-16", "utf-8", "Die Tür 4711"),
        ("nonsense-8", "utf-8", "Die Tür 4711"),
        ("rot13", "utf-8", "Die Tür 4711"),
        ("windows-1251", "cp1251", "Ключ 4711"),
        ("ISO-8859-2", "iso8859-2", "Żółta skrzynka"),
        ("koi8-r", "koi8-r", "Ключ 4711"),
    ],
)
async def test_the_label_of_a_web_page_means_what_browsers_take_it_for(
    read: Reading, label: str, encoding: str, text: str
) -> None:
    page = f'<html><head><meta charset="{label}"></head><body><p>{text}</p></body></html>'
    extracted = await read.extracted(".html", page.encode(encoding))
    assert (extracted.text, extracted.guesses) == (text, ())


@pytest.mark.parametrize("label", ["windows-1252", "utf-8", "euc-kr", "iso-8859-1"])
async def test_one_byte_that_is_no_letter_costs_a_web_page_no_more_than_that(read: Reading, label: str) -> None:
    head = f'<html><head><meta charset="{label}"></head><body><p>Before'.encode()
    tail = " größer" if label == "utf-8" else ""
    bad = b"\xff" if label in {"utf-8", "euc-kr"} else b"\x81"
    extracted = await read.extracted(".html", head + tail.encode() + b"</p><p>4711 " + bad + b" there</p><p>After</p>")
    assert extracted.text == f"Before{tail}\n\n4711 \ufffd there\n\nAfter"
    assert ["a character in it cannot be read" in guess for guess in extracted.guesses] == [True]


async def test_some_bad_bytes_in_a_text_in_utf8_are_told_and_the_rest_is_read(read: Reading) -> None:
    text = "Die Schlüssel für die Tür hängen über dem Öfchen."
    extracted = await read.extracted(".md", f"{text}\n".encode() + "Es ist heiß.\n".encode("latin-1"))
    assert extracted.text == f"{text}\nEs ist hei\ufffd.\n"
    assert extracted.guesses == ("a character in it cannot be read as UTF-8: \ufffd stands there",)
    cut = await read.extracted(".txt", f"{text} ü".encode()[:-1])
    assert cut.text == f"{text} \ufffd"


LEFT = (
    "The pump starts when the tank is below",
    "a third of its height. Its well-known",
    "filter is cleaned in spring, by hand,",
    "and the water is cold in March. The",
    "valve stays shut until the tank is full.",
)
RIGHT = (
    "E-17 means that the pressure is too low",
    "and that the valve is shut. Open it a",
    "quarter turn, wait for two minutes and",
    "start the pump again. Call the service",
    "when this does not help at all.",
)


async def test_columns_are_read_one_after_the_other_between_what_goes_over_both(read: Reading) -> None:
    words = [(60, 760, "A manual of pumps that goes over both of the columns of this page, as a title does")]
    for row, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
        words += [(50, 730 - 14 * row, left), (320, 730 - 14 * row, right)]
    words.append((60, 600, "A footnote that goes over both of the columns of this page, as some footnotes do."))
    chunks = await read.chunks(".pdf", placed(words))
    assert "\n".join(chunk.text for chunk in chunks).split("\n")[1:3] == [" ".join(LEFT), " ".join(RIGHT)]
    assert {chunk.page for chunk in chunks} == {1}


async def test_the_rows_of_a_table_of_a_pdf_stay_rows_under_the_names_of_their_columns(read: Reading) -> None:
    rows = [("Part", "Name", "Pieces"), *((f"P-{at:03}", f"valve of kind {at}", f"{at * 7}") for at in range(1, 41))]
    words = [(50 + 150 * at, 780 - 14 * down, cell) for down, row in enumerate(rows) for at, cell in enumerate(row)]
    chunks = await read.chunks(".pdf", placed(words))
    assert len(chunks) > 2
    assert all(chunk.text.startswith("Part | Name | Pieces\n") for chunk in chunks)
    assert any("P-037 | valve of kind 37 | 259" in chunk.text for chunk in chunks)


TURNS: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "0 1 -1 0": lambda left, below: (600 - below, left),
    "0 -1 1 0": lambda left, below: (below, 790 - left),
    "-1 0 0 -1": lambda left, below: (600 - left, 790 - below),
}


@pytest.mark.parametrize("turn", TURNS)
async def test_what_is_turned_on_a_page_is_read_like_what_is_not(read: Reading, turn: str) -> None:
    rows = [("Part", "Name", "Pieces"), *((f"P-{at}", f"valve of kind {at}", f"{at * 7}") for at in range(1, 6))]
    words = [(50 + 150 * at, 500 - 14 * down, cell) for down, row in enumerate(rows) for at, cell in enumerate(row)]
    words += [(50, 400 - 14 * row, line) for row, line in enumerate(LEFT)]
    content = placed([(*TURNS[turn](left, below), text) for left, below, text in words], turn)
    table = "\n".join(" | ".join(row) for row in rows)
    assert await read.texts(".pdf", content) == [("", f"{table}\n{' '.join(LEFT)}")]


async def test_what_is_slanted_over_a_page_is_read_whole(read: Reading) -> None:
    said = "This is a draft of the manual, not for sale."
    assert await read.texts(".pdf", placed([(100, 300, said)], "0.7 0.7 -0.7 0.7")) == [("", said)]


async def test_a_paragraph_that_goes_over_a_page_stands_on_the_page_where_it_begins(read: Reading) -> None:
    pages = [["The pump starts when the tank is below a third"], ["of its height.", "It stops when it is full."]]
    first, second = await read.chunks(".pdf", pdf(pages))
    assert (first.text, first.page) == ("The pump starts when the tank is below a third of its height.", 1)
    assert (second.text, second.page) == ("It stops when it is full.", 2)


async def test_a_document_of_word_has_headings_tables_and_footnotes(read: Reading) -> None:
    body = (
        paragraph("House lease", "Title")
        + paragraph("Term", "heading1")
        + paragraph("It ends on 31 October 2029.", run='<w:r><w:footnoteReference w:id="2"/></w:r>')
        + word_table(("Floor", "Tenant", "Rent"), ("1", "Bakery", "900"), ("2", "Aaltje", "700"))
    )
    content = docx(body, f'<w:footnote w:id="2">{paragraph("Unless it is renewed.")}</w:footnote>')
    assert [(chunk.headings, chunk.text) for chunk in await read.chunks(".docx", content)] == [
        (
            ("House lease", "Term"),
            (
                "It ends on 31 October 2029.¹\n1 Unless it is renewed.\n"
                "Floor | Tenant | Rent\n1 | Bakery | 900\n2 | Aaltje | 700"
            ),
        )
    ]


async def test_a_workbook_is_its_sheets_under_their_names(read: Reading, tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Rooms"
    for row in (("Room", "Area", "Since"), ("Kitchen", 18.5, None), ("Hall", 40, "2019-03-01")):
        sheet.append(row)
    book.create_sheet("Empty")
    book.save(tmp_path / "made.xlsx")
    assert await read.texts(".xlsx", (tmp_path / "made.xlsx").read_bytes()) == [
        ("Rooms", "Room | Area | Since\nKitchen | 18.5 | \nHall | 40 | 2019-03-01")
    ]


@pytest.mark.parametrize("size", ["A1", "A1:XFD1048576", "A1:B2"])
async def test_a_workbook_that_tells_a_wrong_size_is_read_whole(read: Reading, tmp_path: Path, size: str) -> None:
    book = Workbook()
    assert book.active is not None
    for row in (("Part", "Place", "Code"), *((f"P-{at}", "hall", at) for at in range(400))):
        book.active.append(row)
    book.save(tmp_path / "made.xlsx")
    with ZipFile(tmp_path / "made.xlsx") as made:
        members = {name: made.read(name) for name in made.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    members[sheet] = re.sub(rb'<dimension ref="[^"]*"', f'<dimension ref="{size}"'.encode(), members[sheet])
    assert f'"{size}"'.encode() in members[sheet]
    text = "\n".join(text for _, text in await read.texts(".xlsx", archive(members)))
    assert all(f"P-{at} | hall | {at}" in text for at in range(400))


def test_a_sheet_with_too_many_cells_is_refused_and_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "_MOST_CELLS", 5)
    book = Workbook()
    assert book.active is not None
    for row in (("Part", "Code"), ("P-1", 1), ("P-2", 2)):
        book.active.append(row)
    book.save(tmp_path / "made.xlsx")
    with pytest.raises(InvalidRequestError, match="more than 5 cells"):
        office.read_xlsx(tmp_path / "made.xlsx")


async def test_slides_are_pages_with_titles_tables_and_notes(read: Reading, tmp_path: Path) -> None:
    slides = Presentation()
    for title in ("Pumps", "Valves"):
        slide = slides.slides.add_slide(slides.slide_layouts[5])
        assert slide.shapes.title is not None
        slide.shapes.title.text = title
        slide.shapes.add_textbox(
            Inches(0), Inches(0), Inches(2), Inches(1)
        ).text_frame.text = f"{title} <are> shut at night."
    table = slide.shapes.add_table(2, 2, Inches(0), Inches(0), Inches(3), Inches(1)).table
    for at, cell in enumerate(("Name", "Size", "V-1", "40 mm")):
        table.cell(at // 2, at % 2).text = cell
    assert slide.notes_slide.notes_text_frame is not None
    slide.notes_slide.notes_text_frame.text = "Say this slowly."
    slides.save(str(tmp_path / "made.pptx"))
    chunks = await read.chunks(".pptx", (tmp_path / "made.pptx").read_bytes())
    assert [(chunk.page, chunk.headings[-1], chunk.text) for chunk in chunks] == [
        (1, "Pumps", "Pumps <are> shut at night."),
        (2, "Valves", "Valves <are> shut at night.\nName | Size\nV-1 | 40 mm\nSay this slowly."),
    ]


async def test_a_text_of_libreoffice_has_headings_lists_tables_and_notes(read: Reading) -> None:
    cells = "".join(
        f"<table:table-row>{''.join(f'<table:table-cell><text:p>{cell}</text:p></table:table-cell>' for cell in row)}"
        "</table:table-row>"
        for row in (("Key", "Place", "Holder"), ("front", "hook 3", "Aaltje"), ("attic", "hook 5", "Bram"))
    )
    body = (
        '<text:h text:outline-level="1">Keys</text:h><text:p>They hang<text:s/>behind the door.'
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>The red one.</text:p>"
        "</text:note-body></text:note></text:p><text:list><text:list-item><text:p>Front</text:p></text:list-item>"
        f"</text:list><table:table>{cells}</table:table>"
    )
    content = open_document("text", body, "House keys")
    chunks = await read.chunks(".odt", content)
    assert [(chunk.headings, chunk.text) for chunk in chunks] == [
        (
            ("House keys", "Keys"),
            (
                "They hang behind the door. 1\nThe red one.\n- Front\n"
                "Key | Place | Holder\nfront | hook 3 | Aaltje\nattic | hook 5 | Bram"
            ),
        )
    ]


async def test_a_book_is_read_in_its_order(read: Reading) -> None:
    book = epub(
        {"a": "<h1>Attic</h1><p>It is insulated.</p>", "b": "<h1>Cellar</h1><p>It is dry.</p>"}, ("b", "a"), "House"
    )
    assert [(chunk.headings, chunk.text) for chunk in await read.chunks(".epub", book)] == [
        (("House", "Cellar"), "It is dry."),
        (("House", "Attic"), "It is insulated."),
    ]


async def test_a_book_that_does_not_list_its_pages_is_all_pages_that_it_has(read: Reading) -> None:
    container = '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
    members = {"META-INF/container.xml": container, "a.opf": "<package/>", "a.xhtml": "<p>The attic is insulated.</p>"}
    assert await read.texts(".epub", archive(members)) == [("", "The attic is insulated.")]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (".csv", 'article,price\nlamp,39\n"desk, large",240\n'),
        (".csv", "article;price\nlamp;39\ndesk, large;240\n"),
        (".tsv", "article\tprice\nlamp\t39\ndesk, large\t240\n"),
    ],
)
async def test_separated_values_are_a_table(read: Reading, kind: str, content: str) -> None:
    assert await read.texts(kind, content) == [("", "article | price\nlamp | 39\ndesk, large | 240")]


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        (
            ".csv",
            "part,place\nP-1,hall\u2028two\nP-2,roof\fx\nP-3,a\x85b\n",
            "P-1 | hall, two\nP-2 | roof, x\nP-3 | a, b",
        ),
        (
            ".jsonl",
            (
                '{"part": "P-1", "place": "hall\u2028two"}\n{"part": "P-2", "place": "roof\\fx"}\r\n'
                '{"part": "P-3", "place": "a\x85b"}'
            ),
            "P-1 | hall, two\nP-2 | roof x\nP-3 | a, b",
        ),
    ],
)
async def test_only_line_feeds_and_carriage_returns_end_a_row(
    read: Reading, kind: str, content: str, text: str
) -> None:
    assert await read.texts(kind, content) == [("", f"part | place\n{text}")]


async def test_the_line_that_tells_excel_the_delimiter_is_no_row(read: Reading) -> None:
    content = "sep=;\r\npart;place;price\r\nP-1;hall, left;12,50\r\n"
    assert await read.texts(".csv", content) == [("", "part | place | price\nP-1 | hall, left | 12,50")]


@pytest.mark.parametrize(
    ("rows", "told", "text"),
    [
        ('P-2,"6 inch,13\nP-3,7,14\nP-4,8,15\n', 1, 'P-2 | "6 inch | 13\nP-3 | 7 | 14\nP-4 | 8 | 15'),
        ('P-2,"6 inch,13\nP-3,5",14\nP-4,8,15', 1, 'P-2 | "6 inch | 13\nP-3 | 5" | 14\nP-4 | 8 | 15'),
        ('P-2,5" pipe,13\nP-3,"a ""b"", c",14\n', 0, 'P-2 | 5" pipe | 13\nP-3 | a "b", c | 14'),
        ('P-2,"two\nlines, ""here""",13\nP-3,7,14\n', 0, 'P-2 | two, lines, "here" | 13\nP-3 | 7 | 14'),
    ],
)
async def test_a_stray_quote_swallows_no_row(read: Reading, rows: str, told: int, text: str) -> None:
    content = f"part,size,price\n{rows}"
    assert await read.texts(".csv", content) == [("", f"part | size | price\n{text}")]
    guesses = (await read.extracted(".csv", content)).guesses
    assert ["the quotes in a row" in guess for guess in guesses] == [True] * told


@pytest.mark.parametrize("kind", [".csv", ".html", ".md", ".xlsx", ".json"])
async def test_every_piece_of_a_long_table_names_its_columns(read: Reading, tmp_path: Path, kind: str) -> None:
    names = ("Part", "Name", "Pieces in stock")
    rows = [(f"P-{at:03}", f"valve {at}", str(at * 7)) for at in range(1, 81)]
    book = Workbook()
    for row in (names, *rows):
        assert book.active is not None
        book.active.append(row)
    book.save(tmp_path / "made.xlsx")
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    contents = {
        ".csv": "\n".join(",".join(row) for row in (names, *rows)),
        ".html": f"<table><tr><th>{'</th><th>'.join(names)}</th></tr>{cells}</table>",
        ".md": "\n".join(f"| {' | '.join(row)} |" for row in (names, ("---", "---", "---"), *rows)),
        ".xlsx": (tmp_path / "made.xlsx").read_bytes(),
        ".json": "[" + ",".join(str(dict(zip(names, row, strict=True))).replace("'", '"') for row in rows) + "]",
    }
    chunks = await read.chunks(kind, contents[kind])
    assert len(chunks) > 2
    assert all(chunk.text.startswith("Part | Name | Pieces in stock\n") for chunk in chunks)
    assert any("P-037 | valve 37 | 259" in chunk.text for chunk in chunks)


async def test_json_is_its_values_behind_the_names_that_lead_to_them(read: Reading) -> None:
    content = '{"title": "House", "heating": {"pressure": 1.5, "fuel": ["gas", "wood"]}, "none": null, "on": true}'
    assert await read.texts(".json", content) == [
        ("House", "title: House\nheating.pressure: 1.5\nheating.fuel: gas, wood\non: true")
    ]
    assert await read.texts(".jsonl", '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n') == [("", "a | b\n1 | x\n2 | y")]


async def test_mail_is_its_subject_its_people_and_its_text(read: Reading) -> None:
    message = (
        "From: =?utf-8?q?M=C3=BCller?= <m@example.org>\nTo: b@example.org\nSubject: =?utf-8?b?RGVyIEvDpGxsZXI=?=\n"
        'Date: Sun, 01 Mar 2026 10:00:00 +0000\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="x"\n\n'
        "--x\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
        "<p>The cellar is <b>dry</b> since Gr=C3=BCndonnerstag.</p>\n"
        '--x\nContent-Type: application/pdf\nContent-Disposition: attachment; filename="plan.pdf"\n\nx\n--x--\n'
    )
    ((heading, text),) = await read.texts(".eml", message)
    assert heading == "Der Käller"
    assert text == (
        "From: Müller <m@example.org>; To: b@example.org; Date: Sun, 01 Mar 2026 10:00:00 +0000\n"
        "The cellar is dry since Gründonnerstag.\nAttached: plan.pdf"
    )


def mail(kind: str, *parts: tuple[str, str]) -> str:
    """Return a message whose parts have these heads and contents."""
    said = "".join(f"--x\nContent-Type: {head}\n\n{content}\n" for head, content in parts)
    return f"From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary=x\n\n{said}--x--\n"


PICTURE = ('image/png; name="p.png"\nContent-Disposition: inline; filename="p.png"', "x")
PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
LETTER = "The code of the gate is 4711, and the gate is closed at night."


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (mail("mixed", (PLAIN, "First."), PICTURE, (PLAIN, "Then 4711.")), "First.\nAttached: p.png\nThen 4711."),
        (mail("mixed", (HTML, "<p>First."), (HTML, "<p>Then 4711.")), "First.\nThen 4711."),
        (mail("alternative", (PLAIN, LETTER), (HTML, f"<p>{LETTER.replace('code', '<b>code</b>')}</p>")), LETTER),
        (mail("alternative", (PLAIN, " "), (HTML, f"<p>{LETTER}</p>")), LETTER),
        (mail("alternative", (PLAIN, "Your program shows no HTML."), (HTML, f"<p>{LETTER}</p>")), LETTER),
        (mail("mixed", (PLAIN, LETTER)).replace("boundary=x", ""), f"--x Content-Type: {PLAIN}\n{LETTER} --x--"),
        (mail("mixed", (f"{PLAIN}\nContent-Disposition: attachment; filename=a.txt", "no")), "Attached: a.txt"),
    ],
)
async def test_every_text_of_a_mail_is_read_and_of_its_forms_the_one_that_says_it(
    read: Reading, message: str, text: str
) -> None:
    assert await read.texts(".eml", message) == [("", f"From: a@example.org\n{text}")]


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("text/plain; charset=us-ascii", "cp1252"),
        ("text/plain; charset=us-ascii", "utf-8"),
        ("text/plain", "utf-8"),
        ("text/plain", "cp1252"),
        ("text/plain; charset=iso-8859-1", "cp1252"),
        ("text/plain; charset=iso-8859-1", "utf-8"),
        ("text/plain; charset=utf-8", "cp1252"),
        ("text/plain; charset=unknown-8bit", "cp1252"),
        ("text/plain; charset=koi8-r", "koi8-r"),
    ],
)
async def test_a_mail_with_a_wrong_charset_or_none_is_read(read: Reading, head: str, encoding: str) -> None:
    said = "Ключ от двери 4711." if encoding == "koi8-r" else "Die Tür ist grün – 5 € im Monat, Größe über alles."
    message = f"From: a@example.org\nContent-Type: {head}\nContent-Transfer-Encoding: 8bit\n\n{said}\n"
    assert await read.texts(".eml", message.encode(encoding)) == [("", f"From: a@example.org\n{said}")]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
async def test_the_head_of_a_mail_may_hold_letters_that_nothing_marks(read: Reading, encoding: str) -> None:
    said = "Die Tür ist grün – 5 € im Monat."
    message = f"From: Jürgen Müller <a@example.org>\r\nSubject: Tür für Gäste\r\n\r\n{said}\r\n"
    assert await read.texts(".eml", message.encode(encoding)) == [
        ("Tür für Gäste", f"From: Jürgen Müller <a@example.org>\n{said}")
    ]


async def test_restructured_text_is_read_with_directives_and_roles_that_nobody_knows(read: Reading) -> None:
    text = """
Pumps
=====

See :ref:`the valves <valves>` and :py:func:`~os.open`, ``raw *text*``.

.. versionadded:: 3.2
   It pumps.

.. code-block:: sh

   pump --start

.. toctree::

   other

Parts
-----

====  =====
Part  Price
====  =====
P-1   3
====  =====
"""
    assert await read.texts(".rst", text) == [
        ("Pumps", "See the valves and os.open, raw *text*.\n3.2 It pumps.\npump --start"),
        ("Parts", "Part | Price\nP-1 | 3"),
    ]


@pytest.mark.parametrize("directive", ["include", "raw", "csv-table", "literalinclude"])
async def test_restructured_text_does_not_read_other_files(read: Reading, directive: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    options = "   :file: secret.txt\n" if directive in {"raw", "csv-table"} else ""
    argument = {"raw": "html", "csv-table": "Title"}.get(directive, "secret.txt")
    extracted = await read.extracted(".rst", f"A text.\n\n.. {directive}:: {argument}\n{options}\nAnother.\n")
    assert "secret" not in extracted.text.replace("secret.txt", "")
    assert "Another." in extracted.text


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        (".docx", b"", "it is damaged"),
        (
            ".docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100),
            "protected by a password, or of the format before 2007",
        ),
        (".docx", archive({"a.txt": "no document"}), "it is damaged"),
        (".xlsx", archive({"a.txt": "no workbook"}), "it is damaged"),
        (".pptx", archive({"a.txt": "no slides"}), "it is damaged"),
        (".odt", archive({"a.txt": "no text"}), "it is damaged"),
        (".odt", open_document("text", "", manifest="<manifest:encryption-data/>"), "protected by a password"),
        (".epub", archive({"a.txt": "no book"}), "it does not say what is in it"),
        (".epub", archive({"META-INF/rights.xml": "<r/>"}), "protected against copying"),
        (".json", b"{not json", "it is not JSON"),
        (".eml", b"no message", "it is no e-mail"),
        (".csv", b"", "it holds no text"),
    ],
)
async def test_what_cannot_be_read_says_why(read: Reading, kind: str, content: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        await read.extracted(kind, content)


@pytest.mark.parametrize("is_book", [False, True])
async def test_text_between_two_rules_at_the_top_of_a_page_is_text(read: Reading, *, is_book: bool) -> None:
    page = "<hr/><p>Code: 4711</p><hr/><p>The rest.</p>"
    content = epub({"a": page}, ("a",), "House") if is_book else page
    texts = await read.texts(".epub" if is_book else ".html", content)
    assert [text for _, text in texts] == ["Code: 4711\nThe rest."]
