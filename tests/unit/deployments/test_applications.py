"""When Serve replaces the replica of a model."""

from dataclasses import dataclass

import pytest

from deployments.applications import replica_with
from deployments.errors import UnavailableError


@dataclass
class BrokenEngine:
    """Cannot answer."""

    is_remote: bool
    description: str = "broken"

    async def check(self) -> None:
        raise UnavailableError("it does not answer")

    async def close(self) -> None: ...


async def test_a_replica_is_replaced_when_its_engine_fails() -> None:
    replica = replica_with("service", BrokenEngine(is_remote=False))
    assert replica.check_health
    with pytest.raises(UnavailableError):
        await replica.check_health()


def test_a_model_elsewhere_that_fails_is_no_reason_for_a_new_replica() -> None:
    assert replica_with("service", BrokenEngine(is_remote=True)).check_health is None
