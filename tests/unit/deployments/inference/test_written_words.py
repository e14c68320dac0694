"""Sound of words that were put into others is told by the words that were written."""

from collections.abc import Sequence

from deployments.inference.written_words import WrittenWords
from deployments.speaking.playback import Playback
from deployments.text.spoken_forms import SpokenWords, spoken_words
from deployments.values.speech import SpokenChunk, WordTime


def chunk(text: str) -> SpokenChunk:
    """Return sound in which every word takes a second."""
    words = text.split()
    times = tuple(WordTime(word, float(at), at + 1.0) for at, word in enumerate(words))
    return SpokenChunk(b"\0\0" * 1000 * len(words), 1000, text, times)


def told(words: WrittenWords, *texts: str) -> list[SpokenChunk]:
    return [words.of(chunk(text)) for text in texts]


def texts_of(chunks: Sequence[SpokenChunk]) -> list[str]:
    return [one.text for one in chunks]


def test_words_have_the_time_of_what_is_spoken_for_them() -> None:
    words = WrittenWords(spoken_words("It costs €25 now.", "en"))
    assert words.spoken == "It costs twenty-five euros now."
    (one,) = told(words, words.spoken)
    assert one.text == "It costs €25 now."
    assert one.words == (
        WordTime("It", 0.0, 1.0),
        WordTime("costs", 1.0, 2.0),
        WordTime("€25", 2.0, 4.0),
        WordTime("now.", 4.0, 5.0),
    )


def test_words_that_are_spoken_as_one_share_its_time() -> None:
    words = WrittenWords(spoken_words("It is 5 km.", "en"))
    (one,) = told(words, words.spoken)
    assert one.words[2:] == (WordTime("5", 2.0, 2.5), WordTime("km.", 2.5, 4.0))


def test_what_is_spoken_in_two_chunks_is_told_with_the_second() -> None:
    words = WrittenWords(spoken_words("It costs €25 now.", "en"))
    chunks = told(words, "It costs twenty-five", "euros now.")
    assert texts_of(chunks) == ["It costs", "€25 now."]
    assert chunks[1].words == (WordTime("€25", 0.0, 1.0), WordTime("now.", 1.0, 2.0))


def test_a_sign_for_which_nothing_is_spoken_stays_with_its_neighbour() -> None:
    words = WrittenWords((SpokenWords("—", ""), SpokenWords("Yes", "Yes"), SpokenWords("|", "")))
    assert words.spoken == "Yes"
    assert texts_of(told(words, "Yes")) == ["— Yes |"]


def test_what_was_heard_of_an_answer_is_in_its_own_words() -> None:
    words = WrittenWords(spoken_words("It costs €25 now.", "en"))
    playback = Playback()
    playback.add(words.of(chunk(words.spoken)), sent_at=0.0)
    assert playback.heard(2.5) == "It costs"
    assert playback.heard(3.1) == "It costs €25"
    assert playback.heard(5.0) == "It costs €25 now."
