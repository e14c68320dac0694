import pickle

import pytest

from deployments.call import Call
from deployments.errors import FAMILY, DeadlineExceededError, HearthError


def test_a_call_has_the_time_that_it_was_given() -> None:
    assert 9.0 < Call.within(10.0).remaining() <= 10.0


def test_a_call_whose_time_has_passed_has_none_left_and_says_for_what() -> None:
    call = Call.within(-1.0)
    assert call.remaining() == 0.0
    with pytest.raises(DeadlineExceededError, match="no time left for reranking"):
        call.check("reranking")


def test_a_call_keeps_its_id_and_its_remaining_seconds_across_processes() -> None:
    arrived = pickle.loads(pickle.dumps(Call.within(10.0, "request-1")))
    assert arrived.request_id == "request-1"
    assert 9.0 < arrived.remaining() <= 10.0


def test_the_family_of_errors_is_closed_and_every_kind_is_distinct() -> None:
    assert {kind.kind for kind in FAMILY} == {
        "invalid_request",
        "not_found",
        "payload_too_large",
        "overloaded",
        "deadline_exceeded",
        "cancelled",
        "unavailable",
        "upstream_failed",
        "internal",
    }
    assert set(HearthError.__subclasses__()) == set(FAMILY)


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_crosses_processes_as_it_is(kind: type[HearthError]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("collection 'x' does not exist")))
    assert type(arrived) is kind
    assert arrived.message == str(arrived) == "collection 'x' does not exist"


def test_trying_again_makes_sense_only_where_something_may_change() -> None:
    assert {kind.kind for kind in FAMILY if not kind.retryable} == {
        "invalid_request",
        "not_found",
        "payload_too_large",
        "internal",
    }
