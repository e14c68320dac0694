"""Kubeflow Pipelines by its v2beta1 API."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

from bridges.workflows.engine_client import EngineClient, Json, object_at
from bridges.workflows.naming import run_name
from bridges.workflows.patience import Patience
from deployments.errors import HearthError, UpstreamFailedError
from deployments.pipelines.ports import EngineNotFoundError
from deployments.settings.pipelines import KubeflowSettings, ParameterType, PipelineSettings, typed
from deployments.values.pipelines import Run, RunState, RunStatus

_API = "/apis/v2beta1"
_STATES = {
    "RUNTIME_STATE_UNSPECIFIED": RunStatus.PENDING,
    "PENDING": RunStatus.PENDING,
    "RUNNING": RunStatus.RUNNING,
    "PAUSED": RunStatus.RUNNING,
    "CANCELING": RunStatus.RUNNING,
    "SUCCEEDED": RunStatus.SUCCEEDED,
    "SKIPPED": RunStatus.SUCCEEDED,
    "FAILED": RunStatus.FAILED,
    "CANCELED": RunStatus.FAILED,
}
_CANCELED = "the run was cancelled"
_GONE = RunState(RunStatus.ERROR, "the run was deleted before its end was seen")
_JITTER = 0.2
_MAX_DISPLAY_NAME = 120
_PAGE = 100


class Kubeflow:
    """A Kubeflow Pipelines API server.

    Args:
        settings: Where it is.
        table: The pipelines, for the types of their parameters.
    """

    def __init__(self, settings: KubeflowSettings, table: Mapping[str, PipelineSettings]) -> None:
        self._settings = settings
        self._table = table
        headers = {settings.user_header: settings.user} if settings.user else {}
        self._client = EngineClient("kubeflow", settings, headers)
        self._namespace = {"namespace": settings.namespace} if settings.namespace else {}

    @property
    def description(self) -> str:
        """See `WorkflowEngine.description`."""
        return self._client.described(f"Kubeflow Pipelines at {self._settings.url}")

    @property
    def failure(self) -> str:
        """See `WorkflowEngine.failure`."""
        return self._client.failure

    async def submit(self, run: Run) -> str:
        """See `WorkflowEngine.submit`.

        Kubeflow knows no names that are given once, so a run of the request is looked for before one is made.
        """
        if earlier := await self.find(run):
            return earlier
        body = run_of(run, await self._pipeline_id(run.target), self._table.get(run.pipeline), self._settings)
        _, made = await self._client.fetch("POST", f"{_API}/runs", body=body)
        return self._id_of(made)

    async def find(self, run: Run) -> str:
        """See `WorkflowEngine.find`."""
        name = display_name(run)
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
        parameters = {
            **self._namespace,
            "page_size": str(_PAGE),
            "filter": json.dumps({"predicates": [predicate]}),
        }
        _, listed = await self._client.fetch("GET", f"{_API}/runs", parameters=parameters)
        for found in cast("list[Json]", listed.get("runs") or []):
            if found.get("display_name") == name:
                return self._id_of(found)
        return ""

    async def follow(self, run: Run, last: RunStatus) -> AsyncGenerator[RunState]:
        """See `WorkflowEngine.follow`: the run is polled, and its history tells what happened between two looks."""
        patience = Patience(run.run_id)
        while True:
            try:
                states = news(states_of(await self._get(run.run_id)), last)
            except HearthError as error:
                if not await patience.bears(error):
                    yield _GONE
                    return
                continue
            patience.rewarded()
            for state in states:
                last = state.status
                yield state
            await asyncio.sleep(self._settings.poll_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311

    async def stop(self, run: Run) -> None:
        """See `WorkflowEngine.stop`."""
        await self._client.fetch("POST", f"{_API}/runs/{quote(run.run_id, safe='')}:terminate")

    async def close(self) -> None:
        """See `WorkflowEngine.close`."""
        await self._client.close()

    async def _get(self, run_id: str) -> dict[str, Any]:
        _, run = await self._client.fetch("GET", f"{_API}/runs/{quote(run_id, safe='')}")
        return run

    async def _pipeline_id(self, name: str) -> str:
        path = f"{_API}/pipelines/names/{quote(name, safe='')}"
        try:
            _, pipeline = await self._client.fetch("GET", path, parameters=self._namespace)
        except EngineNotFoundError as error:
            raise UpstreamFailedError(
                f"kubeflow has no pipeline {name!r}", retryable=False, back_end=error.back_end
            ) from error
        if not pipeline.get("pipeline_id"):
            raise UpstreamFailedError(f"kubeflow gives the pipeline {name!r} no pipeline_id")
        return str(pipeline["pipeline_id"])

    def _id_of(self, run: dict[str, Any]) -> str:
        if not run.get("run_id"):
            raise UpstreamFailedError("kubeflow gives the run no run_id")
        return str(run["run_id"])


def display_name(run: Run) -> str:
    """Return the name by which the run of a request is found again."""
    name = f"{run.target}-{run.request_id}"
    return name if len(name) <= _MAX_DISPLAY_NAME else run_name(run.target, run.request_id)


def run_of(run: Run, pipeline_id: str, row: PipelineSettings | None, settings: KubeflowSettings) -> Json:
    """Return the body that starts a run of a pipeline's latest version.

    Args:
        run: What is to be run.
        pipeline_id: Kubeflow's own id of the pipeline.
        row: Of the table, for the types of the parameters; None where it was taken out of the table since.
        settings: The experiment.
    """
    types = {name: parameter.type for name, parameter in row.parameters.items()} if row else {}
    parameters = {name: typed(value, types.get(name, ParameterType.STRING)) for name, value in run.parameters.items()}
    experiment = {"experiment_id": settings.experiment_id} if settings.experiment_id else {}
    return {
        "display_name": display_name(run),
        "pipeline_version_reference": {"pipeline_id": pipeline_id},
        "runtime_config": {"parameters": parameters},
        **experiment,
    }


def states_of(run: dict[str, Any]) -> list[RunState]:
    """Return all that a run was, oldest first and each change once, and what it is now.

    Raises:
        UpstreamFailedError: It is in a state that is none of Kubeflow's.
    """
    now = str(run.get("state") or "RUNTIME_STATE_UNSPECIFIED")
    history = [str(entry.get("state")) for entry in cast("list[dict[str, Any]]", run.get("state_history") or [])]
    message = str(object_at(run, "error").get("message") or "")
    states: list[RunState] = []
    for state in (*history, now):
        if state not in _STATES:
            raise UpstreamFailedError(f"kubeflow says that the run is {state!r}, which is no state that is known")
        status = _STATES[state]
        if not states or states[-1].status is not status:
            text = message or (_CANCELED if state == "CANCELED" else "")
            states.append(RunState(status, text if status.is_final else ""))
    return states


def news(states: Sequence[RunState], last: RunStatus) -> list[RunState]:
    """Return the states that came after the one that was reported last."""
    reported = [index for index, state in enumerate(states) if state.status is last]
    return list(states[reported[-1] + 1 :]) if reported else list(states)
