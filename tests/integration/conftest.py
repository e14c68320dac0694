from collections.abc import Generator

import pytest
import ray
from ray import serve

from tests import servers
from tests.integration.door_deployments import APPLICATION, build


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[servers.RayCluster]:
    """Run a Ray head for the tests of one module."""
    with servers.ray_cluster(tmp_path_factory.mktemp("ray"), servers.replica_environment()) as cluster:
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
