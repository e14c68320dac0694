"""Who may be in the middle of a number, and who has said one in passing."""

import pytest

from deployments.listening.dictation import is_dictating
from deployments.listening.turn_taking import TurnEvidence, patience_ms
from deployments.settings.audio import TurnSettings


@pytest.mark.parametrize(
    "transcript",
    [
        "My number is 555.",
        "My number is five five five",
        "my number is 5",
        "five five five, one two three",
        "555 123.",
        "Meine Nummer ist 0 1 7 2",
        "It is B 7 K.",
        "My code is B.",
        "The booking is QW44",
        "My pin is 4, 8,",
        "double seven five",
        "Call me on 555-123-",
        "my code is bravo seven kilo",
        "Bravo seven kilo",
        "B 7 dash",
        "B 7 K hyphen",
        "oh one two three forty five",
        "the number is twenty three",
        "my PIN is forty seven",
        "my number is plus 49",
        "4711",
        "It is 0171",
        "192.168.0",
    ],
)
def test_a_number_or_a_code_may_go_on(transcript: str) -> None:
    assert is_dictating(transcript)
    settings = TurnSettings()
    assert patience_ms(TurnEvidence(0, transcript, completion=0.95), settings) == settings.longest_silence_ms


@pytest.mark.parametrize(
    "transcript",
    [
        "",
        "What happened in 1969?",
        "It was built in 1969.",
        "How much is 250?",
        "There are seven.",
        "We were five.",
        "Room 12.",
        "It is on the 5th.",
        "It is 300km.",
        "I like the 1980s.",
        "So do I.",
        "at 10:30",
        "The ferry leaves at 10:30.",
        "it costs 1500",
        "It costs $1,500.",
        "It costs 12.50.",
        "It was 15,000.",
        "in room 101",
        "I am forty five",
        "I made a dash",
        "We stay at the hotel.",
        "What is the number?",
        "That is a good number to know about.",
    ],
)
def test_other_sentences_are_not_waited_for(transcript: str) -> None:
    assert not is_dictating(transcript)
