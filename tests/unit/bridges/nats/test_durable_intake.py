"""Which streams keep which requests, and what a kept request is known by."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.msg import Msg

from bridges.nats.connection import NatsClient
from bridges.nats.once_answer import KeptRequest, digest_of
from bridges.nats.server_clock import ServerClock
from bridges.subjects import REPLAY_HEADER, covers, is_token


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


def kept(
    holder: str, payload: bytes = b"question", replay: str = "", subject: str = "ai.chat.request", user: str = ""
) -> KeptRequest:
    headers = {REPLAY_HEADER: replay} if replay else None
    message = Msg(_client=NatsClient(), subject=subject, data=payload, headers=headers)
    return KeptRequest(message, digest_of(message, user), holder, 1, 0.0, 0.0, 5.0)


def test_a_request_with_an_id_is_known_by_what_was_sent() -> None:
    assert kept("S.1").key("r1") == kept("S.2").key("r1")
    assert kept("S.1").key("r1") != kept("S.2", b"another question").key("r1")


def test_the_same_request_of_another_user_is_another_request() -> None:
    """Nobody hears what another was told, whoever is named: by the subject, the header, or the inbox."""
    others = [
        kept("S.2", subject="ai.chat.user.ada.message"),
        kept("S.3", subject="ai.chat.user.bob.message"),
        kept("S.4", user="ada"),
        kept("S.5", user="bob"),
        replace(kept("S.6"), reply="_INBOX_USER.ada.x"),
        replace(kept("S.7"), reply="_INBOX_USER.bob.x"),
    ]
    assert len({one.key("r1") for one in (kept("S.1"), *others)}) == 7
    assert replace(kept("S.1"), reply="_INBOX.a.x").key("r1") == replace(kept("S.8"), reply="_INBOX.b.y").key("r1")


@pytest.mark.parametrize("request_id", ["a b.*>", "x" * 5000, "\x00\n", "ü"])
def test_whatever_a_request_id_is_its_key_can_stand_in_a_subject(request_id: str) -> None:
    assert is_token(kept("S.1").key(request_id))


def test_a_request_without_an_id_is_known_by_its_place_in_the_stream() -> None:
    assert kept("S.1").key("") != kept("S.2").key("")
    assert kept("S.1").key("") == kept("S.1").key("")


def test_a_dead_letter_that_is_sent_again_is_another_request() -> None:
    assert kept("S.1", replay="once").key("r1") != kept("S.1").key("r1")


def test_the_age_of_a_request_is_told_by_the_clock_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sent = ServerClock(), datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    clock.set(sent + timedelta(seconds=3), time.monotonic())
    monkeypatch.setattr(time, "time", lambda: 9e9)
    assert clock.age_s(sent) == pytest.approx(3.0, abs=0.5)
    assert clock.age_s(sent + timedelta(hours=1)) == 0.0
