"""What Whisper's words are taken for, decided from the numbers that come with them."""

import pytest

from deployments.engines.hearing.whisper import _believed, _better, _Decoded


def decoded(text: str, score: float = -0.4, no_speech: float = 0.1, seconds: float = 1.5) -> _Decoded:
    return _Decoded(text, "en", score, no_speech, seconds)


@pytest.mark.parametrize(
    ("first", "again", "kept"),
    [
        (decoded("Help.", -1.19, 0.18), decoded("", -1.3, 0.9), "Help."),
        (decoded("Help.", -1.19, 0.18), decoded("you", -1.4, 0.9), "Help."),
        (decoded("Helper", -1.4), decoded("Help.", -0.6), "Help."),
        (decoded("Nine.", -1.1), decoded("Now", -2.0), "Nine."),
        (decoded("to the left to the left to the left", -0.2), decoded("to the left", -0.9), "to the left"),
        (decoded("you", -1.4, 0.9), decoded("Stop.", -0.5), "Stop."),
    ],
)
def test_of_two_decodings_the_surer_one_stands(first: _Decoded, again: _Decoded, kept: str) -> None:
    assert _better(first, again).text == kept


@pytest.mark.parametrize(
    "noise",
    [
        decoded("you", -1.39, 0.90),
        decoded("You", -3.4, 0.67),
        decoded("I'm going to put it in the oven.", -1.7, 0.73),
        decoded("I", -5.1, 0.6),
        decoded("...", -0.2, 0.1),
    ],
)
def test_noise_makes_no_words(noise: _Decoded) -> None:
    assert _believed(noise).text == ""


@pytest.mark.parametrize("speech", [decoded("555-123-4", -0.43, 0.55), decoded("Yes.", -2.1, 0.1)])
def test_digits_in_breaths_and_unsure_words_are_words(speech: _Decoded) -> None:
    assert _believed(speech).text == speech.text
