"""How much may be taken when."""

import pytest

from bridges.nats.token_bucket import TokenBucket


def test_a_burst_is_taken_at_once_and_then_what_comes_back() -> None:
    bucket = TokenBucket(per_s=2.0, burst=3.0)
    assert [bucket.take(1, now=100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(1, now=100.0) == pytest.approx(0.5)
    assert bucket.take(1, now=100.25) == pytest.approx(0.25)
    assert bucket.take(1, now=100.5) == 0
    assert bucket.take(1, now=100.5) > 0


def test_what_is_refused_costs_nothing() -> None:
    bucket = TokenBucket(per_s=1.0, burst=1.0)
    bucket.take(1, now=0.0)
    for _ in range(100):
        bucket.take(1, now=0.5)
    assert bucket.take(1, now=1.0) == 0


def test_it_never_holds_more_than_a_burst() -> None:
    bucket = TokenBucket(per_s=1.0, burst=2.0)
    bucket.take(1, now=0.0)
    assert [bucket.take(1, now=1e6) == 0 for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("per_s", [0.1, 1 / 3, 7 / 60, 1e-3])
def test_who_waits_as_long_as_told_is_not_refused_again(per_s: float) -> None:
    bucket, now = TokenBucket(per_s, burst=1.0), 12_345.678
    for _ in range(100):
        assert bucket.take(1, now) == 0
        now += bucket.take(1, now)


def test_what_is_known_afterwards_may_be_more_than_there_was_and_has_to_come_back() -> None:
    bucket = TokenBucket(per_s=1.0, burst=8.0)
    assert bucket.wait(now=0.0) == 0
    bucket.spend(20.0, now=0.0)
    assert bucket.wait(now=0.0) == pytest.approx(14.0), "12 are lacking, and a quarter has to be back"
    assert bucket.wait(now=13.0) == pytest.approx(1.0)
    assert bucket.wait(now=14.0) == 0
    bucket.spend(1.0, now=14.0)
    assert bucket.wait(now=14.0) == 0, "what came back may be used to its end"


def test_it_is_full_once_all_has_come_back() -> None:
    bucket = TokenBucket(per_s=1.0, burst=2.0)
    assert bucket.is_full(now=0.0)
    bucket.take(2, now=0.0)
    assert not bucket.is_full(now=1.9)
    assert bucket.is_full(now=2.0)
