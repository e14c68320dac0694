from collections.abc import Generator

import pytest
import ray
from ray import serve

from tests.integration.door_deployments import APPLICATION, build
from tests.servers import RayCluster


@pytest.fixture(scope="session")
def ray_driver(ray_cluster: RayCluster) -> Generator[None]:
    """Make this process a driver of the session's cluster."""
    ray.init(address=ray_cluster.address, namespace="tests", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def door_application(ray_driver: None) -> str:
    """Deploy the application that the tests of the door call; return its name."""
    del ray_driver
    serve.run(build(), name=APPLICATION, route_prefix=None)
    return APPLICATION
