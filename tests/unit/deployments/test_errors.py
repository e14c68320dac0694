"""The closed family of errors: their kinds, their fields, and what is left of them in another process."""

import pickle

import pytest

from deployments.errors import FAMILY, BackEnd, HearthError, Limit, UnavailableError, UpstreamFailedError, error_of
from deployments.pipelines.ports import EngineNotFoundError, EngineUnavailableError

RETRYABLE = {"overloaded", "deadline_exceeded", "cancelled", "unavailable", "upstream_failed"}


def test_the_family_is_closed_and_every_kind_is_distinct() -> None:
    assert {kind.kind for kind in FAMILY} == RETRYABLE | {
        "invalid_request",
        "not_found",
        "payload_too_large",
        "internal",
    }
    assert set(HearthError.__subclasses__()) == set(FAMILY)


def test_trying_again_makes_sense_only_where_something_may_change() -> None:
    assert {kind.kind for kind in FAMILY if kind("x").retryable} == RETRYABLE


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_crosses_processes_with_all_its_fields(kind: type[HearthError]) -> None:
    error = kind(
        "no",
        retryable=not kind.retryable,
        retry_after_s=2.5,
        field="top_k",
        limit=Limit("milvus.max_keep", 50, 51),
        back_end=BackEnd("reranker", 429),
    )
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is kind
    assert vars(arrived) == vars(error)
    assert arrived.limit == Limit("milvus.max_keep", 50, 51)
    assert str(arrived) == arrived.message == error.message


def test_what_an_engine_says_of_itself_crosses_processes_too() -> None:
    error = EngineUnavailableError("argo is away", retry_after_s=7.0, may_have_acted=True)
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), arrived.retry_after_s, arrived.may_have_acted) == (EngineUnavailableError, 7.0, True)
    assert not pickle.loads(pickle.dumps(EngineNotFoundError("no such run"))).retryable


def test_the_client_is_told_when_to_try_again() -> None:
    assert UnavailableError("it is away").message == "it is away"
    assert UnavailableError("it is away", retry_after_s=3.0).message == "it is away; try again in 3 s"


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_off_the_wire_is_of_its_kind(kind: type[HearthError]) -> None:
    error = error_of(kind.kind, "as it was told; try again in 3 s")
    assert type(error) is kind
    assert error.message == "as it was told; try again in 3 s"


def test_a_kind_that_is_not_known_is_a_failure_of_the_other_side() -> None:
    assert type(error_of("of a newer version", "x")) is UpstreamFailedError
