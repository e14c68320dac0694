"""What a voice is given to say, of a whole text and of one that is still being written."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.text.speakable import SpeakableReader, speakable, spoken_sentences

MARKED: tuple[tuple[str, str], ...] = (
    ("Hello there.", "Hello there."),
    ("**Yes**, it _is_ `true`.", "Yes, it is true."),
    ("See [the manual](https://example.com/m?x=1).", "See the manual."),
    ("It is at https://www.example.com/a/b?c=d#e today.", "It is at example.com today."),
    ("It is at https://example.com/a. Then go.", "It is at example.com. Then go."),
    ("Well done 🎉🎉!", "Well done!"),
    ("# Opening hours\n\nFrom nine to five.", "Opening hours. From nine to five."),
    ("1. Open the door\n2. Close it", "1: Open the door. 2: Close it."),
    ("- milk\n- bread", "milk. bread."),
    ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b. 1, 2."),
    ("a | b\n---|---\n1 | 2", "a, b. 1, 2."),
    ("Run this:\n\n```\nrm -rf /\n```\n\nThen wait.", "Run this: Then wait."),
    ("A <b>bold</b> word", "A bold word."),
    ("bell\x07 and tab\there", "bell and tab here."),
    ("你好", "你好."),
    ("**Stop. Go back.** Then wait.", "Stop. Go back. Then wait."),
    ("~~old~~ ==new== *very* __much__", "old new very much."),
    ("snake_case, 2*3 and 5 * 3", "snake_case, 2*3 and 5 * 3."),
    (r"Not \*bold\*", "Not *bold*."),
    ("Use `rm *.txt` or ``a`b``.", "Use rm *.txt or a`b."),
    ("An unclosed `tick stays. Yes.", "An unclosed tick stays. Yes."),
    ("![A cat](cat.png) sleeps", "A cat sleeps."),
    ("[See][1] the [note].\n\n[1]: https://example.com/a", "See the note."),
    ("It rains[^1] in May [2].\n\n[^1]: Not always.", "It rains in May. Not always."),
    ("Title\n=====\nText", "Title. Text."),
    ("> It was said.\n> Twice.", "It was said. Twice."),
    ("\x1b[31mred\x1b[0m, \\x1b[1mbold and \\033[0mplain", "red, bold and plain."),
    ("Step one → step two", "Step one, step two."),
    ("Open Settings > Display now", "Open Settings, Display now."),
    ("Tea • Coffee · Milk", "Tea, Coffee, Milk."),
)
TAGGED: tuple[tuple[str, str], ...] = (
    ("<p>Hello <b>you</b></p><p>Two</p>", "Hello you. Two."),
    ("<div class='a b'\n  hidden>Inside</div>", "Inside."),
    ("<ul><li>milk<li>bread</ul>", "milk. bread."),
    ("<table><tr><td>a</td><td>b</td></tr><tr><td>1<td>2</table>", "a, b. 1, 2."),
    ("Line one<br>Line two<br/>Line three", "Line one. Line two. Line three."),
    ("<!-- not\n\nthis -->Text<script>var a = '<b>';</script> and <STYLE>p{}</STYLE>more", "Text. and. more."),
    ("<html><head><title>T</title></head><body>Text</body></html>", "Text."),
    ("AT&amp;T is &lt;here&gt; &#8364;5 &nope;", "AT&T is <here> €5 &nope;"),
    ("Tom & Jerry&co", "Tom & Jerry&co."),
    ("H<sub>2</sub>O, 5 m<sup>2</sup>", "H2O, 5 m²."),
    ('<img src="a.png" alt="A cat"> sleeps', "A cat sleeps."),
    ('<?xml version="1.0"?><speak>Hello <break time="1s"/>you</speak>', "Hello. you."),
    ('<speak>Hello <break time="200ms"/>you <break strength="none"/>there</speak>', "Hello, you there."),
    ("<speak><s>One</s><s>Two</s></speak>", "One. Two."),
    ('<say-as interpret-as="characters">ABC</say-as> is <say-as interpret-as="date">May 5</say-as>', "A B C is May 5."),
    ('The <sub alias="World Wide Web Consortium">W3C</sub>', "The World Wide Web Consortium."),
    ('<prosody rate="slow">Slowly</prosody>, <emphasis>very</emphasis>', "Slowly, very."),
    ("a<b and c>d", "a<b and c>d."),
    ("if a<b && c>d then", "if a<b && c>d then."),
    ("a < b, 5 > 3 and x <= 4", "a < b, 5 > 3 and x <= 4."),
    ("Enter <your name> here", "Enter your name here."),
    ("<https://example.com/x> or <joe@example.com>", "example.com or joe@example.com."),
    ("An unclosed <script> tag is told of", "An unclosed script tag is told of."),
    ("Put it in <head>, not in <title> or <b>.", "Put it in head, not in title or b."),
    ("Between <style> and </style> it stands", "Between style and it stands."),
    ("A <b>bold</b> <i> tag</i>", "A bold i tag."),
    ("<style>\np{}\n</style>\nText", "Text."),
    ("Write <!-- to begin a comment.", "Write to begin a comment."),
    ("<![CDATA[a < b]]>", "a < b."),
)
BRACKETED: tuple[tuple[str, str], ...] = (
    ("The interval [0,1] is closed", "The interval 0, 1 is closed."),
    ("The array is [1, 2, 3].", "The array is 1, 2, 3."),
    ("Take array[0], array[1][2] or list[2].", "Take array 0, array 1 2 or list 2."),
    ("He has [3] cats", "He has 3 cats."),
    ("See [1] (or see [2]).", "See 1 (or see 2)."),
    ("It rains.[1] It pours [2]. It snows[3].", "It rains. It pours. It snows."),
    ("It is off [1] and blocked [2, 3], so stop [4][5] ([6]).", "It is off and blocked, so stop."),
    ("It is kept. [2] The next", "It is kept. The next."),
    ("a*b*c and width*height", "a*b*c and width*height."),
    ("/tmp/*.log, *.txt and a*.log", "/tmp/*.log, *.txt and a*.log."),
    ("*it* is *so.* **Two*** *E*very price*", "it is so. Two Every price."),
)
SIGNS: tuple[tuple[str, str], ...] = (
    ("-5 °C", "-5 °C."),
    ("5−3 = 2", "5−3 = 2."),
    ("> 90 % of them", "> 90 % of them."),
    ("- > 5 km away\n- ≥ 3", "> 5 km away. ≥ 3."),
    ("1️⃣ Open\n2️⃣ Close", "1: Open. 2: Close."),
    ("Press 5️⃣, then 1️⃣0️⃣", "Press 5, then 10."),
    ('He said: "It is."', 'He said: "It is."'),
    ("5 ➕ 3 ➖ 1", "5 + 3 − 1."),
)
YES_OR_NO: tuple[tuple[str, str], ...] = (
    ("| Backup | ✅ |\n|---|---|\n| Copies | ❌ |\n| ✔️ | ✖️ |", "Backup, ✓. Copies, ✗. ✓, ✗."),
    ("- Backup: ✅\n- ❌ Copies", "Backup: ✓. ✗ Copies."),
    ("<ul><li>Backup ✔️</li><li>Copies ❌</li></ul> Done ✅", "Backup ✓. Copies ✗. Done."),
    ("Well done ✅", "Well done."),
)
FORMULAS: tuple[tuple[str, str], ...] = (
    (r"The area is $\pi r^2$.", "The area is π r²."),
    ("If $x = 5$ and $y$, then $x + y$.", "If x = 5 and y, then x + y."),
    (r"\(x^{10}\) and \[y = \frac{1}{2}\]", "x^10 and y = 1/2."),
    (r"$$\frac{a+b}{c} \leq \sqrt{2}$$", "(a+b) / c ≤ √2."),
    (r"\frac{a}{b} \cdot \alpha \times 5", "a / b ⋅ α × 5."),
    (r"$\unheard{x}_1$", "unheard x 1."),
    ("It is $5 and $6, $5-$10 or A$7.", "It is $5 and $6, $5-$10 or A$7."),
    ("$5/month and $1.5M (not $2)", "$5/month and $1.5M (not $2)."),
    ("Set $HOME and $PATH, ${var}", "Set $HOME and $PATH, ${var}."),
    (r"C:\new\times and \n", r"C:\new\times and \n."),
)

FRAGMENTS = (
    *("a", "It is", "Dr.", "e.g.", "3 in. ", "Jan. 5", ". ", "! ", "。", "」", " ", "  \n", "\n", "\n\n", "\r\n", "- "),
    *("* ", "2. ", "3) ", "**", "*", "_", "`", "```", "~~", "# ", "> ", "> 5", "[", "](u)", "]", "![", "[^1]", "[1]"),
    *(": ", "<b>", "</b>", "<p>", "<", "<a href='x'>", "<!--", "-->", "<script>", "</script>", "<td>", "<your name>"),
    *("<x@y.z>", "&amp;", "&", "\\", "http://x.com/a_b", "🎉", "1️⃣", "→", "=", "==", "---", "config.yaml", ", and then"),
    *(
        "(",
        ")",
        "é",
        "’",
        "|",
        "| ",
        "$",
        "$x",
        "$5",
        r"\frac{a}{",
        r"\pi",
        "\\[",
        "\\)",
        "\x1b[31m",
        r"\x1b[0",
        "[0, 1]",
    ),
    *("<script> tag", "</title>", "-", "array", "data:", "✅", "](data:"),
)


def sentences_of(*parts: str) -> list[str]:
    """Return the sentences of a text that comes in parts."""
    reader = SpeakableReader()
    return [sentence for part in parts for sentence in reader.read(part)] + reader.rest()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("written", "spoken"), MARKED)
def test_markup_is_left_out_and_its_text_is_kept(written: str, spoken: str) -> None:
    assert words(speakable(written)) == spoken


@pytest.mark.parametrize(("written", "spoken"), TAGGED)
def test_tags_are_left_out_and_what_only_looks_like_one_is_kept(written: str, spoken: str) -> None:
    assert words(speakable(written)) == spoken


@pytest.mark.parametrize(("written", "spoken"), BRACKETED)
def test_a_mark_of_a_source_is_left_out_and_a_value_is_kept(written: str, spoken: str) -> None:
    assert words(speakable(written)) == spoken


@pytest.mark.parametrize(("written", "spoken"), YES_OR_NO)
def test_a_tick_or_a_cross_is_kept_where_it_says_something(written: str, spoken: str) -> None:
    assert words(speakable(written)) == spoken


@pytest.mark.parametrize("size", [10, 3000])
def test_what_an_embedded_image_holds_is_not_said(size: int) -> None:
    assert speakable(f"See ![a cat](data:image/png;base64,{'A' * size}==) here.") == "See a cat here."
    assert sentences_of(*f"See <img src='data:image/png;base64,{'A' * size}' alt='a cat'> here. ") == [
        "See a cat here."
    ]


@pytest.mark.parametrize(("written", "spoken"), FORMULAS)
def test_a_formula_is_said_in_signs_and_an_amount_stays_one(written: str, spoken: str) -> None:
    assert words(speakable(written)) == spoken


@pytest.mark.parametrize(("written", "spoken"), SIGNS)
def test_signs_keep_their_sense(written: str, spoken: str) -> None:
    assert words(speakable(written)) == spoken


@pytest.mark.parametrize("written", ["", "   ", "🙂🙂", "...", "```\ncode\n```", "***", "\n\n", "<br>", "<!-- a -->"])
def test_what_holds_no_word_is_nothing(written: str) -> None:
    assert speakable(written) == ""


class TestLines:
    @pytest.mark.parametrize(
        ("written", "sentences"),
        [
            ("• milk\n• bread", ["milk.", "bread."]),
            ("a) milk\nb) bread", ["a: milk.", "b: bread."]),
            ("✅ Wash\n❌ Dry", ["Wash.", "Dry."]),
            ("- [ ] wash\n- [x] dry", ["wash.", "dry."]),
            ("1. Say:\n   ```\n   x\n   ```\n2. Stop", ["1: Say:", "2: Stop."]),
            ("Monday: closed\nTuesday: nine to five", ["Monday: closed.", "Tuesday: nine to five."]),
            ("Roses are red  \nand violets blue", ["Roses are red.", "and violets blue."]),
        ],
    )
    def test_a_list_has_a_pause_at_each_line(self, written: str, sentences: list[str]) -> None:
        assert speakable(written).splitlines() == sentences

    def test_a_line_that_ends_because_its_page_is_full_has_none(self) -> None:
        wrapped = "This is a paragraph whose lines are as long as a page is wide, so\nIt goes on."
        assert speakable(wrapped) == wrapped.replace("\n", " ")


class TestGrowingTexts:
    @pytest.mark.parametrize(
        "written", [written for written, _ in (*MARKED, *TAGGED, *BRACKETED, *YES_OR_NO, *FORMULAS, *SIGNS)]
    )
    def test_the_same_is_said_at_every_cut(self, written: str) -> None:
        whole = speakable(written).splitlines()
        assert sentences_of(*written) == whole
        for cut in range(len(written)):
            assert sentences_of(written[:cut], written[cut:]) == whole, cut

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(FRAGMENTS), max_size=14), st.lists(st.integers(0, 80), max_size=4))
    def test_whatever_is_written_is_said_the_same_however_it_is_cut(self, parts: list[str], cuts: list[int]) -> None:
        text = "".join(parts)
        whole = speakable(text).splitlines()
        borders = [0, *sorted(cuts), len(text)]
        assert sentences_of(*text) == whole
        assert sentences_of(*(text[a:b] for a, b in itertools.pairwise(borders))) == whole

    def test_a_sentence_is_said_before_the_next_is_written(self) -> None:
        reader = SpeakableReader()
        assert reader.read("**It rains.** ") == ["It rains."]
        assert reader.read("\n- It pours") == []
        assert reader.read(".\n") == []
        assert reader.read("- It") == ["It pours."]

    @pytest.mark.parametrize(
        "opening",
        [
            *("Put it in a <script> here.", "<title> names the page.", "Write <!-- at first.", "<?php is first."),
            *("x<sup> is high.", "An unclosed `tick is here.", "Put a <template> there.", 'Use <a href=" for links.'),
            "It is <say-as interpret-as='digits'> here.",
        ],
    )
    def test_what_is_never_closed_is_not_waited_for(self, opening: str) -> None:
        reader = SpeakableReader()
        sentences = [f"This is sentence number {number} of many." for number in range(70)]
        said = [one for character in f"{opening} {' '.join(sentences)} " for one in reader.read(character)]
        assert said[1:] == sentences

    def test_marks_without_end_are_read_in_linear_time(self) -> None:
        assert sentences_of(*(["![!["] * 2000)) == []

    def test_an_element_that_is_left_out_may_be_long(self) -> None:
        code = "const a = 1; // Here it is. And more.\n" * 100
        assert sentences_of(*f"Run it.\n\n<script>\n{code}</script>\nThen wait.") == ["Run it.", "Then wait."]

    def test_a_line_that_may_be_a_fence_waits(self) -> None:
        reader = SpeakableReader()
        assert reader.read("Run:\n``") == []
        assert reader.read("`\nrm -rf /. ") == ["Run:"]
        assert reader.read("\n```\nThen wait. ") == ["Then wait."]

    def test_an_opening_clause_is_taken_once(self) -> None:
        reader = SpeakableReader()
        reader.read("As far as I know, it")
        assert (reader.opening_clause(), reader.opening_clause()) == ("As far as I know,", "")
        assert reader.read(" rains. ") == ["it rains."]


def test_sentences_are_said_one_after_the_other() -> None:
    assert spoken_sentences("One is here. Two is there! Dr. Three?") == ["One is here.", "Two is there!", "Dr. Three?"]


def test_a_page_is_no_end() -> None:
    assert speakable("See p. 12 and (pp. 3-5). Then go. 5 are here.").splitlines() == [
        "See p. 12 and (pp. 3-5).",
        "Then go.",
        "5 are here.",
    ]


def test_a_line_is_a_sentence_whatever_its_marks() -> None:
    assert spoken_sentences("milk etc.\nbread") == ["milk etc.", "bread"]


def test_an_opening_clause_comes_first_where_that_pays() -> None:
    text = "When you have opened the door, turn the key twice. Then go in."
    assert spoken_sentences(text) == ["When you have opened the door, turn the key twice.", "Then go in."]
    assert spoken_sentences(text, opening_clause=True) == [
        "When you have opened the door,",
        "turn the key twice.",
        "Then go in.",
    ]


def test_a_sentence_without_end_is_cut() -> None:
    pieces = spoken_sentences("word " * 1000)
    assert max(map(len, pieces)) <= 300
    assert " ".join(pieces).split() == ["word"] * 1000
    assert "".join(spoken_sentences("a" * 1000)) == "a" * 1000
