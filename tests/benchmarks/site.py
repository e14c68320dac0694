"""What benchmarks run on: servers, each started for one benchmark or shared by several."""

import tempfile
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import httpx

from bridges.command_line.local.local_stack import SERVE_ENVIRONMENT
from deployments.models.store import ModelStore
from tests import servers
from tests.benchmarks.shipped import serve_config
from tests.benchmarks.stand_in_graph import Config, Side, StandInGraph, nats_accounts
from tests.benchmarks.stand_in_graph import serve_config as stand_in_config

_DEPLOY_S = 240.0


@dataclass(frozen=True, slots=True)
class ShippedGraph:
    """Where the graph of `serve_config.yaml` is.

    Attributes:
        nats_url: Where its clients connect.
        metrics: Returns what Prometheus would read.
    """

    nats_url: str
    metrics: Callable[[], str]


class Site(Protocol):
    """Gives benchmarks the servers that they run on. All that a site gives is in processes below this one."""

    def milvus(self) -> AbstractContextManager[str]:
        """Give the URI of a Milvus server."""
        ...

    def shipped_graph(self, *, check_sentences: bool = True) -> AbstractContextManager[ShippedGraph]:
        """Give the graph of `serve_config.yaml`, which need not be ready yet.

        Args:
            check_sentences: Whether answers are checked against their passages. A site that shares a graph with
                others may leave that as it is.
        """
        ...

    def stand_in_graph(self, sides: Collection[Side]) -> AbstractContextManager[StandInGraph]:
        """Give graphs with stand-ins for models, at least those of `sides`, all applications of them running."""
        ...


class OwnSite:
    """Starts servers for one benchmark, and ends them with it."""

    @contextmanager
    def milvus(self) -> Generator[str]:
        """See `Site.milvus`."""
        with tempfile.TemporaryDirectory() as folder, servers.milvus_server(Path(folder)) as uri:
            yield uri

    @contextmanager
    def shipped_graph(self, *, check_sentences: bool = True) -> Generator[ShippedGraph]:
        """See `Site.shipped_graph`."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            nats_folder = folder / "nats"
            nats_url = stack.enter_context(servers.nats_server(nats_folder, "-js", "-sd", str(nats_folder / "store")))
            milvus_uri = stack.enter_context(servers.milvus_server(folder / "milvus"))
            environment = {**ray_environment(), "NATS_URL": nats_url, "MILVUS_HOST": milvus_uri}
            cluster = stack.enter_context(servers.ray_cluster(folder / "ray", environment))
            deploy(cluster.dashboard_url, serve_config(check_sentences=check_sentences))
            yield ShippedGraph(nats_url, lambda: text_at(cluster.metrics_url))

    @contextmanager
    def stand_in_graph(self, sides: Collection[Side]) -> Generator[StandInGraph]:
        """See `Site.stand_in_graph`."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            accounts = folder / "nats.conf"
            accounts.write_text(nats_accounts(), encoding="utf-8")
            nats_url = stack.enter_context(servers.nats_server(folder / "nats", "-c", str(accounts)))
            cluster = stack.enter_context(servers.ray_cluster(folder / "ray", ray_environment()))
            http_url = f"http://{servers.LOOPBACK}:{servers.free_port()}"
            nats_port = int(nats_url.rsplit(":", 1)[1])
            graph = StandInGraph(nats_port, http_url, cluster.dashboard_url, frozenset(sides))
            deploy(cluster.dashboard_url, stand_in_config(graph))
            yield graph


def ray_environment() -> dict[str, str]:
    """Return the environment of Ray's processes: Hearth's own settings of it, and the checkout on the path."""
    return {
        **servers.replica_environment(),
        "HEARTH_MODELS": str(ModelStore.from_environment().folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        **SERVE_ENVIRONMENT,
    }


def text_at(url: str) -> str:
    """Return what an HTTP server of this machine answers."""
    response = httpx.get(url, timeout=10, trust_env=False)
    response.raise_for_status()
    return response.text


def deploy(dashboard_url: str, config: Config, within_s: float = _DEPLOY_S) -> None:
    """Give a configuration to Serve and wait until all its applications run, and no other is left.

    Raises:
        RuntimeError: An application failed; the message says why.
        TimeoutError: It took longer than `within_s` seconds.
    """
    wanted = {application["name"] for application in config["applications"]}
    with httpx.Client(base_url=dashboard_url, timeout=60, trust_env=False) as client:
        client.put("/api/serve/applications/", json=dict(config)).raise_for_status()
        deadline = time.monotonic() + within_s
        while True:
            applications = _applications(client)
            failed = [entry["message"] for entry in applications.values() if entry["status"] == "DEPLOY_FAILED"]
            if failed:
                raise RuntimeError("\n".join(failed))
            waiting = {name for name in wanted if applications.get(name, {}).get("status") != "RUNNING"}
            waiting |= applications.keys() - wanted
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not running, or not gone, after {within_s:g} s: {', '.join(sorted(waiting))}")
            time.sleep(0.1)


def _applications(client: httpx.Client) -> Mapping[str, Mapping[str, Any]]:
    return cast("Mapping[str, Mapping[str, Any]]", client.get("/api/serve/applications/").json()["applications"])
