"""When a turn has ended and what interrupts, decided from what is known alone."""

import pytest

from deployments.listening.turn_taking import TurnEvidence, interrupts, learned_pause_ms, patience_ms, turn_has_ended
from deployments.settings.audio import BargeInSettings, TurnSettings

SETTINGS = TurnSettings(silence_ms=700, shortest_silence_ms=300, longest_silence_ms=1200)


@pytest.mark.parametrize(
    ("completion", "patience"), [(None, 700), (1.0, 300), (0.7, 300), (0.5, 750), (0.3, 1200), (0.0, 1200)]
)
def test_the_more_finished_it_sounds_the_shorter_the_silence(completion: float | None, patience: float) -> None:
    assert patience_ms(TurnEvidence(0, completion=completion), SETTINGS) == pytest.approx(patience)


def test_the_silence_ends_the_turn_when_it_is_long_enough() -> None:
    assert not turn_has_ended(TurnEvidence(690), SETTINGS)
    assert turn_has_ended(TurnEvidence(700), SETTINGS)


@pytest.mark.parametrize("transcript", ["Tell me about the", "I was there, and", "So, um...", "It is because"])
def test_a_sentence_that_cannot_end_there_is_waited_for(transcript: str) -> None:
    assert patience_ms(TurnEvidence(0, transcript, completion=0.9), SETTINGS) == 1200


@pytest.mark.parametrize("transcript", ["", "Tell me about it.", "What time is it?", "Wo ist der Bahnhof"])
def test_other_sentences_are_judged_by_their_sound(transcript: str) -> None:
    assert patience_ms(TurnEvidence(0, transcript, completion=0.9), SETTINGS) == 300


def test_somebody_who_pauses_long_is_waited_for() -> None:
    assert patience_ms(TurnEvidence(0, completion=0.9, usual_pause_ms=500), SETTINGS) == 650
    assert patience_ms(TurnEvidence(0, completion=0.9, usual_pause_ms=5000), SETTINGS) == 1200


def test_a_habit_is_learned_at_once_and_forgotten_slowly() -> None:
    usual = learned_pause_ms(0.0, 600.0)
    assert usual == 600.0
    assert 500.0 < learned_pause_ms(usual, 100.0) < 600.0


@pytest.mark.parametrize(
    ("speech_ms", "level", "playing", "expected"),
    [(200, 0.1, 0.0, True), (100, 0.1, 0.0, False), (200, 0.004, 0.05, False), (200, 0.006, 0.05, True)],
)
def test_what_is_long_and_loud_enough_interrupts(
    speech_ms: float, level: float, playing: float, *, expected: bool
) -> None:
    settings = BargeInSettings(min_speech_ms=192, echo_ratio=0.1)
    assert interrupts(speech_ms, level, playing, settings) is expected
