"""Argo Workflows by the Kubernetes API: a run is a custom resource that is made and watched there."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

from bridges.workflows import argo_workflow
from bridges.workflows.argo_workflow import CONFLICT, Workflow, is_older, name_of, state_of_event, version_of
from bridges.workflows.engine_client import EngineClient, Json, object_at, read_json
from bridges.workflows.naming import labels, run_name
from deployments.settings.pipelines import KubernetesSettings
from deployments.values.pipelines import Run, RunState, RunStatus

_API_VERSION = "argoproj.io/v1alpha1"
_STRICT = {"fieldValidation": "Strict", "fieldManager": "hearth"}
_WATCH_S = 300


class KubernetesWorkflows:
    """The workflows of a namespace in the Kubernetes API.

    Args:
        settings: Where the API is, and who we are to it.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._client = EngineClient("argo", settings)
        self._workflows = f"/apis/{_API_VERSION}/namespaces/{quote(settings.namespace, safe='')}/workflows"

    @property
    def description(self) -> str:
        """See `WorkflowEngine.description`."""
        where = f"{self._settings.url}, namespace {self._settings.namespace}"
        return self._client.described(f"Argo Workflows in the Kubernetes API at {where}")

    @property
    def failure(self) -> str:
        """See `WorkflowEngine.failure`."""
        return self._client.failure

    async def submit(self, run: Run) -> str:
        """See `WorkflowEngine.submit`.

        The API makes the object whether or not its template is there: a run whose template is missing ends as Argo's
        controller says.
        """
        status, answer = await self._client.fetch(
            "POST",
            self._workflows,
            parameters=_STRICT,
            body=workflow_of(run, self._settings),
            accept=CONFLICT,
        )
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
        # A strategic merge patch is refused for custom resources.
        await self._client.fetch(
            "PATCH",
            self._path(run.run_id),
            parameters={"fieldManager": "hearth"},
            body={"spec": {"shutdown": "Stop"}},
            content_type="application/merge-patch+json",
        )

    async def get(self, name: str) -> Workflow:
        """See `WorkflowSource.get`."""
        _, workflow = await self._client.fetch("GET", self._path(name))
        return workflow

    @asynccontextmanager
    async def changes(self, workflow: Workflow) -> AsyncGenerator[AsyncGenerator[RunState]]:
        """Watch from the version that was looked at.

        One that is too old by now is an event of its own, or a refusal: either ends the watch, and the workflow is
        looked at anew.
        """
        name = name_of(workflow)
        parameters = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version_of(workflow),
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_S),
        }
        async with self._client.watch(self._workflows, parameters, "application/json") as lines:
            yield _states(lines, name, version_of(workflow))

    async def close(self) -> None:
        """See `WorkflowEngine.close`."""
        await self._client.close()

    def _path(self, name: str) -> str:
        return f"{self._workflows}/{quote(name, safe='')}"


def workflow_of(run: Run, settings: KubernetesSettings) -> Workflow:
    """Return the object that starts a run from its template."""
    spec: dict[str, Any] = {
        "workflowTemplateRef": {"name": run.target},
        "arguments": {"parameters": [{"name": name, "value": value} for name, value in run.parameters.items()]},
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    return {
        "apiVersion": _API_VERSION,
        "kind": "Workflow",
        "metadata": {
            "name": run_name(run.target, run.request_id),
            "namespace": settings.namespace,
            "labels": labels(run.request_id),
        },
        "spec": spec,
    }


async def _states(lines: AsyncGenerator[str], name: str, version: str) -> AsyncGenerator[RunState]:
    """Read the events of a watch; it ends at one that is an error, such as "too old resource version"."""
    async for line in lines:
        if not line.strip():
            continue
        try:
            event = read_json(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        kind = str(cast("Json", event).get("type"))
        if kind == "ERROR":
            return
        workflow = object_at(cast("Json", event), "object")
        if kind != "BOOKMARK" and name_of(workflow) == name and not is_older(workflow, version):
            yield state_of_event(kind, workflow)
