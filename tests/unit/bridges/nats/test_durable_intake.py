"""Which streams keep which requests, and what a kept request is known by."""

import pytest
from nats.aio.msg import Msg

from bridges.nats.connection import NatsClient
from bridges.nats.durable_intake import covers
from bridges.nats.once_answer import KeptRequest
from bridges.subjects import REPLAY_HEADER


@pytest.mark.parametrize(
    ("pattern", "subject", "is_covered"),
    [
        ("ai.chat.request", "ai.chat.request", True),
        ("ai.>", "ai.chat.user.*.message", True),
        ("ai.chat.user.*.greeting.*", "ai.chat.user.*.greeting.request", True),
        ("ai.chat.user.ada.message", "ai.chat.user.*.message", False),
        ("ai.chat", "ai.chat.request", False),
        ("ai.chat.request.>", "ai.chat.request", False),
        ("*.*", "ai.chat.request", False),
    ],
)
def test_a_stream_covers_a_subject_that_it_keeps_all_messages_of(
    pattern: str, subject: str, *, is_covered: bool
) -> None:
    assert covers(pattern, subject) == is_covered


def kept(holder: str, payload: bytes = b"question", replay: str = "") -> KeptRequest:
    headers = {REPLAY_HEADER: replay} if replay else None
    message = Msg(_client=NatsClient(), subject="ai.chat.request", data=payload, headers=headers)
    return KeptRequest(message, holder, 1, 0.0, 0.0, 5.0)


def test_a_request_with_an_id_is_known_by_what_was_sent() -> None:
    assert kept("S.1").key("r1") == kept("S.2").key("r1")
    assert kept("S.1").key("r1") != kept("S.2", b"another question").key("r1")


def test_a_request_without_an_id_is_known_by_its_place_in_the_stream() -> None:
    assert kept("S.1").key("") != kept("S.2").key("")
    assert kept("S.1").key("") == kept("S.1").key("")


def test_a_dead_letter_that_is_sent_again_is_another_request() -> None:
    assert kept("S.1", replay="once").key("r1") != kept("S.1").key("r1")
