import os
from collections.abc import Generator

import pytest
import ray
from ray import serve

from bridges.command_line.local.local_stack import REPLICA_SITE
from tests import servers
from tests.integration.door_deployments import APPLICATION, build


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[servers.RayCluster]:
    """Run a Ray head for the tests of one module."""
    # The tests' own deployments are imported from the checkout; the other folder halves what a replica imports, as it
    # does for `hearth up`.
    environment = {"PYTHONPATH": os.pathsep.join((str(servers.ROOT), str(REPLICA_SITE)))}
    with servers.ray_cluster(tmp_path_factory.mktemp("ray"), environment) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def ray_driver(ray_cluster: servers.RayCluster) -> Generator[None]:
    """Make this process a driver of the cluster."""
    ray.init(address=ray_cluster.address, namespace="tests", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def door_application(ray_driver: None) -> str:
    """Deploy the application that the tests of the door call; return its name."""
    del ray_driver
    serve.run(build(), name=APPLICATION, route_prefix=None)
    return APPLICATION
