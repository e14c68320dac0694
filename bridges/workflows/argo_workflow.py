"""What both ways to Argo Workflows have in common: how a workflow is, and how one is followed."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from bridges.workflows.engine_client import Json, object_at
from bridges.workflows.naming import REQUEST, request_digest, run_name
from bridges.workflows.patience import Patience
from deployments.errors import HearthError, UpstreamFailedError
from deployments.pipelines.ports import EngineNotFoundError
from deployments.values.pipelines import Run, RunState, RunStatus

Workflow = Json

CONFLICT = frozenset({409})
"""How both APIs say that a workflow of this name is there already."""
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
            EngineNotFoundError: There is none of this name.
            HearthError: The engine does not give it.
        """
        ...

    def changes(self, workflow: Workflow) -> AbstractAsyncContextManager[AsyncGenerator[RunState]]:
        """Watch a workflow that was looked at, until the watch ends for whatever reason.

        Raises:
            HearthError: It cannot be watched.
        """
        ...


async def submitted(source: WorkflowSource, run: Run, status: int, answer: Workflow) -> str:
    """Return the name of the workflow that a submission was answered with, or that was there before it.

    Args:
        source: Where it can be looked at.
        run: That was submitted.
        status: Of the answer, one of success or of `CONFLICT`.
        answer: The workflow, where it was made.

    Raises:
        UpstreamFailedError: What was there before was started for another request.
    """
    name = run_name(run.target, run.request_id)
    if status not in CONFLICT:
        return name_of(answer) or name
    check_is_ours(await source.get(name), run)
    return name


async def find(source: WorkflowSource, run: Run) -> str:
    """Return the name of the workflow that a request has started, empty where it has started none."""
    name = run_name(run.target, run.request_id)
    try:
        check_is_ours(await source.get(name), run)
    except EngineNotFoundError:
        return ""
    return name


async def follow(source: WorkflowSource, run_id: str) -> AsyncGenerator[RunState]:
    """Yield how a workflow is, now and after each change, until its end.

    It is looked at before every watch, which goes on from what was seen. It is looked at once more when the watch
    stands, for an end alone: a watch may begin with what is older, and only an end is not followed by anything.
    """
    patience = Patience(run_id)
    while True:
        try:
            workflow = await source.get(run_id)
            yield state_of(workflow)
            async with source.changes(workflow) as states:
                patience.rewarded()
                if end := await _end(source, workflow):
                    yield end
                async with aclosing(states):
                    async for state in states:
                        yield state
        except HearthError as error:
            if not await patience.bears(error):
                yield DELETED
                return
        else:
            await patience.pause()


async def _end(source: WorkflowSource, watched: Workflow) -> RunState | None:
    """Return how a workflow that is being watched has ended, None where it has not, or the watch is to tell."""
    try:
        now = state_of(await source.get(name_of(watched)))
    except EngineNotFoundError:
        # It was deleted since it was looked at, from when on the watch tells; unless it does not know from when.
        if not version_of(watched):
            raise
        return None
    return now if now.status.is_final else None


def state_of(workflow: Workflow) -> RunState:
    """Return how a workflow is.

    Raises:
        UpstreamFailedError: It has a phase that is none of Argo's.
    """
    status = object_at(workflow, "status")
    phase = str(status.get("phase") or "")
    if phase not in _STATUSES:
        raise UpstreamFailedError(f"argo says that the workflow is {phase!r}, which is not a known phase")
    return RunState(_STATUSES[phase], str(status.get("message") or ""))


def state_of_event(kind: str, workflow: Workflow) -> RunState:
    """Return how a workflow is after an event of a watch."""
    state = state_of(workflow)
    return DELETED if kind == "DELETED" and not state.status.is_final else state


def name_of(workflow: Workflow) -> str:
    """Return a workflow's name."""
    return str(object_at(workflow, "metadata").get("name") or "")


def version_of(workflow: Workflow) -> str:
    """Return the version that a workflow was seen in, empty where it does not tell."""
    return str(object_at(workflow, "metadata").get("resourceVersion") or "")


def is_older(workflow: Workflow, version: str) -> bool:
    """Say whether a workflow of an event was seen in a version before the one that was looked at.

    Versions are numbers that grow since Kubernetes 1.35; what is no number tells nothing.
    """
    seen = version_of(workflow)
    return seen.isdecimal() and version.isdecimal() and int(seen) < int(version)


def check_is_ours(workflow: Workflow, run: Run) -> None:
    """Raise `UpstreamFailedError` where a workflow that has the name of a run was started for another request."""
    labels = object_at(object_at(workflow, "metadata"), "labels")
    if labels.get(REQUEST, request_digest(run.request_id)) != request_digest(run.request_id):
        raise UpstreamFailedError(f"the workflow {name_of(workflow)!r} is there already, for another request")
