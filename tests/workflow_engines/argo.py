"""Argo Workflows as its two APIs show it: Argo Server's REST API, and custom resources of the Kubernetes API.

They stand in for what cannot run here. Paths, bodies, statuses and the ways in which things go wrong are those of Argo
Server 4.1 and of a Kubernetes API server 1.36.
"""

import copy
import json
import ssl
import uuid
from pathlib import Path
from typing import Any

import jsonschema
from aiohttp import web

from tests.workflow_engines.engine_server import EngineServer

Workflow = dict[str, Any]

NAMESPACE = "ai-ml"
SCHEMA = json.loads((Path(__file__).parent / "workflow_schema.json").read_text())
_FINAL = {"Succeeded", "Failed", "Error"}


def schema_faults(workflow: Workflow) -> list[str]:
    """Return what an API server under strict validation would refuse of a workflow, by path."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(workflow)]


class Workflows:
    """The workflows of a namespace, with the versions and events that an API server keeps of them.

    Attributes:
        templates: Names of the WorkflowTemplates that are there.
        by_name: The workflows.
        oldest_version: Watches from before it are too old.
    """

    def __init__(self, *templates: str) -> None:
        self.templates = set(templates)
        self.by_name: dict[str, Workflow] = {}
        self.events: list[tuple[int, str, Workflow]] = []
        self.version = 100
        self.oldest_version = 0

    def create(self, workflow: Workflow) -> Workflow:
        self.version += 1
        metadata = workflow["metadata"]
        metadata.update(uid=str(uuid.uuid4()), resourceVersion=str(self.version), generation=1)
        self.by_name[metadata["name"]] = workflow
        self._happened("ADDED", workflow)
        return workflow

    def set_phase(self, name: str, phase: str, message: str = "") -> None:
        workflow = self.by_name[name]
        workflow["status"] = {"phase": phase, **({"message": message} if message else {})}
        self._modified(workflow)

    def stop(self, name: str) -> Workflow:
        workflow = self.by_name[name]
        if workflow.get("status", {}).get("phase") not in _FINAL:
            workflow["spec"]["shutdown"] = "Stop"
            workflow["status"] = {"phase": "Failed", "message": "Stopped with strategy 'Stop'"}
            self._modified(workflow)
        return workflow

    def delete(self, name: str) -> None:
        workflow = self.by_name.pop(name)
        self.version += 1
        self._happened("DELETED", workflow)

    def forget_versions(self) -> None:
        """Keep no event from before now."""
        self.version += 1
        self.oldest_version = self.version

    def _modified(self, workflow: Workflow) -> None:
        self.version += 1
        workflow["metadata"]["resourceVersion"] = str(self.version)
        self._happened("MODIFIED", workflow)

    def _happened(self, kind: str, workflow: Workflow) -> None:
        self.events.append((self.version, kind, copy.deepcopy(workflow)))


def _selected(request: web.Request, option: str) -> str:
    """Return the name that a field selector asks for."""
    selector = request.query.get(option, "")
    return selector.removeprefix("metadata.name=") if selector else ""


_GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14}
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    410: "Expired",
}


class _ArgoEngine(EngineServer):
    """Either API, over the same workflows.

    Attributes:
        replays: Have watches begin with all that ever happened, whatever version they ask for.
    """

    def __init__(self, *templates: str, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls)
        self.workflows = Workflows(*templates)
        self.replays = False

    def set_phase(self, name: str, phase: str, message: str = "") -> None:
        self.change(lambda: self.workflows.set_phase(name, phase, message))

    def delete(self, name: str) -> None:
        self.change(lambda: self.workflows.delete(name))

    def expire(self) -> None:
        """Have every version that was handed out be too old to watch from."""
        self.change(self.workflows.forget_versions)

    @property
    def names(self) -> list[str]:
        return list(self.workflows.by_name)


class ArgoServer(_ArgoEngine):
    """Argo Server.

    Attributes:
        broken_lines: Sent among the events of the next watches, one each.
    """

    def __init__(self, *templates: str, port: int = 0) -> None:
        super().__init__(*templates, port=port)
        self.broken_lines: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        workflows = "/api/v1/workflows/{namespace}"
        return [
            web.post(f"{workflows}/submit", self._submit),
            web.get(f"{workflows}/{{name}}", self._get),
            web.put(f"{workflows}/{{name}}/stop", self._stop_workflow),
            web.get("/api/v1/workflow-events/{namespace}", self._events),
        ]

    def error(self, status: int, message: str) -> web.Response:
        return web.json_response({"code": _GRPC_CODES.get(status, 2), "message": message}, status=status)

    async def _submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("resourceKind") != "WorkflowTemplate":
            return self.error(400, "resource kind is not supported")
        template, options = body["resourceName"], body.get("submitOptions", {})
        if template not in self.workflows.templates:
            return self.error(404, f'workflowtemplates.argoproj.io "{template}" not found')
        name = options.get("name") or f"{options.get('generateName', template + '-')}{uuid.uuid4().hex[:5]}"
        if name in self.workflows.by_name:
            return self.error(409, f'workflows.argoproj.io "{name}" already exists')
        given = [parameter.partition("=") for parameter in options.get("parameters", [])]
        labels = dict(label.split("=") for label in options.get("labels", "").split(",") if label)
        workflow = {
            "metadata": {
                "name": name,
                "namespace": request.match_info["namespace"],
                "labels": {**labels, "workflows.argoproj.io/workflow-template": template},
            },
            "spec": {
                "arguments": {"parameters": [{"name": key, "value": value} for key, _, value in given]},
                "workflowTemplateRef": {"name": template},
            },
            "status": {},
        }
        self.workflows.create(workflow)
        self.notify()
        return web.json_response(workflow)

    async def _get(self, request: web.Request) -> web.Response:
        workflow = self.workflows.by_name.get(request.match_info["name"])
        if workflow is None:
            return self.error(404, f'workflows.argoproj.io "{request.match_info["name"]}" not found')
        if "fields" not in request.query:
            return web.json_response(workflow)
        selected: dict[str, Any] = {}
        for path in request.query["fields"].split(","):
            first, last = path.split(".")
            if last in workflow.get(first, {}):
                selected.setdefault(first, {})[last] = workflow[first][last]
        return web.json_response(selected)

    async def _stop_workflow(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self.workflows.by_name:
            return self.error(404, "not found")
        workflow = self.workflows.stop(request.match_info["name"])
        self.notify()
        return web.json_response(workflow)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        name = _selected(request, "listOptions.fieldSelector")
        version = int(request.query.get("listOptions.resourceVersion", "0"))
        # A watch without a version begins with what is there.
        present = [] if version else [("ADDED", found) for key, found in self.workflows.by_name.items() if key == name]
        version = version or self.workflows.version
        version = 0 if self.replays else version
        ended = False

        def lines() -> list[str]:
            nonlocal present, version, ended
            if version < self.workflows.oldest_version:
                if ended:
                    return []
                ended = True
                error = {"grpc_code": 10, "http_code": 409, "message": f"too old resource version: {version}"}
                return [f"data: {json.dumps({'error': error})}\n\n"]
            news = [event for event in self.workflows.events if event[0] > version]
            shown = [*present, *((kind, found) for _, kind, found in news)]
            present, version = [], max([version, *(event[0] for event in news)])
            broken = [self.broken_lines.pop(0)] if self.broken_lines else []
            return broken + [
                f"data: {json.dumps({'result': {'type': kind, 'object': found}})}\n\n"
                for kind, found in shown
                if not name or found["metadata"]["name"] == name
            ]

        return await self.stream(request, "text/event-stream", lines)


class KubernetesApi(_ArgoEngine):
    """A Kubernetes API server with Argo's definition in it."""

    def routes(self) -> list[web.RouteDef]:
        workflows = "/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows"
        return [
            web.post(workflows, self._create),
            web.get(workflows, self._list),
            web.get(f"{workflows}/{{name}}", self._get),
            web.patch(f"{workflows}/{{name}}", self._patch),
        ]

    def error(self, status: int, message: str) -> web.Response:
        return web.json_response(self._status(status, message), status=status)

    def _status(self, status: int, message: str) -> dict[str, Any]:
        reason = _REASONS.get(status, "InternalError")
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": status,
        }

    async def _create(self, request: web.Request) -> web.Response:
        workflow = await request.json()
        faults = schema_faults(workflow)
        if faults and request.query.get("fieldValidation") == "Strict":
            return self.error(400, f"strict decoding error: {faults[0]}")
        name = workflow["metadata"].get("name") or f"{workflow['metadata']['generateName']}{uuid.uuid4().hex[:5]}"
        if name in self.workflows.by_name:
            return self.error(409, f'workflows.argoproj.io "{name}" already exists')
        workflow["metadata"]["name"] = name
        created = self.workflows.create(workflow)
        self.notify()
        return web.json_response(created, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        workflow = self.workflows.by_name.get(request.match_info["name"])
        if workflow is None:
            return self.error(404, f'workflows.argoproj.io "{request.match_info["name"]}" not found')
        return web.json_response(workflow)

    async def _patch(self, request: web.Request) -> web.Response:
        if request.headers["Content-Type"] != "application/merge-patch+json":
            return self.error(415, "the body of the request was in an unknown format")
        if await request.json() != {"spec": {"shutdown": "Stop"}}:
            return self.error(400, "only a stop is known here")
        workflow = self.workflows.stop(request.match_info["name"])
        self.notify()
        return web.json_response(workflow)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            items = list(self.workflows.by_name.values())
            return web.json_response({"metadata": {"resourceVersion": str(self.workflows.version)}, "items": items})
        name = _selected(request, "fieldSelector")
        version = 0 if self.replays else int(request.query["resourceVersion"])
        ended = False

        def lines() -> list[str]:
            nonlocal version, ended
            if version < self.workflows.oldest_version:
                if ended:
                    return []
                ended = True
                error = self._status(410, f"too old resource version: {version} ({self.workflows.oldest_version})")
                return [json.dumps({"type": "ERROR", "object": error}) + "\n"]
            news = [event for event in self.workflows.events if event[0] > version]
            version = max([version, *(event[0] for event in news)])
            bookmark = {"kind": "Workflow", "metadata": {"resourceVersion": str(version)}}
            return [
                *(
                    json.dumps({"type": kind, "object": found}) + "\n"
                    for _, kind, found in news
                    if not name or found["metadata"]["name"] == name
                ),
                json.dumps({"type": "BOOKMARK", "object": bookmark}) + "\n",
            ]

        return await self.stream(request, "application/json", lines, float(request.query.get("timeoutSeconds", "300")))
