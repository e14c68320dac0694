import pickle

import pytest

from deployments.call import Call
from deployments.errors import DeadlineExceededError


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
