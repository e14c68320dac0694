"""A second graph beside the shipped one, whose every part a test may break.

Its ingresses hold the services in their own replicas. Its model is a server that fails on request. It has a NATS server
and a Milvus of its own, and shares the models of speech.
"""

from dataclasses import dataclass
from typing import Any

from tests.end_to_end.command import hearth
from tests.end_to_end.conftest import Graph, shipped_config
from tests.openai_server import OpenAIServer
from tests.servers import RestartableServer, wait_until

APPLICATION = "second"
REQUEST_TIMEOUT_S = 4
MAX_IN_FLIGHT = 8
MAX_WAITING = 4
MAX_WAIT_S = 2


@dataclass(frozen=True)
class SecondGraph:
    """Where its parts are."""

    nats: RestartableServer
    milvus: RestartableServer
    model: OpenAIServer
    graph: Graph

    def deploy(self) -> None:
        """Deploy it beside the shipped graph, which keeps its replicas, and wait until it takes requests."""
        self._apply([*shipped_config()["applications"], *self._applications()])
        wait_until("the second graph", self.is_ready, 120)

    def remove(self) -> None:
        """Take it away, and wait until it has gone."""
        self._apply(shipped_config()["applications"])
        wait_until("the end of the second graph", lambda: APPLICATION not in self._statuses(), 90)

    def is_ready(self) -> bool:
        """Say whether both of its ingresses take requests."""
        asked = (["status", "--timeout", "5"], ["voices"])
        return all(hearth(self.graph.environment, *one, "--nats", self.nats.url).returncode == 0 for one in asked)

    def processes(self) -> dict[str, int]:
        """Return the process of each of its replicas."""
        return {
            name: deployment["replicas"][0]["pid"]
            for application in (APPLICATION, f"{APPLICATION}-model")
            for name, deployment in self._details()[application]["deployments"].items()
        }

    def log(self) -> str:
        """Return the log of its ingress, as the dashboard shows it."""
        with self.graph.dashboard() as dashboard:
            nodes = dashboard.get("/api/v0/nodes").json()["data"]["result"]["result"]
            replica = self._details()[APPLICATION]["deployments"]["NatsIngress"]["replicas"][0]
            file = {"filename": replica["log_file_path"].lstrip("/"), "lines": 1000}
            return dashboard.get("/api/v0/logs/file", params={"node_id": nodes[0]["node_id"], **file}).text

    def _applications(self) -> list[dict[str, Any]]:
        engine = {"kind": "openai", "base_url": self.model.url, "model": "any", "context_tokens": 1 << 16}
        nats = {
            "url": self.nats.url,
            "max_in_flight": MAX_IN_FLIGHT,
            "max_waiting": MAX_WAITING,
            # The tests ask over one connection, which is one user.
            "user_share": 1,
            "max_wait_s": MAX_WAIT_S,
            "request_timeout_s": REQUEST_TIMEOUT_S,
        }
        environment = {"NATS_URL": self.nats.url, "MILVUS_HOST": self.milvus.url}
        common = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0}, "health_check_period_s": 1}
        ingress = {"graceful_shutdown_wait_loop_s": 0.2, "graceful_shutdown_timeout_s": 30, **common}
        return [
            {
                "name": f"{APPLICATION}-model",
                "route_prefix": None,
                "import_path": "deployments.applications:language_model",
                "args": {"engine": engine},
                "deployments": [{"name": "LanguageModel", "max_ongoing_requests": 32, **common}],
            },
            {
                "name": APPLICATION,
                "route_prefix": None,
                "import_path": "bridges.application:orchestration",
                "runtime_env": {"env_vars": environment},
                "args": {
                    "nats": nats,
                    "language_model": f"{APPLICATION}-model",
                    "in_process": ["Chat", "Retrieval", "Ingestion", "Transcription", "Speech", "Voice"],
                },
                "deployments": [{"name": name, **ingress} for name in ("NatsIngress", "AudioIngress")],
            },
        ]

    def _apply(self, applications: list[dict[str, Any]]) -> None:
        self.graph.deploy({**shipped_config(), "applications": applications})

    def _statuses(self) -> dict[str, str]:
        return {name: application["status"] for name, application in self._details().items()}

    def _details(self) -> dict[str, Any]:
        with self.graph.dashboard() as dashboard:
            return dashboard.get("/api/serve/applications/").json()["applications"]
