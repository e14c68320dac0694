"""What Ray's autoscaler, version 2, makes of a RayService: its own code, given the groups as it reads them."""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr as autoscaling_config,  # pyright: ignore[reportPrivateUsage]
)
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingReply, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import ResourceRequest  # pyright: ignore[reportAttributeAccessIssue]
from ray.core.generated.common_pb2 import LabelSelectorOperator  # pyright: ignore[reportAttributeAccessIssue]
from ray.serve.schema import ServeDeploySchema

from bridges.overlay_configs import patched_config
from deployments.graph.load_policy import LoadPolicy
from deployments.settings.orchestration import OrchestrationSettings
from tests.manifests.kustomize import OVERLAYS, Variant, one, resources
from tests.manifests.ray_service import Deployment, Service, cluster, deployments, name_of, ray_container, workers
from tests.pages import blocks
from tests.servers import ROOT

PAGE = ROOT / "kuberay" / "README.md"
OVERLAY = ROOT / "kuberay" / "overlays" / "cpu"

MOST = 4
"""How many workers of the first group the component allows."""


@pytest.fixture(params=OVERLAYS)
def service(request: pytest.FixtureRequest) -> Service:
    return one(resources(Variant(request.param, ("autoscaler",))), "RayService")


def demand(deployment: Deployment, cpus: float) -> ResourceRequest:
    """Return what a replica that finds no room asks the autoscaler for."""
    options = deployment["ray_actor_options"]
    request = ResourceRequest()
    request.resources_bundle["CPU"] = cpus
    if options.get("num_gpus"):
        request.resources_bundle["GPU"] = options["num_gpus"]
    selector = request.label_selectors.add()
    for key, value in options.get("label_selector", {}).items():
        selector.label_constraints.add(
            label_key=key, operator=LabelSelectorOperator.LABEL_OPERATOR_IN, label_values=[value]
        )
    return request


def scheduled(service: Service, requests: list[ResourceRequest]) -> SchedulingReply:
    """Return what the autoscaler does with a cluster that has no worker yet."""
    resource: dict[str, Any] = {
        "metadata": {"name": "hearth", "namespace": "ai-ml"},
        "spec": copy.deepcopy(cluster(service)),
    }
    config = AutoscalingConfig(autoscaling_config(resource), skip_content_hash=True)
    request = SchedulingRequest(
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(requests),
        current_instances=[],
        disable_launch_config_check=True,
    )
    return ResourceDemandScheduler(None).schedule(request)


def launched(reply: SchedulingReply) -> Counter[str]:
    return Counter({launch.instance_type: launch.count for launch in reply.to_launch})


def test_replicas_that_find_no_room_bring_workers_of_the_first_group(service: Service) -> None:
    group = name_of(workers(service)[0])
    (ingress,) = (entry for entry in deployments(service) if entry["name"] == "NatsIngress")
    reply = scheduled(service, [demand(ingress, cpus=2)] * MOST)
    assert launched(reply)[group] == MOST
    assert not reply.infeasible_resource_requests


def test_every_deployment_has_a_group_on_which_it_may_run(service: Service) -> None:
    asked = [demand(entry, cpus=entry["ray_actor_options"]["num_cpus"]) for entry in deployments(service)]
    assert not scheduled(service, asked).infeasible_resource_requests


def test_a_group_that_does_not_scale_gets_the_workers_it_is_said_to_have(service: Service) -> None:
    expected = {name_of(group): group["minReplicas"] for group in workers(service)}
    assert launched(scheduled(service, [])) == expected


# The patch on the operators' page.


@pytest.fixture(scope="module")
def scaled() -> dict[str, dict[str, Any]]:
    """Return the applications that the page's overlay deploys, by name."""
    (patch,) = (block.code for block in blocks(PAGE.read_text(encoding="utf-8"), "yaml") if "scaling:" in block.code)
    assert yaml.safe_load(patch)["based_on"] == "cpu"
    deployed = yaml.safe_load(patched_config((OVERLAY / "serve_config.yaml").read_text(encoding="utf-8"), patch))
    del deployed["based_on"]
    ServeDeploySchema.model_validate(deployed)
    return {application["name"]: application for application in deployed["applications"]}


def scaling(application: dict[str, Any]) -> Iterator[Deployment]:
    return (entry for entry in application["deployments"] if "autoscaling_config" in entry)


def test_what_the_page_s_patch_scales_is_scaled_by_hearth_s_policy_and_within_serve_s_rules(
    scaled: dict[str, dict[str, Any]],
) -> None:
    found = {
        entry["name"]: application["autoscaling_policy"]["policy_function"]
        for application in scaled.values()
        for entry in scaling(application)
    }
    policy = f"{LoadPolicy.__module__}:{LoadPolicy.__name__}"
    assert found == dict.fromkeys(("LanguageModel", "NatsIngress"), policy)


def test_the_ingress_of_the_page_s_patch_is_never_without_a_replica_and_reaches_its_target(
    scaled: dict[str, dict[str, Any]],
) -> None:
    orchestration = scaled["orchestration"]
    (ingress,) = (entry for entry in scaling(orchestration) if entry["name"] == "NatsIngress")
    assert ingress["autoscaling_config"]["min_replicas"] >= 1
    nats = OrchestrationSettings.model_validate(orchestration["args"]).nats
    assert ingress["autoscaling_config"]["target_ongoing_requests"] <= nats.max_in_flight


def test_a_replica_of_the_page_s_patch_that_finds_no_room_asks_for_a_worker(scaled: dict[str, dict[str, Any]]) -> None:
    entries = [entry for application in scaled.values() for entry in scaling(application)]
    assert all(entry["ray_actor_options"]["num_cpus"] > 0 for entry in entries)


def test_the_fewest_replicas_of_the_page_s_patch_have_room_on_the_overlay_s_workers(
    scaled: dict[str, dict[str, Any]],
) -> None:
    overlay = one(resources(Variant("cpu", ())), "RayService")
    there = sum(
        int(ray_container(group)["resources"]["limits"]["cpu"]) * group["replicas"] for group in workers(overlay)
    )
    asked = sum(
        entry["ray_actor_options"]["num_cpus"]
        * entry.get("num_replicas", entry.get("autoscaling_config", {}).get("min_replicas"))
        for application in scaled.values()
        for entry in application["deployments"]
    )
    assert asked <= there
