"""What is told of requests that were refused without any work."""

import json

from bridges.operations.refused_requests import RefusedRequests

CHAT = "ai.chat.request"


def test_the_first_ones_of_each_second_have_a_line_of_their_own() -> None:
    refused = RefusedRequests()
    assert [refused.add(CHAT, "overloaded", 7.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert refused.add(CHAT, "overloaded", 8.0)


def test_each_is_counted_once_and_those_without_a_line_are_told_in_one() -> None:
    refused = RefusedRequests()
    for _ in range(25):
        refused.add(CHAT, "overloaded", 7.0)
    (told,) = refused.take()
    assert (told.number, told.untold) == (25, 15)
    assert json.loads(told.log_line()) == {
        "event": "requests_refused",
        "subject": CHAT,
        "outcome": "overloaded",
        "requests": 15,
    }
    assert not list(refused.take())


def test_subjects_and_kinds_are_counted_apart() -> None:
    refused = RefusedRequests()
    refused.add(CHAT, "overloaded", 7.0)
    refused.add("ai.chat.user.*.message", "overloaded", 7.0)
    refused.add(CHAT, "invalid_request", 7.0)
    assert [told.number for told in refused.take()] == [1, 1, 1]
