"""Where Serve builds an application and runs it: what the overlays under `kuberay/` rest on, with real Ray nodes."""

import asyncio
from collections.abc import Generator

import httpx
import pytest
import ray
from ray import serve

from tests import servers

WORKERS = ("orchestration", "language-model")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[servers.RayCluster]:
    """Run a head and two workers, which have the label of their group, as KubeRay's operator starts them."""
    folder = tmp_path_factory.mktemp("placement")
    environment = servers.replica_environment()
    with servers.ray_cluster(folder / "head", environment) as running:
        first, second = (
            servers.ray_worker(folder / group, running, environment, labels={"hearth/group": group})
            for group in WORKERS
        )
        with first, second:
            yield running


def application(group: str) -> dict[str, object]:
    options = {"num_cpus": 0, "label_selector": {"hearth/group": group}}
    return {
        "name": group,
        "route_prefix": None,
        "import_path": "tests.integration.placement_application:application",
        "args": {},
        "deployments": [{"name": "Probe", "ray_actor_options": options}],
    }


def is_running(url: str) -> bool:
    details = httpx.get(f"{url}/api/serve/applications/").json()["applications"]
    assert not [entry for entry in details.values() if entry["status"] == "DEPLOY_FAILED"], details
    return len(details) == len(WORKERS) and all(entry["status"] == "RUNNING" for entry in details.values())


@pytest.fixture(scope="module")
def deployed(cluster: servers.RayCluster) -> Generator[None]:
    """Deploy an application for each group of workers; make this process a driver of the cluster."""
    config = {"proxy_location": "Disabled", "applications": [application(group) for group in WORKERS]}
    url = f"{cluster.dashboard_url}/api/serve/applications/"
    servers.wait_until("Serve's API", lambda: httpx.get(url).is_success)
    httpx.put(url, json=config, timeout=60).raise_for_status()
    servers.wait_until("the applications", lambda: is_running(cluster.dashboard_url), seconds=120)
    ray.init(address=cluster.address, namespace="tests", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("group", WORKERS)
async def test_an_application_is_built_and_runs_on_the_group_that_its_deployments_name(
    deployed: None, group: str
) -> None:
    del deployed
    async with asyncio.timeout(30):
        assert await serve.get_app_handle(group).groups.remote() == (group, group)
