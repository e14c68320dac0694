"""What becomes final, of a final transcript and of what was shown last."""

import pytest

from deployments.listening.settling import settled
from deployments.values.speech import Agreement


def shown(committed: str, tentative: str = "") -> Agreement:
    return Agreement(tuple(committed.split()), tuple(tentative.split()))


@pytest.mark.parametrize(
    ("final", "partial", "expected"),
    [
        # Codes keep the capitals in which they were shown.
        ("b7k99", shown("B7K99"), "B7K99"),
        ("My code is b7k99.", shown("My code is B7K", "99"), "My code is B7K99."),
        ("My code is b7k99.", shown("my code is b7k99"), "My code is b7k99."),
        # No digit is lost.
        ("b 7 k", shown("B 7 K", "9 9"), "B 7 K 9 9"),
        ("555 123.", shown("555", "123 4"), "555 123 4"),
        # Whatever the words are in which it stands.
        ("Be seven K.", shown("B 7 K", "9 9"), "B 7 K 9 9"),
        ("it is b 7 k", shown("It's B 7 K", "9 9"), "It's B 7 K 9 9"),
        ("My code is B7K.", shown("My code is B 7 K nine nine"), "My code is B 7 K nine nine"),
        ("the code's b7k", shown("The code is B7K99."), "The code is B7K99."),
        ("My number is zero one two three", shown("My number is 0123456"), "My number is 0123456"),
        ("Code B7 K9", shown("Code B7K99"), "Code B7K99"),
        ("Okay, b 7 k", shown("OK B 7 K", "9 9"), "OK B 7 K 9 9"),
        ("Bravo 7", shown("Bravo 7 kilo 9"), "Bravo 7 kilo 9"),
        ("It's double five", shown("It is 5 5", "6"), "It is 5 5 6"),
        ("That is forty-seven.", shown("That's 47", "11"), "That's 47 11"),
        # A number in other words is the same number, and another one is another.
        ("The code's B seven K nine nine.", shown("The code is B7K", "99"), "The code's B seven K nine nine."),
        ("It costs fifteen hundred.", shown("It is 1500"), "It costs fifteen hundred."),
        ("It's twenty twenty-four.", shown("It is 2024"), "It's twenty twenty-four."),
        ("It was 5 5.", shown("It is 5 0 5"), "It was 5 5."),
        ("Two late.", shown("To late, 5"), "Two late."),
        ("Too late.", shown("2 late"), "Too late."),
        ("Vitamin see.", shown("Vitamin C"), "Vitamin see."),
        # Nor a word that two partial transcripts agreed on.
        ("How long does the", shown("How long does the remote site"), "How long does the remote site"),
        ("", shown("Help"), "Help"),
        ("", shown("", "Yes."), "Yes."),
        (".", shown("", "Yes."), "Yes."),
        # All else is better known to the final transcript.
        ("Thank you.", shown("Thank you", "for watching."), "Thank you."),
        ("The number is 4472.", shown("The number is", "440."), "The number is 4472."),
        ("How long do you keep it?", shown("How long do you", "cheap"), "How long do you keep it?"),
        ("Yes.", shown("", ""), "Yes."),
        ("", shown("", ""), ""),
        ("iPhone in the us", shown("IPHONE in the US"), "iPhone in the us"),
    ],
)
def test_the_final_transcript_is_no_worse_than_what_was_shown(final: str, partial: Agreement, expected: str) -> None:
    assert settled(final, partial) == expected
