"""What is said of amounts, dates, times, numbers, units and addresses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.text.spoken_forms import SpokenWords, spoken_words
from tests.benchmarks.spoken_forms import SpokenForm, table


def said(text: str, language: str = "en") -> str:
    return " ".join(word.spoken for word in spoken_words(text, language) if word.spoken)


@pytest.mark.parametrize("form", table(), ids=lambda form: form.written)
def test_what_is_written_in_signs_is_said_in_words(form: SpokenForm) -> None:
    assert said(form.written) == form.spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("-$5", "minus five dollars"),
        ("$0.99", "ninety-nine cents"),
        ("€1.5bn", "one point five billion euros"),
        ("1'234'567", "one million two hundred thirty-four thousand five hundred sixty-seven"),
        ("007", "zero zero seven"),
        ("1,5 l", "one point five liters"),
        ("2024-05-01T14:30:00Z", "May first, twenty twenty-four, at fourteen thirty U T C"),
        ("3rd May 2024", "the third of May, twenty twenty-four"),
        ("2024-13-45", "twenty twenty-four thirteen forty-five"),
        ("the '90s", "the nineties"),
        ("16:9", "sixteen to nine"),
        ("9:00 a.m. today", "nine A M today"),
        ("1:30:25", "one thirty and twenty-five seconds"),
        ("06 12 34 56 78", "zero six, one two, three four, five six, seven eight"),
        ("AA:BB:CC:00:11:22", "A A, B B, C C, zero zero, one one, two two"),
        ("10.0.0.0/8", "ten dot zero dot zero dot zero slash eight"),
        ("5 m/s", "five meters per second"),
        ("5 m3", "five cubic meters"),
        ("1 l", "one liter"),
        ("2^10 and 10⁻³", "two to the power of ten and ten to the power of minus three"),
        ("x² + y²", "x squared plus y squared"),
        ("1e-5", "one times ten to the minus five"),
        ("2 1/2 cups", "two and one half cups"),
        ("Elizabeth II", "Elizabeth the second"),
        ("part IV", "part four"),
        ("x86-64", "x eighty-six sixty-four"),
        ("1600 Pennsylvania Ave.", "sixteen hundred Pennsylvania Avenue."),
        ("A–B", "A–B"),
        ("10^-3", "ten to the power of minus three"),
        ("fe80::1", "F E eight zero colon colon one"),
        ("2024/05/01", "May first, twenty twenty-four"),
        ("1.000.000 and 1 000 km", "one million and one thousand kilometers"),
        ("€ 5,- a day", "five euros a day"),
        ("€5/month", "five euros per month"),
        ("a 20 min walk", "a twenty minutes walk"),
        ("5 A battery, 5 A.", "five A battery, five amperes."),
        ("7.45 pm", "seven forty-five P M"),
        ("1 h 30 min", "one hour thirty minutes"),
        ("1,2,3", "one, two, three"),
        ("and/or", "and or"),
        ("10000000000000000", " ".join(["one", *["zero"] * 16])),
        ("1.000.000–2.000.000", "one million to two million"),
        ("5 > 3", "five is greater than three"),
        ("π r², (x)^2 and e^(i π)", "pi r squared, (x) squared and e to the power of (i pi)"),
        ("(a+b) / c ⋅ α", "(a plus b) over c times alpha"),
        ("15 000 people", "fifteen thousand people"),
        (
            "1.299,00 € or €1.299,50",
            "one thousand two hundred ninety-nine euros or one thousand two hundred ninety-nine euros and fifty cents",
        ),
        ("1.234,56 kg", "one thousand two hundred thirty-four point five six kilograms"),
        ("0x80070005", "zero X eight zero zero seven zero zero zero five"),
        ("10:30 UTC+5:30, GMT-5", "ten thirty U T C plus five thirty, G M T minus five"),
        ("2024-05-06T10:30:00+02:00", "May sixth, twenty twenty-four, at ten thirty U T C plus two"),
        ("2024-05-06 10:30:00-05:00", "May sixth, twenty twenty-four, at ten thirty U T C minus five"),
        ("€1–2bn", "one to two billion euros"),
        (
            "$1.5-2 million or $10K-$20K",
            "one point five to two million dollars or ten thousand to twenty thousand dollars",
        ),
        ("Boeing 747-400", "Boeing seven forty-seven four hundred"),
        ("1-800-FLOWERS", "one, eight zero zero, FLOWERS"),
        ("Dial 112 or 911.", "Dial one one two or nine one one."),
        (
            "$5/month, $3.5k/month, $20/h",
            "five dollars per month, three point five thousand dollars per month, twenty dollars per hour",
        ),
        ("9.81 m/s² and m/s^2", "nine point eight one meters per second squared and m slash s squared"),
        ("Backup, ✓. Copies ✗. 1: ✓ Logs", "Backup, yes. Copies, no. one: yes: Logs"),
        ("open 10:30am", "open ten thirty A M"),
        ("8:00am to 9:05pm.", "eight A M to nine oh five P M."),
        ("9am-5pm daily", "nine A M to five P M daily"),
        ("9:30 a.m. – 5 p.m. daily", "nine thirty A M to five P M daily"),
        ("from 9 - 11am", "from nine to eleven A M"),
    ],
)
def test_neighbours_of_the_table(written: str, spoken: str) -> None:
    assert said(written) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "Nobody is here.",
        "I like it, I think so - really.",
        "The end (of the story) is near: wait…",
        "Mr and Mrs Miller's well-known half-truth",
        "Part I like best",
        "He said “no.”",
    ],
)
def test_words_stay_as_they_are(text: str) -> None:
    assert said(text) == text


@pytest.mark.parametrize("language", ["de", "fr", "ja", ""])
def test_other_languages_are_left_to_their_voice(language: str) -> None:
    text = "Am 14.05.2026 um 18:20 kostet es 3,50 € bei -5 °C & mehr."
    assert said(text, language) == text


def test_the_region_decides_what_a_date_means() -> None:
    assert said("05/06/2024", "en-US") == "May sixth, twenty twenty-four"
    assert said("05/06/2024", "en_GB") == "June fifth, twenty twenty-four"


def test_words_that_are_spoken_as_one_stay_together() -> None:
    assert spoken_words("(about 5 km)", "en") == (
        SpokenWords("(about", "(about"),
        SpokenWords("5 km)", "five kilometers)"),
    )


@settings(deadline=None)
@given(st.text(alphabet="0123456789abIVX .,:;/-−+$€%°(){}'\"<>=&#@_~²½№\\", max_size=40))
def test_nothing_that_is_written_is_lost(text: str) -> None:
    words = spoken_words(" ".join(text.split()), "en")
    assert " ".join(word.written for word in words) == " ".join(text.split())
    assert not any(character.isdecimal() for word in words for character in word.spoken)
