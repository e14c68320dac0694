"""Sound that waits is bounded: in a session, for a user, and in all; and nobody takes the room of others."""

import tracemalloc

import pytest

from bridges.live.client_messages import SessionState, StreamStep
from bridges.live.sound_queue import SoundQueue, Step
from bridges.live.sound_room import SoundRoom
from deployments.errors import Limit, OverloadedError
from deployments.listening.listener import WINDOW_BYTES
from deployments.settings.audio import AudioSettings

SECOND = bytes(32_000)
MIB = 1 << 20


def room(session: float = 10, user: float = 20, total: float = 60) -> SoundRoom:
    return SoundRoom(
        AudioSettings(max_backlog_s=session, max_user_backlog_s=user, max_total_backlog_s=total, idle_s=30)
    )


def fill(queue: SoundQueue) -> tuple[int, OverloadedError]:
    """Put sound until it is refused; return how many seconds were taken, and the refusal."""
    for seconds in range(1000):
        try:
            queue.put_sound(SECOND)
        except OverloadedError as error:
            return seconds, error
    raise AssertionError("it is not bounded")


def limit_of(error: OverloadedError) -> str:
    assert isinstance(error.limit, Limit)
    return error.limit.name


def test_a_session_may_have_so_much_waiting() -> None:
    seconds, error = fill(SoundQueue("s", room()))
    assert (seconds, limit_of(error)) == (10, "audio.max_backlog_s")
    assert error.message.startswith("more than 10 s of sound wait in this session")


def test_the_sessions_of_one_user_have_a_limit_together() -> None:
    shared = room()
    queues = [SoundQueue(f"{number}", shared) for number in range(3)]
    for queue in queues:
        queue.belongs_to("alice")
    taken = [fill(queue) for queue in queues]
    assert [seconds for seconds, _ in taken] == [10, 10, 0]
    assert limit_of(taken[-1][1]) == "audio.max_user_backlog_s"


def test_sound_that_came_before_its_user_was_named_counts_as_that_user_s() -> None:
    shared = room(user=10)
    first, second = SoundQueue("1", shared), SoundQueue("2", shared)
    second.belongs_to("alice")
    assert fill(first)[0] == 10
    first.belongs_to("alice")
    assert fill(second)[0] == 0


def test_all_sessions_together_have_a_limit_and_a_newcomer_finds_room() -> None:
    shared = room(total=40)
    rude = [fill(SoundQueue(f"rude {number}", shared)) for number in range(1000)]
    assert sum(seconds for seconds, _ in rude) < 40
    assert limit_of(rude[-1][1]) == "audio.max_total_backlog_s"
    late = SoundQueue("late", shared)
    late.put_sound(bytes(3200))
    assert late.next_window(lambda _: None)


def test_a_user_of_many_sessions_leaves_as_much_to_others() -> None:
    shared = room(user=1000, total=60)
    for number in range(100):
        queue = SoundQueue(f"{number}", shared)
        queue.belongs_to("rude")
        fill(queue)
    assert shared.held_bytes <= 30 * len(SECOND)
    assert fill(SoundQueue("other", shared))[0] == 10


def test_room_is_given_back_with_what_is_heard_forgotten_and_left() -> None:
    shared = room()
    heard, forgotten, left = (SoundQueue(f"{number}", shared) for number in range(3))
    for queue in (heard, forgotten, left):
        queue.put_sound(bytes(WINDOW_BYTES * 3 + 100))
        queue.put_state(SessionState.RESPONDING)
    forgotten.belongs_to("alice")
    while heard.next_window(lambda _: None):
        pass
    assert heard.last_window()
    forgotten.clear()
    steps: list[Step] = []
    left.put_end()
    while left.next_window(steps.append):
        pass
    assert left.last_window()
    assert shared.held_bytes == 0
    assert steps == [SessionState.RESPONDING, StreamStep.END]


def test_what_waits_when_a_session_is_left_is_no_more_than_a_window() -> None:
    queue = SoundQueue("s", room())
    queue.put_sound(bytes(WINDOW_BYTES * 10))
    queue.next_window(lambda _: None)
    assert len(queue.last_window()) == WINDOW_BYTES


def test_the_order_of_sound_and_states_stays() -> None:
    queue = SoundQueue("s", room())
    heard: list[object] = []
    queue.put_sound(b"\1" * WINDOW_BYTES)
    queue.put_state(SessionState.RESPONDING)
    queue.put_sound(b"\2" * WINDOW_BYTES)
    queue.put_end()
    while window := queue.next_window(heard.append):
        heard.append(window[0])
    assert heard == [1, SessionState.RESPONDING, 2, StreamStep.END]


def test_of_states_between_which_nothing_is_heard_the_last_one_holds() -> None:
    queue = SoundQueue("s", room())
    for _ in range(1000):
        queue.put_state(SessionState.RESPONDING)
        queue.put_state(SessionState.LISTENING)
    steps: list[Step] = []
    queue.next_window(steps.append)
    assert steps == [SessionState.LISTENING]


@pytest.mark.parametrize("with_states", [False, True])
def test_the_smallest_chunks_take_little_more_memory_than_their_sound(with_states: bool) -> None:
    queue = SoundQueue("s", room(session=20, user=20, total=100))
    tracemalloc.start()
    try:
        refusals = 0
        for number in range(100_000):
            try:
                queue.put_sound(b"\0\0")
                if with_states:
                    queue.put_state(SessionState.RESPONDING if number % 2 else SessionState.LISTENING)
            except OverloadedError:
                refusals += 1
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bool(refusals) is with_states
    assert taken < 2 * MIB


def test_the_end_of_a_session_is_taken_however_much_waits() -> None:
    queue = SoundQueue("s", room())
    fill(queue)
    queue.put_end()
    steps: list[Step] = []
    while queue.next_window(steps.append):
        pass
    assert steps == [StreamStep.END]
