import subprocess
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import nats
import pytest
from nats.aio.client import Client

from bridges.command_line.client import HearthClient, connected
from tests.servers import ROOT, RayCluster, program, wait_until


@dataclass(frozen=True)
class Graph:
    """The shipped graph, deployed as on a cluster.

    Attributes:
        nats_url: Where its clients reach it.
        milvus_uri: Where its passages are.
        cluster: Where it runs.
    """

    nats_url: str
    milvus_uri: str
    cluster: RayCluster

    def deploy(self, config: str = "serve_config.yaml") -> None:
        """Give a configuration to Serve, with Serve's own command."""
        command = [program("serve"), "deploy", config, "--address", self.cluster.dashboard_url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def graph(ray_cluster: RayCluster, nats_url: str, milvus_uri: str) -> Graph:
    """Deploy serve_config.yaml on the session's cluster and wait until it takes requests."""
    deployed = Graph(nats_url, milvus_uri, ray_cluster)
    deployed.deploy()

    def is_ready() -> bool:
        command = [program("hearth"), "status", "--nats", nats_url, "--timeout", "5"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    wait_until("the graph", is_ready, 240)
    return deployed


@pytest.fixture
async def client(graph: Graph) -> AsyncGenerator[HearthClient]:
    async with connected(graph.nats_url) as connection:
        yield connection


@pytest.fixture
async def connection(graph: Graph) -> AsyncGenerator[Client]:
    async with await nats.connect(graph.nats_url) as connection:
        yield connection
