"""What the KubeRay operator demands of a RayService, or does to it, that its definition does not say.

Each rule names its place in KubeRay v1.7.0, below `ray-operator/controllers/ray`, or in Ray 2.60.0, below `ray`.
"""

from pathlib import Path

import pytest
import yaml

from tests.manifests.ray_service import (
    Service,
    cluster,
    containers,
    drain_seconds,
    groups,
    head,
    is_dns_label,
    longest_shutdown,
    option_seconds,
    pod,
    ports,
    pre_stop,
    ray_container,
    workers,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def service() -> Service:
    return yaml.safe_load((ROOT / "kuberay" / "rayservice.yaml").read_text())


# The cluster becomes active.


def test_the_head_names_the_ports_that_the_operator_looks_for(service: Service) -> None:
    """The ports of the head's container become those of its Service.

    Without one named `serve`, the operator makes no Service for Serve and ends each round with an error, before it
    writes the status: the cluster never becomes active (common/service.go:228). Without one named `dashboard`, it
    cannot hand over the configuration (rayservice_controller.go:2014).
    """
    assert {"serve", "dashboard"} <= set(ports(ray_container(head(service))))


def test_the_readiness_of_a_worker_does_not_ask_an_http_proxy(service: Service) -> None:
    """A worker without a readiness probe of its own gets one that asks Serve's proxy on port 8000 as well.

    No proxy runs here, so such a worker would never be ready, nor would the RayService (common/pod.go:816).
    """
    for group in workers(service):
        assert ray_container(group)["readinessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def test_no_pod_is_unready_because_a_model_is_away(service: Service) -> None:
    """Port 8081 is that of the first ingress of a node, and not every node has an ingress. It is for alerts alone."""
    for group in groups(service):
        for probe in ("readinessProbe", "livenessProbe"):
            assert ray_container(group)[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}


def test_a_node_that_hangs_is_replaced_within_minutes(service: Service) -> None:
    """The operator's own liveness probe waits for ten minutes (common/pod.go:775, utils/constant.go:316)."""
    for group in groups(service):
        probe = ray_container(group)["livenessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] <= 180


def test_a_slow_start_does_not_fail_the_service_for_good(service: Service) -> None:
    """Past this limit the operator deletes the clusters, and no change heals it (rayservice_controller.go:2229)."""
    assert "ray.io/initializing-timeout" not in service["metadata"].get("annotations", {})


def test_the_head_is_not_asked_for_its_proxy(service: Service) -> None:
    """Else the operator asks its port 8000 in each round, where no proxy runs (rayservice_controller.go:2104)."""
    assert service["spec"]["excludeHeadPodFromServeSvc"] is True


# A pod that is stopped finishes what it holds.


def test_ingresses_leave_their_queue_group_before_ray_is_stopped(service: Service) -> None:
    """The operator deletes all pods of a cluster at once and gives them no hook (rayservice_controller.go:1292)."""
    for group in groups(service):
        assert pre_stop(group)[:2] == ["hearth", "drain"]
        assert option_seconds(pre_stop(group), "--timeout") > longest_shutdown(service)


def test_workers_hold_their_replicas_for_the_answers_of_other_nodes(service: Service) -> None:
    """At SIGTERM Ray drains a node for 30 s by default, then kills what runs on it (Ray `_private/node.py:665`)."""
    for group in workers(service):
        assert drain_seconds(group) > longest_shutdown(service)


def test_the_head_outlives_the_answers_of_its_workers(service: Service) -> None:
    """The head gets its SIGTERM in the same second as the workers, and Ray's GCS goes with it.

    While its hook runs, the GCS and Serve's controller live. After that nothing is left to drain on it.
    """
    group = head(service)
    assert option_seconds(pre_stop(group), "--at-least") > max(drain_seconds(worker) for worker in workers(service))
    assert drain_seconds(group) <= 10


def test_the_kubelet_waits_for_the_hook_and_for_ray(service: Service) -> None:
    """The grace period begins before the hook does, and ends with SIGKILL."""
    for group in groups(service):
        hook = max(option_seconds(pre_stop(group), option) for option in ("--timeout", "--at-least"))
        assert pod(group)["terminationGracePeriodSeconds"] >= hook + drain_seconds(group) + 10


# What the operator refuses, or should.


def test_the_names_are_those_that_the_operator_accepts(service: Service) -> None:
    """A RayService's name is a DNS label of at most 47 characters (utils/validation.go:632, utils/constant.go:378)."""
    assert is_dns_label(service["metadata"]["name"], 47)


def test_every_group_has_a_name_of_its_own(service: Service) -> None:
    """Two groups of one name are accepted by all, and their pods are then counted together."""
    names = [group["groupName"] for group in workers(service)]
    assert len(set(names)) == len(names)
    assert all(is_dns_label(name, 63) for name in names), "each is part of a NetworkPolicy's name"


def test_every_group_says_between_what_numbers_of_pods_it_may_be(service: Service) -> None:
    """Both bounds are needed without an autoscaler (utils/validation.go:125)."""
    for group in workers(service):
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_ray_s_cpus_and_memory_are_what_the_limits_say(service: Service) -> None:
    """They are read from the limits where rayStartParams do not say otherwise (common/pod.go:1394)."""
    for group in workers(service):
        assert not {"num-cpus", "memory"} & set(group["rayStartParams"])
        assert {"cpu", "memory"} <= set(ray_container(group)["resources"]["limits"])


def test_what_a_node_has_is_said_in_one_place(service: Service) -> None:
    """Resources in both places, and labels among the parameters, are refused (utils/validation.go:60 and 72)."""
    for group in groups(service):
        given = {"num-cpus", "num-gpus", "memory", "resources"} & set(group["rayStartParams"])
        assert not (given and group.get("resources"))
        assert "labels" not in group["rayStartParams"]


def test_the_upgrade_strategy_is_one_that_there_is(service: Service) -> None:
    """utils/validation.go:694. The third one shifts HTTP traffic step by step, and requests come over NATS."""
    assert service["spec"]["upgradeStrategy"]["type"] in {"NewCluster", "None"}


def test_the_head_s_service_keeps_its_name(service: Service) -> None:
    """utils/validation.go:689."""
    assert "name" not in head(service).get("headService", {}).get("metadata", {})


def test_ray_is_new_enough_for_tokens(service: Service) -> None:
    """utils/validation.go:295. Ray's dashboard, which can run anything, is on the pod's network."""
    assert cluster(service)["authOptions"]["mode"] == "token"
    assert tuple(map(int, cluster(service)["rayVersion"].split("."))) >= (2, 52, 0)


def test_ray_s_container_is_the_first_of_its_pod_and_has_an_image(service: Service) -> None:
    """utils/constant.go:51. A container without an image is accepted by all, and its pod then fails again and again."""
    assert ray_container(head(service))["name"] == "ray-head"
    assert all(ray_container(group)["name"] == "ray-worker" for group in workers(service))
    assert all(container["image"] for container in containers(service))


def test_prometheus_finds_a_port_named_metrics(service: Service) -> None:
    """Else the operator adds one, and the pod is no longer what the manifest says (common/pod.go:289 and 689)."""
    assert all(ports(ray_container(group))["metrics"] == 8080 for group in groups(service))


def test_quantities_are_texts(service: Service) -> None:
    """The operator writes numbers back as texts, which the next server-side apply of a GitOps tool finds changed."""
    for container in containers(service):
        for amounts in container["resources"].values():
            assert {type(amount) for amount in amounts.values()} <= {str}
