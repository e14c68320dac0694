import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.chat.sentence_tokens import sentences_of
from deployments.text.sentences import sentence_end, settled_sentence_end, split_sentences, unfinished_sentence


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 3.50 euros. Really.", ["It costs 3.50 euros.", "Really."]),
        ("Ask Dr. Miller. He knows.", ["Ask Dr. Miller.", "He knows."]),
        ("Use e.g. a spoon. Or a fork.", ["Use e.g. a spoon.", "Or a fork."]),
        ("Open config.yaml now. Then close it.", ["Open config.yaml now.", "Then close it."]),
        ("She said “Stop.” Then she left.", ["She said “Stop.”", "Then she left."]),
        ("It was Lee E. McMahon. He wrote it.", ["It was Lee E. McMahon.", "He wrote it."]),
        ("This is plan B. Nobody likes it.", ["This is plan B.", "Nobody likes it."]),
        ("No end mark", ["No end mark"]),
        ("First paragraph\n\nSecond paragraph", ["First paragraph", "Second paragraph"]),
        ("Wait... what? Yes.", ["Wait...", "what?", "Yes."]),
        ("火事です。逃げて。", ["火事です。", "逃げて。"]),
        ("It ended in 1984. Then came more.", ["It ended in 1984.", "Then came more."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_sees_them_end(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_an_end_mark_at_the_very_end_may_yet_go_on() -> None:
    assert sentence_end("It costs 3.") is None
    assert sentence_end("It costs 3. Then") == 12


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        ("It opens at nine. It closes at", "It closes at"),
        ("It opens at nine. It closes at five.", ""),
        ("It opens at nine. A ticket costs 3.", "A ticket costs 3."),
        ("It opens at nine! Ask Dr.", "Ask Dr."),
        ("It opens at", "It opens at"),
        ("- At nine\n- At ten\n- At el", "- At el"),
        ("It opens:\n\n1. At nine\n2. At", "2. At"),
        ("火事です。逃げ", "逃げ"),
        ("It opens at nine. \n", ""),
        ("It is open.[1] It has a bar.[2, 3] The roof", "The roof"),
        ("It is open.¹ The roof", "The roof"),
        ("It is open.[1]", ""),
        ("It is open.[1", "[1"),
        ("It is open. 🙂", ""),
        ("It is **open.** _It shuts._ The", "The"),
        ("<p>It is open.</p><p>The roof", "<p>The roof"),
        ("<p>It is open.</p>", ""),
        ("<ul><li>one</li><li>two", "<li>two"),
        ("Line one\nLine two\nLine three", "Line three"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |", "| 3 |"),
        ("Run this:\n```sh\nls. -l\n```\nand then", "and then"),
        ("Run this:\n```sh\nls -l\nrm", "```sh\nls -l\nrm"),
        ("", ""),
    ],
)
def test_what_was_broken_off_is_what_follows_the_last_whole_sentence_or_item(text: str, unfinished: str) -> None:
    assert unfinished_sentence(text) == unfinished


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Open config.", None),
        ("Open config. ", 13),
        ("“It works.” ", 12),
        ("It works! ", 10),
        ("It takes 3. ", None),
        ("It takes 3. T", 12),
        ("It takes 3. t", None),
        ("Ask Dr. M", None),
        ("On Jan. 5", None),
        ("It is 3 in. ", None),
        ("It is 3 in. wide", None),
        ("Come in. ", 9),
        ("Siehe vgl. ", None),
        ("火事です。", None),
        ("火事です。逃", 5),
        ("「火事です。」逃", 7),
    ],
)
def test_a_sentence_of_a_growing_text_ends_where_nothing_later_can_change_it(text: str, end: int | None) -> None:
    assert settled_sentence_end(text) == end


@given(st.text(alphabet='abD .!?。」"15', max_size=40), st.text(alphabet='abD .!?。」"15', max_size=10))
def test_what_follows_changes_no_settled_end(text: str, following: str) -> None:
    end = settled_sentence_end(text)
    if end is not None:
        assert settled_sentence_end(text + following) in {end, end + len(following) - len(following.lstrip())}


@given(st.text(alphabet="ab .!?\n。\"'1", max_size=80))
def test_nothing_but_space_is_lost(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


@given(st.lists(st.text(alphabet="ab .!?\n", min_size=1, max_size=5), max_size=20))
async def test_the_tokens_of_sentences_are_the_tokens_of_the_text(tokens: list[str]) -> None:
    async def made():
        for token in tokens:
            yield token

    joined = ["".join(sentence.tokens) async for sentence in sentences_of(made())]
    assert "".join(joined).rstrip() == "".join(tokens).rstrip()


async def test_a_sentence_is_released_as_soon_as_its_end_is_seen() -> None:
    asked_for: list[str] = []

    async def made():
        for token in ["It ", "rains", ".", " It", " pours"]:
            asked_for.append(token)
            yield token

    sentences = sentences_of(made())
    first = await anext(sentences)
    assert "".join(first.tokens) == "It rains. "
    assert first.complete
    assert asked_for[-1] == " It"
    last = await anext(sentences)
    assert "".join(last.tokens) == "It pours"
    assert not last.complete
    await sentences.aclose()
