"""What a sentence of an answer may say, given its passages."""

import pytest

from deployments.grounding import is_supported

PASSAGE = (
    "Pets > Dogs\nDogs are welcome in the hotel but not in the restaurant. A dog costs 15 euros a night. "
    "Keys are left in /var/keys by the script key-drop. Every second Saturday the lobby is waxed. "
    "Films and music are not backed up, because they can be bought again. If you do not have a key, call Ingrid."
)
QUESTION = "What about my dog?"


@pytest.mark.parametrize(
    "sentence",
    [
        "Dogs are welcome in the hotel.",
        "A dog costs 15 euros a night.",
        "Your dog is welcome in the hotel, but not in the restaurant.",
        "Keys are left in /var/keys.",
        "The keys are left by the script key-drop.",
        "The lobby is waxed every second Saturday.",
        "Films are not backed up.",
        "Call Ingrid.",
    ],
)
def test_what_the_passage_says_passes(sentence: str) -> None:
    assert is_supported(sentence, [PASSAGE], QUESTION)


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("A dog costs 20 euros a night.", "another number"),
        ("Keys are left in /etc/keys.", "another path"),
        ("Run key-drop --force now.", "another option"),
        ("The pool opens after breakfast for children.", "other words"),
        ("Dogs are not welcome in the hotel.", "denies what is affirmed"),
        ("Dogs are welcome in the restaurant.", "affirms what is denied"),
        ("Films are backed up.", "affirms what is denied"),
        ("The lobby is waxed every second.", "cut short at a number of something"),
    ],
)
def test_what_it_does_not_say_is_refused(sentence: str, why: str) -> None:
    assert not is_supported(sentence, [PASSAGE], QUESTION), why


def test_words_of_the_question_claim_nothing() -> None:
    assert is_supported("Your poodle costs 15 euros a night.", [PASSAGE], "What does my poodle cost?")
