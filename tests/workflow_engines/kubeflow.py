"""Kubeflow Pipelines' v2beta1 API, standing in for what cannot run here: snake_case, empty fields left out."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.workflow_engines.engine_server import EngineServer

_API = "/apis/v2beta1"
_FINAL = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}
# What a run may be made from; anything else would be refused by the real one, which reads the body into a message.
_RUN_FIELDS = {
    "display_name": str,
    "description": str,
    "experiment_id": str,
    "service_account": str,
    "pipeline_version_reference": dict,
    "runtime_config": dict,
}


class KubeflowServer(EngineServer):
    """The API server.

    Attributes:
        pipelines: Ids of the pipelines that are there, by name.
        runs: By id.
    """

    def __init__(self, *pipelines: str, port: int = 0) -> None:
        super().__init__(port)
        self.pipelines = {name: str(uuid.uuid4()) for name in pipelines}
        self.runs: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{_API}/pipelines/names/{{name}}", self._pipeline),
            web.post(f"{_API}/runs", self._create),
            web.get(f"{_API}/runs", self._list),
            web.get(f"{_API}/runs/{{run_id}}", self._get),
            web.post(f"{_API}/runs/{{run_id}}:terminate", self._terminate),
        ]

    def error(self, status: int, message: str) -> web.Response:
        code = {400: 3, 401: 16, 404: 5}.get(status, 13)
        return web.json_response({"code": code, "message": message, "details": []}, status=status)

    def set_state(self, run_id: str, state: str, error: str = "") -> None:
        self.change(lambda: self._set_state(run_id, state, error))

    def run_of(self, request_id: str) -> dict[str, Any]:
        """Return the run that a request has started."""
        (run,) = [run for run in self.runs.values() if request_id in run["display_name"]]
        return run

    def _set_state(self, run_id: str, state: str, error: str = "") -> None:
        run = self.runs[run_id]
        run["state"] = state
        run["state_history"].append({"update_time": _now(), "state": state})
        if error:
            run["error"] = {"code": 2, "message": error}

    async def _pipeline(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.pipelines:
            return self.error(404, f"Pipeline with name {name} not found")
        return web.json_response({"pipeline_id": self.pipelines[name], "display_name": name, "name": name})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        for name, value in body.items():
            if not isinstance(value, _RUN_FIELDS.get(name, ())):
                return self.error(400, f"unknown or ill-formed field {name}")
        if body["pipeline_version_reference"].get("pipeline_id") not in self.pipelines.values():
            return self.error(404, "the pipeline was not found")
        run_id = str(uuid.uuid4())
        history = [{"update_time": _now(), "state": "PENDING"}]
        run = {**body, "run_id": run_id, "created_at": _now(), "state": "PENDING", "state_history": history}
        self.runs[run_id] = run
        return web.json_response(run)

    async def _list(self, request: web.Request) -> web.Response:
        (predicate,) = json.loads(request.query["filter"])["predicates"]
        if predicate["operation"] != "EQUALS" or predicate["key"] != "display_name":
            return self.error(400, "this filter is not known here")
        found = [run for run in self.runs.values() if run["display_name"] == predicate["string_value"]]
        return web.json_response({"runs": found, "total_size": len(found)} if found else {})

    async def _get(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["run_id"])
        return web.json_response(run) if run else self.error(404, "Run not found")

    async def _terminate(self, request: web.Request) -> web.Response:
        run = self.runs[request.match_info["run_id"]]
        if run["state"] not in _FINAL:
            self._set_state(run["run_id"], "CANCELED")
        return web.json_response({})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
