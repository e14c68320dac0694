"""What both ways to Argo Workflows have in common: how a workflow is, and how one is followed."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from bridges.workflows.engine_client import Json, object_at
from bridges.workflows.naming import REQUEST, request_digest
from bridges.workflows.patience import Patience
from deployments.errors import HearthError, UpstreamFailedError
from deployments.pipeline_values import Run, RunState, RunStatus

Workflow = Json

DELETED = RunState(RunStatus.ERROR, "the workflow was deleted before its end was seen")

_STATUSES = {
    "": RunStatus.PENDING,
    "Pending": RunStatus.PENDING,
    "Running": RunStatus.RUNNING,
    "Succeeded": RunStatus.SUCCEEDED,
    "Failed": RunStatus.FAILED,
    "Error": RunStatus.ERROR,
}


class WorkflowSource(Protocol):
    """A way to look at workflows."""

    async def get(self, name: str) -> Workflow:
        """Return a workflow as it is now.

        Raises:
            NotFoundError: There is none of this name.
            HearthError: It cannot be had.
        """
        ...

    def changes(self, workflow: Workflow) -> AbstractAsyncContextManager[AsyncGenerator[RunState]]:
        """Watch a workflow that was looked at, until the watch ends for whatever reason.

        Raises:
            HearthError: It cannot be watched.
        """
        ...


async def follow(source: WorkflowSource, run_id: str) -> AsyncGenerator[RunState]:
    """Yield how a workflow is, now and after each change, until its end.

    It is looked at before every watch, and once more when the watch stands: what happens in between is not missed.
    """
    patience = Patience(run_id)
    while True:
        try:
            workflow = await source.get(run_id)
            yield state_of(workflow)
            async with source.changes(workflow) as states:
                yield state_of(await source.get(run_id))
                patience.rewarded()
                async with aclosing(states):
                    async for state in states:
                        yield state
        except HearthError as error:
            if not await patience.bears(error):
                yield DELETED
                return
        else:
            await patience.pause()


def state_of(workflow: Workflow) -> RunState:
    """Return how a workflow is.

    Raises:
        UpstreamFailedError: It has a phase that is none of Argo's.
    """
    status = object_at(workflow, "status")
    phase = str(status.get("phase") or "")
    if phase not in _STATUSES:
        raise UpstreamFailedError(f"argo says that the workflow is {phase!r}, which is no phase that is known")
    return RunState(_STATUSES[phase], str(status.get("message") or ""))


def state_of_event(kind: str, workflow: Workflow) -> RunState:
    """Return how a workflow is after an event of a watch."""
    state = state_of(workflow)
    return DELETED if kind == "DELETED" and not state.status.is_final else state


def name_of(workflow: Workflow) -> str:
    """Return a workflow's name."""
    return str(object_at(workflow, "metadata").get("name") or "")


def check_is_ours(workflow: Workflow, run: Run) -> None:
    """Raise `UpstreamFailedError` where a workflow that has the name of a run was started for another request."""
    labels = object_at(object_at(workflow, "metadata"), "labels")
    if labels.get(REQUEST, request_digest(run.request_id)) != request_digest(run.request_id):
        raise UpstreamFailedError(f"the workflow {name_of(workflow)!r} is there already, for another request")
