"""Which words of partial transcripts are committed."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.listening.agreement import agree
from deployments.values.speech import Agreement


def heard(*transcripts: str) -> Agreement:
    agreement = Agreement()
    for transcript in transcripts:
        agreement = agree(agreement, transcript)
    return agreement


def test_words_count_once_two_transcripts_agree_on_them() -> None:
    assert heard("how long").committed == ()
    assert heard("how long", "how long do").committed == ("how", "long")
    assert heard("how long", "how strong do").committed == ("how",)


def test_marks_and_capitals_do_not_matter() -> None:
    assert heard("How?", "how long does").committed == ("how",)


def test_committed_words_stay_when_a_later_transcript_reads_them_differently() -> None:
    agreement = heard("how long do", "how long do you", "who long do you keep it", "who long do you keep it there")
    assert agreement.stable_text.startswith("how long do you keep it")


def test_a_word_more_or_less_in_the_committed_part_is_found_again() -> None:
    agreement = heard("a b c d", "a b c d e", "a x b c d e f")
    assert agreement.text == "a b c d e f"


def test_nothing_heard_changes_nothing() -> None:
    assert heard("how long", "how long do", "") == heard("how long", "how long do")


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=12), max_size=8))
def test_what_was_committed_is_the_beginning_of_what_is(transcripts: list[list[str]]) -> None:
    agreement = Agreement()
    for words in transcripts:
        following = agree(agreement, " ".join(words))
        assert following.committed[: len(agreement.committed)] == agreement.committed
        assert following.text.startswith(following.stable_text)
        agreement = following
