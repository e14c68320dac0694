import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from nats.aio.client import Client

from bridges.command_line.client import HearthClient, NatsServer, connected
from bridges.permissions import USERS, inbox_prefix
from deployments.models.store import ModelStore
from tests.collector import Collector
from tests.end_to_end.command import Done, hearth, readme_blocks, typed
from tests.nats_client import nats_connected
from tests.servers import ROOT, program, wait_until
from tests.workflow_engines.argo import ArgoServer
from tests.workflow_engines.kubeflow import KubeflowServer

ENDS_THE_GRAPH = "ends_the_graph"
NATS_PASSWORD = "s3cret-w0rd"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{ENDS_THE_GRAPH}: takes the graph down, after all tests that need it.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that end the graph behind all others of this folder."""
    here = Path(__file__).parent
    behind = [item for item in items if item.get_closest_marker(ENDS_THE_GRAPH)]
    others = [item for item in items if item not in behind]
    last = max((at for at, item in enumerate(others) if item.path.parent == here), default=-1)
    items[:] = [*others[: last + 1], *behind, *others[last + 1 :]]


def shipped_config() -> dict[str, Any]:
    """Return what serve_config.yaml says, to be changed."""
    return yaml.safe_load((ROOT / "serve_config.yaml").read_text())


@dataclass(frozen=True)
class Graph:
    """The shipped graph on this machine.

    Attributes:
        environment: The variables that `hearth` needs to find it.
        nats_url: Where its clients reach it, as the user `clients` of `hearth permissions nats`.
        operator_url: The same for an operator.
        dashboard_url: Of Ray.
    """

    environment: Mapping[str, str]
    nats_url: str
    operator_url: str
    dashboard_url: str

    def dashboard(self) -> httpx.Client:
        """Return a client of Ray's dashboard."""
        headers = {"Authorization": f"Bearer {self._token.read_text()}"}
        return httpx.Client(base_url=self.dashboard_url, headers=headers, timeout=60, trust_env=False)

    def metrics(self) -> str:
        """Return what Prometheus would read."""
        with self.dashboard() as dashboard:
            (found,) = dashboard.get("/api/prometheus/sd").json()
        return "\n".join(httpx.get(f"http://{target}/metrics", trust_env=False).text for target in found["targets"])

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Give a configuration to Serve, as `hearth up` does."""
        with self.dashboard() as dashboard:
            answer = dashboard.put("/api/serve/applications/", json=config)
        assert answer.is_success, answer.text

    def serve_deploy(self, config: Path) -> None:
        """Give a configuration to Serve, with Serve's own command."""
        command = [program("serve"), "deploy", str(config), "--address", self.dashboard_url]
        environment = {**self.environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._token)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    @property
    def _token(self) -> Path:
        return Path(self.environment["HEARTH_STATE"]) / "ray-token"


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory,
    models: ModelStore,
    collector: Collector,
    argo_server: ArgoServer,
    kubeflow_server: KubeflowServer,
) -> Generator[dict[str, str]]:
    """Give commands a state folder of their own and the servers of the tests; take down what they leave."""
    made = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "NATS_", "MILVUS_"))}
    made |= {
        "HEARTH_STATE": str(tmp_path_factory.mktemp("state")),
        "HEARTH_MODELS": str(models.folder),
        "COLUMNS": "100",
        "ARGO_HOST": argo_server.url,
        "KUBEFLOW_HOST": kubeflow_server.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        # Sooner than by default: tests wait for both.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "RAY_metrics_report_interval_ms": "1000",
    }
    yield made
    hearth(made, "down")


@pytest.fixture(scope="session")
def newcomer(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of somebody who types what the README shows.

    Its uv comes from the README's own command. The packages are those that the tests run with: what is tested is what
    is typed, not the resolver.
    """
    uv = tmp_path_factory.mktemp("uv")
    paths = [str(uv / "bin"), str(Path(sys.executable).parent), environment["PATH"]]
    return environment | {
        "PATH": os.pathsep.join(paths),
        "PIP_TARGET": str(uv),
        "UV_PROJECT": str(ROOT),
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
        "UV_NO_SYNC": "1",
    }


@pytest.fixture(scope="session")
def demo(newcomer: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Run the README's first command, `hearth demo`, which starts everything and keeps it running."""
    return typed(newcomer, readme_blocks()[0], tmp_path_factory.mktemp("newcomer"))


@pytest.fixture(scope="session")
def graph(environment: dict[str, str], demo: Done) -> Generator[Graph]:
    """Return the graph that the demo has started: all tests of this folder share it.

    From here on everybody may do on NATS what `hearth permissions nats` says, and at the end nobody has tried anything
    else: neither the graph nor those that ask it, `hearth` with all of its commands among them.
    """
    assert demo.returncode == 0, demo.stdout + demo.stderr
    folder = Path(environment["HEARTH_STATE"])
    guard_nats(folder, hearth(environment, "permissions", "nats").stdout)
    state = json.loads((folder / "state.json").read_text())
    url = state["nats_url"]
    asked = (["status", "--timeout", "5"], ["voices"])
    wait_until("the graph", lambda: all(hearth(environment, *one).returncode == 0 for one in asked), 60)
    yield Graph(environment, url, url.replace("clients:", "operator:"), state["dashboard_url"])
    violations = [line for line in (folder / "logs" / "nats.log").read_text().splitlines() if "Violation" in line]
    assert violations == []


def guard_nats(folder: Path, permissions: str) -> None:
    """Start the NATS server of a state folder anew, with permissions: who names no user is the graph.

    The command line is told to be the user `clients`.
    """
    file = folder / "state.json"
    state = json.loads(file.read_text())
    passwords = "".join(f'{user.password_variable}: "{NATS_PASSWORD}"\n' for user in USERS)
    config = folder / "nats.conf"
    config.write_text(f"{config.read_text()}{passwords}{permissions}no_auth_user: hearth\n")
    server = psutil.Process(state["processes"]["nats"]["pid"])
    server.terminate()
    server.wait(20)
    # Nobody's child, as one that `hearth up` starts: else it would stay as a zombie when another process ends it.
    command = f"{program('nats-server')} -c {config} > {folder}/logs/nats.log 2>&1 & echo $!"
    pid = int(subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout)
    state["processes"]["nats"] = {"pid": pid, "created": psutil.Process(pid).create_time()}
    state["nats_url"] = state["nats_url"].replace("nats://", f"nats://clients:{NATS_PASSWORD}@")
    file.write_text(json.dumps(state))


@pytest.fixture
async def client(graph: Graph) -> AsyncGenerator[HearthClient]:
    async with connected(graph.nats_url) as connection:
        yield connection


@pytest.fixture
async def connection(graph: Graph) -> AsyncGenerator[Client]:
    async with await nats_connected(graph.nats_url) as connection:
        yield connection


@pytest.fixture
async def operator(graph: Graph) -> AsyncGenerator[HearthClient]:
    async with connected(NatsServer(graph.operator_url, inbox_prefix=inbox_prefix("operator"))) as connection:
        yield connection
