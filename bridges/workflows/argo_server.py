"""Argo Workflows by the REST API of Argo Server."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

from bridges.workflows import argo_workflow
from bridges.workflows.argo_workflow import CONFLICT, Workflow, is_older, name_of, state_of_event, version_of
from bridges.workflows.engine_client import EngineClient, Json, object_at, read_json
from bridges.workflows.naming import labels, run_name
from deployments.errors import UpstreamFailedError
from deployments.pipelines.ports import EngineNotFoundError
from deployments.settings.pipelines import ArgoServerSettings
from deployments.values.pipelines import Run, RunState, RunStatus

logger = logging.getLogger(__name__)

_FIELDS = "metadata.name,metadata.labels,metadata.resourceVersion,status.phase,status.message,status.finishedAt"


class ArgoServer:
    """An Argo Server.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: ArgoServerSettings) -> None:
        self._settings = settings
        self._client = EngineClient("argo", settings)
        namespace = quote(settings.namespace, safe="")
        self._workflows = f"/api/v1/workflows/{namespace}"
        self._events = f"/api/v1/workflow-events/{namespace}"

    @property
    def description(self) -> str:
        """See `WorkflowEngine.description`."""
        return self._client.described(f"Argo Server at {self._settings.url}, namespace {self._settings.namespace}")

    @property
    def failure(self) -> str:
        """See `WorkflowEngine.failure`."""
        return self._client.failure

    async def submit(self, run: Run) -> str:
        """See `WorkflowEngine.submit`."""
        try:
            status, answer = await self._client.fetch(
                "POST", f"{self._workflows}/submit", body=submission(run, self._settings), accept=CONFLICT
            )
        except EngineNotFoundError as error:
            namespace = self._settings.namespace
            logger.error("WorkflowTemplate %r is not in namespace %r, or not shown to us", run.target, namespace)  # noqa: TRY400
            raise UpstreamFailedError(
                f"argo has no WorkflowTemplate {run.target!r}, or does not show it",
                retryable=False,
                back_end=error.back_end,
            ) from error
        return await argo_workflow.submitted(self, run, status, answer)

    async def find(self, run: Run) -> str:
        """See `WorkflowEngine.find`."""
        return await argo_workflow.find(self, run)

    def follow(self, run: Run, last: RunStatus) -> AsyncGenerator[RunState]:
        """See `WorkflowEngine.follow`."""
        del last
        return argo_workflow.follow(self, run.run_id)

    async def stop(self, run: Run) -> None:
        """See `WorkflowEngine.stop`."""
        path = f"{self._workflows}/{quote(run.run_id, safe='')}/stop"
        body = {"namespace": self._settings.namespace, "name": run.run_id}
        await self._client.fetch("PUT", path, body=body)

    async def get(self, name: str) -> Workflow:
        """Return what matters of a workflow; see `WorkflowSource.get`."""
        path = f"{self._workflows}/{quote(name, safe='')}"
        _, workflow = await self._client.fetch("GET", path, parameters={"fields": _FIELDS})
        return {**workflow, "metadata": {"name": name, **object_at(workflow, "metadata")}}

    @asynccontextmanager
    async def changes(self, workflow: Workflow) -> AsyncGenerator[AsyncGenerator[RunState]]:
        """See `WorkflowSource.changes`."""
        name = name_of(workflow)
        parameters = {"listOptions.fieldSelector": f"metadata.name={name}"}
        version = version_of(workflow)
        if version:
            parameters["listOptions.resourceVersion"] = version
        async with self._client.watch(self._events, parameters, "text/event-stream") as lines:
            yield _states(lines, name, version)

    async def close(self) -> None:
        """See `WorkflowEngine.close`."""
        await self._client.close()


def submission(run: Run, settings: ArgoServerSettings) -> dict[str, Any]:
    """Return the body that has Argo Server start a run from its template."""
    options: dict[str, Any] = {
        "name": run_name(run.target, run.request_id),
        "parameters": [f"{name}={value}" for name, value in run.parameters.items()],
        "labels": ",".join(f"{key}={value}" for key, value in labels(run.request_id).items()),
    }
    if settings.service_account:
        options["serviceAccount"] = settings.service_account
    return {
        "namespace": settings.namespace,
        "resourceKind": "WorkflowTemplate",
        "resourceName": run.target,
        "submitOptions": options,
    }


async def _states(lines: AsyncGenerator[str], name: str, version: str) -> AsyncGenerator[RunState]:
    """Read server-sent events; the stream ends at one that is an error."""
    async for line in lines:
        # Comments, empty lines and other fields are no events.
        if not line.startswith("data:"):
            continue
        try:
            event = read_json(line.removeprefix("data:"))
        except ValueError:
            return
        result = object_at(cast("Json", event), "result") if isinstance(event, dict) else {}
        if not result:
            return
        workflow = object_at(result, "object")
        if name_of(workflow) == name and not is_older(workflow, version):
            yield state_of_event(str(result.get("type")), workflow)
