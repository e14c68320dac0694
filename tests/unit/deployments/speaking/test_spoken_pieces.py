import pytest

from deployments.speaking.playback import Playback
from deployments.speaking.spoken_pieces import SpokenPieces
from tests.conversation.scene import spoken_chunk


def pieces_of(*tokens: str) -> list[str]:
    """Return what is taken behind each token, and what is left in the end."""
    pieces = SpokenPieces()
    taken: list[str] = []
    for token in tokens:
        pieces.add(token)
        taken.append(pieces.take())
    return [*filter(None, taken), *filter(None, [pieces.rest()])]


class TestPieces:
    def test_a_sentence_is_taken_with_the_space_behind_its_full_stop(self) -> None:
        assert pieces_of("It", " works", ".", " And") == ["It works.", "And."]
        assert pieces_of("It works. ") == ["It works."]

    @pytest.mark.parametrize("text", ["It takes 3.", "Ask Dr.", "It was J.", "See config_file.", "Use /etc/hosts."])
    def test_a_full_stop_that_may_go_on_is_waited_for(self, text: str) -> None:
        assert pieces_of(text, "5 and", " more.") == [f"{text}5 and more."]

    def test_sentences_that_are_there_together_are_taken_together(self) -> None:
        assert pieces_of("One is here. Two is there. And") == ["One is here.\nTwo is there.", "And."]

    def test_an_opening_clause_is_taken_by_itself_while_its_sentence_grows(self) -> None:
        assert pieces_of("As far as I know", ", it", " is here.") == ["As far as I know,", "it is here."]

    def test_a_clause_is_cut_off_only_at_the_beginning(self) -> None:
        assert pieces_of("It is here. ", "As far as I know,", " it stays.") == [
            "It is here.",
            "As far as I know, it stays.",
        ]

    def test_a_clause_that_is_too_short_stays_with_its_sentence(self) -> None:
        assert pieces_of("Yes, ", "it is here.") == ["Yes, it is here."]

    def test_a_long_first_sentence_that_is_whole_begins_with_its_clause(self) -> None:
        long = "From heating.txt: the outdoor filter is blocked, so switch the pump off and rinse the filter at once. "
        assert pieces_of(long) == ["From heating.txt:", long.removeprefix("From heating.txt: ").strip()]

    def test_items_of_a_list_are_taken_one_by_one(self) -> None:
        assert pieces_of("You need:\n- flour", "\n- butter", "\n- sugar") == [
            "You need:",
            "flour.",
            "butter.",
            "sugar.",
        ]

    @pytest.mark.parametrize(
        "unfinished",
        [
            *(
                "The site keeps [the copies](http://x.example/z) for",
                "As said [1] it is kept for",
                "The x<sup>2</sup> is",
            ),
            *("See https://www.example.com/path for", "AT&amp;T keeps it for", "<p>The <b class='x'>site</b> keeps"),
            *(
                "Two `co``de` in",
                "- one item that",
                "| a | b",
                r"The area $\pi r^2$ is",
                "It keeps [the copies",
                "Plain",
            ),
            *("```\nprint('Kept", "1️⃣ one that is", "Use the <script> for"),
        ],
    )
    def test_a_sentence_that_was_broken_off_is_not_spoken(self, unfinished: str) -> None:
        pieces = SpokenPieces()
        pieces.add("Kept.\n" + unfinished)
        assert pieces.rest(unfinished) == "Kept."

    def test_a_fence_that_was_broken_off_takes_no_sentence_with_it(self) -> None:
        pieces = SpokenPieces()
        pieces.add("Yes. ")
        pieces.add("Yes.\n```\nprint('Yes")
        assert pieces.rest("```\nprint('Yes") == "Yes.\nYes."

    def test_what_is_left_is_taken_in_the_end(self) -> None:
        assert pieces_of("No end") == ["No end."]


class TestMarkup:
    def test_emphasis_that_spans_a_full_stop_is_not_said(self) -> None:
        assert pieces_of("**Stop.", " Go back.**", " Then wait.") == ["Stop.", "Go back.", "Then wait."]

    def test_a_fence_is_left_out_although_it_comes_in_pieces(self) -> None:
        tokens = ("Run this:\n", "``", "`sh\n", "rm -rf /. Or", " not.\n", "``", "`\n", "Then wait.")
        assert pieces_of(*tokens) == ["Run this:", "Then wait."]

    def test_the_text_of_a_link_waits_for_its_end(self) -> None:
        tokens = ("See [the manual. ", "It is short](", "https://example.com/a", ") now.")
        assert pieces_of(*tokens) == ["See the manual.", "It is short now."]


class TestPlayback:
    def playback(self) -> Playback:
        """Return two sentences of four words, a quarter of a second each, the second sent while the first is played."""
        played = Playback()
        played.add(spoken_chunk("one two three four."), sent_at=10.0)
        played.add(spoken_chunk("five six seven eight."), sent_at=10.5)
        return played

    def test_sentences_are_heard_one_after_the_other(self) -> None:
        assert (self.playback().begins_at, self.playback().ends_at, self.playback().seconds) == (10.0, 12.0, 2.0)

    def test_a_pause_for_want_of_sound_counts_as_none(self) -> None:
        played = self.playback()
        played.add(spoken_chunk("nine."), sent_at=20.0)
        assert played.position_s(15.0) == 2.0
        assert played.position_s(20.1) == pytest.approx(2.1)

    @pytest.mark.parametrize(
        ("position_s", "heard"),
        [
            (0.0, ""),
            (0.1, ""),
            (0.13, "one"),
            (0.5, "one two"),
            (1.0, "one two three four."),
            (1.2, "one two three four. five"),
            (2.0, "one two three four. five six seven eight."),
            (99.0, "one two three four. five six seven eight."),
        ],
    )
    def test_words_are_heard_from_their_middle_on(self, position_s: float, heard: str) -> None:
        assert self.playback().heard(position_s) == heard

    def test_nothing_was_heard_of_nothing(self) -> None:
        assert (Playback().heard(5.0), Playback().position_s(5.0), Playback().ends_at) == ("", 0.0, 0.0)
