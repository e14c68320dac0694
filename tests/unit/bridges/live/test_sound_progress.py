"""How many of a session's messages it takes to go on with it."""

from bridges.live.sound_progress import SoundProgress

MESSAGE = 640
SECOND = 32_000


def heard(messages: int) -> SoundProgress:
    """Return the progress of a session of whose messages all sound was heard."""
    progress = SoundProgress()
    for _ in range(messages):
        progress.take(b"sound")
        progress.put(MESSAGE)
    progress.heard = messages * MESSAGE
    return progress


def test_nothing_is_settled_until_something_was_transcribed() -> None:
    assert (heard(10).settled, heard(10).taken) == (0, 10)


def test_a_message_of_which_a_part_was_transcribed_is_needed() -> None:
    progress = heard(10)
    progress.settle(4 * MESSAGE + 1)
    assert progress.settled == 4


def test_of_what_was_transcribed_to_its_end_nothing_is_needed() -> None:
    progress = heard(10)
    progress.settle(10 * MESSAGE)
    assert progress.settled == 10
    progress.take(b"more")
    assert progress.settled == 10


def test_a_message_without_sound_belongs_to_the_sound_before_it() -> None:
    progress = heard(2)
    progress.take(b"state")
    progress.settle(MESSAGE)
    assert progress.settled == 1
    progress.settle(2 * MESSAGE)
    assert progress.settled == 3


def test_silence_is_passed_over_in_steps_and_its_last_moment_is_kept() -> None:
    progress = heard(50)
    progress.settle_silence()
    assert progress.settled == 0
    progress = heard(200)
    progress.settle_silence()
    kept_s = (progress.taken - progress.settled) * MESSAGE / SECOND
    assert 0.8 <= kept_s < 0.85
