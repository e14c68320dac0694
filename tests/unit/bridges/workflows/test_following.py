"""A workflow of Argo is followed by looks and watches, whatever happens in between."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from bridges.workflows.argo_workflow import DELETED, Workflow, follow
from bridges.workflows.engine_client import read_json
from deployments.pipelines.ports import EngineNotFoundError
from deployments.values.pipelines import RunState, RunStatus

PENDING, SUCCEEDED = RunState(RunStatus.PENDING), RunState(RunStatus.SUCCEEDED)


@dataclass
class Source:
    """Is looked at once before a workflow is gone, and then has a watch that tells of what came to pass."""

    version: str = "101"
    told: list[RunState] = field(default_factory=lambda: [SUCCEEDED])
    looks: int = 0

    async def get(self, name: str) -> Workflow:
        self.looks += 1
        if self.looks > 1:
            raise EngineNotFoundError(f"{name} is gone")
        return {"metadata": {"name": name, "resourceVersion": self.version}, "status": {"phase": "Pending"}}

    @asynccontextmanager
    async def changes(self, workflow: Workflow) -> AsyncGenerator[AsyncGenerator[RunState]]:
        del workflow

        async def states() -> AsyncGenerator[RunState]:
            for state in self.told:
                yield state

        yield states()


async def followed(source: Source) -> list[RunState]:
    seen: list[RunState] = []
    async with aclosing(follow(source, "nightly-1")) as states:
        async for state in states:
            seen.append(state)
            if state.status.is_final:
                break
    return seen


async def test_an_end_before_the_second_look_is_told_by_the_watch_although_the_workflow_is_gone() -> None:
    assert await followed(Source()) == [PENDING, SUCCEEDED]


async def test_a_watch_that_does_not_know_from_when_on_is_not_waited_for() -> None:
    assert await followed(Source(version="")) == [PENDING, DELETED]


async def test_a_workflow_of_whose_end_nobody_tells_was_deleted() -> None:
    assert await followed(Source(told=[])) == [PENDING, DELETED]


def test_an_answer_that_is_nested_too_deeply_is_none() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(b'{"object":' + b"[" * 100_000)
