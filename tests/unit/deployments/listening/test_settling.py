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
