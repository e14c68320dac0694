"""What a voice is given to say."""

import pytest

from deployments.text.speakable import speakable, spoken_sentences


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello there.", "Hello there."),
        ("**Yes**, it _is_ `true`.", "Yes, it is true."),
        ("See [the manual](https://example.com/m?x=1).", "See the manual."),
        ("It is at https://www.example.com/a/b?c=d#e today.", "It is at example.com today."),
        ("Well done 🎉🎉!", "Well done!"),
        ("# Opening hours\n\nFrom nine to five.", "Opening hours. From nine to five."),
        ("1. Open the door\n2. Close it", "1: Open the door. 2: Close it."),
        ("- milk\n- bread", "milk. bread."),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b. 1, 2."),
        ("Run this:\n\n```\nrm -rf /\n```\n\nThen wait.", "Run this: Then wait."),
        ("A <b>bold</b> word", "A bold word."),
        ("bell\x07 and tab\there", "bell and tab here."),
        ("你好", "你好."),
    ],
)
def test_markup_is_left_out_and_its_text_is_kept(written: str, spoken: str) -> None:
    assert " ".join(speakable(written).split()) == spoken


@pytest.mark.parametrize("written", ["", "   ", "🙂🙂", "...", "```\ncode\n```", "***", "\n\n"])
def test_what_holds_no_word_is_nothing(written: str) -> None:
    assert speakable(written) == ""


def test_sentences_are_said_one_after_the_other() -> None:
    assert spoken_sentences("One is here. Two is there! Dr. Three?") == ["One is here.", "Two is there!", "Dr. Three?"]


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
