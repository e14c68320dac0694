"""What the components under `kuberay/components` add."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bridges.generate import nats_users
from deployments.settings.pipelines import KubernetesSettings
from tests.manifests.kustomize import OVERLAYS, Resource, Variant, one, own_components, resources
from tests.manifests.ray_service import (
    Service,
    groups,
    head,
    name_of,
    pod,
    ports,
    ray_container,
    runs_ingresses,
    workers,
)

ROOT = Path(__file__).resolve().parents[2]
OLD_NAMES = {"chat-handler", "voice-assistant", "stt-module", "tts-module", "pipeline-bridge"}


def with_component(overlay: str, component: str) -> list[Resource]:
    return resources(Variant(overlay, () if component in own_components(overlay) else (component,)))


def labels(group: dict[str, Any]) -> dict[str, str]:
    """Return the labels of a group's pods: their own, and those of the operator (v1.7.0 common/pod.go:1167)."""
    kind = "worker" if "groupName" in group else "head"
    own = group["template"]["metadata"]["labels"]
    return {**own, "ray.io/node-type": kind, "ray.io/group": name_of(group)}


def matches(selector: dict[str, Any], group: dict[str, Any]) -> bool:
    wanted, there = selector.get("matchLabels", {}), labels(group)
    return all(there.get(key) == value for key, value in wanted.items()) and all(
        there.get(expression["key"]) in expression["values"] for expression in selector.get("matchExpressions", [])
    )


# Workflows without Argo Server.


@pytest.fixture(params=OVERLAYS)
def with_workflows(request: pytest.FixtureRequest) -> list[Resource]:
    return with_component(request.param, "workflows")


def test_the_role_allows_what_the_adapter_does_with_workflows_and_nothing_else(with_workflows: list[Resource]) -> None:
    (rule,) = one(with_workflows, "Role")["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["argoproj.io"], ["workflows"])
    assert set(rule["verbs"]) == {"create", "get", "list", "watch", "patch"}


def test_it_is_bound_to_the_account_in_the_namespace_of_the_workflows(with_workflows: list[Resource]) -> None:
    binding, account = one(with_workflows, "RoleBinding"), one(with_workflows, "ServiceAccount")
    assert binding["roleRef"]["name"] == one(with_workflows, "Role")["metadata"]["name"]
    (subject,) = binding["subjects"]
    namespace = KubernetesSettings(kind="kubernetes").namespace
    assert subject == {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": namespace}


def test_only_the_pods_that_start_workflows_have_its_token(with_workflows: list[Resource]) -> None:
    service = one(with_workflows, "RayService")
    for group in groups(service):
        assert pod(group)["automountServiceAccountToken"] is runs_ingresses(service, group)
        assert ("serviceAccountName" in pod(group)) is runs_ingresses(service, group)


# Budgets.


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_budget_counts_the_pods_of_any_cluster_of_hearth(overlay: str) -> None:
    """A RayCluster has no scale subresource, which shares and maxUnavailable need, and its name changes."""
    built = with_component(overlay, "disruption-budget")
    service = one(built, "RayService")
    budgets = {entry["metadata"]["name"]: entry["spec"] for entry in built if entry["kind"] == "PodDisruptionBudget"}
    for name, kind in (("hearth-head", [head(service)]), ("hearth-workers", workers(service))):
        spec = budgets[name]
        assert isinstance(spec["minAvailable"], int)
        assert "ray.io/cluster" not in spec["selector"]["matchLabels"]
        assert [group for group in groups(service) if matches(spec["selector"], group)] == kind
        pods = sum(group.get("replicas", 1) for group in kind)
        assert spec["minAvailable"] == max(1, pods - 1)


# Old names.


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_old_names_lead_to_pods_with_an_ingress(overlay: str) -> None:
    built = with_component(overlay, "old-names")
    service = one(built, "RayService")
    services = {entry["metadata"]["name"]: entry["spec"] for entry in built if entry["kind"] == "Service"}
    assert set(services) == OLD_NAMES
    for spec in services.values():
        led_to = [group for group in groups(service) if matches({"matchLabels": spec["selector"]}, group)]
        assert led_to == [group for group in groups(service) if runs_ingresses(service, group)]
        for group in led_to:
            named = ports(ray_container(group))
            assert {port["targetPort"]: port["port"] for port in spec["ports"]} == {
                name: named[name] for name in ("health", "metrics")
            }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_health_port_is_the_one_that_is_configured(overlay: str) -> None:
    service: Service = one(resources(Variant(overlay)), "RayService")
    applications = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    (orchestration,) = (entry for entry in applications if entry["name"] == "orchestration")
    for group in workers(service):
        assert ports(ray_container(group))["health"] == orchestration["args"]["health"]["port"]


# Metrics.


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_reads_all_pods(overlay: str) -> None:
    built = with_component(overlay, "pod-monitor")
    monitor, service = one(built, "PodMonitor")["spec"], one(built, "RayService")
    assert all(matches(monitor["selector"], group) for group in groups(service))
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert all(endpoint["port"] in ports(ray_container(group)) for group in groups(service))


# What the charts of NATS and Milvus are told.


def values(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "kuberay" / "charts" / f"{name}.yaml").read_text())


def test_nats_keeps_streams_and_takes_recordings() -> None:
    config = values("nats")["config"]
    assert config["jetstream"]["enabled"] is True
    assert config["websocket"]["enabled"] is False
    # A recorded question of a minute, 16-bit at 48 kHz. NATS advises against more than 8 MiB.
    assert 60 * 48_000 * 2 < config["merge"]["max_payload"] <= 8 * 2**20


def test_nats_reads_its_passwords_out_of_a_secret() -> None:
    given = values("nats-users")
    users = given["config"]["merge"]["authorization"]["users"]
    for user in users:
        quoted = user["password"].removeprefix("<< $").removesuffix(" >>")
        secret = given["container"]["env"][quoted].removeprefix("'$(").removesuffix(")'")
        assert given["container"]["env"][quoted] == f"'$({secret})'"
        assert given["container"]["env"][secret]["valueFrom"]["secretKeyRef"]["key"] == user["user"]
        # The chart lists variables in alphabetical order, and Kubernetes puts into one what stands further up.
        assert secret < quoted


def test_nats_users_may_do_what_the_table_of_subjects_gives_them() -> None:
    assert (ROOT / "kuberay" / "charts" / "nats-users.yaml").read_text() == nats_users()
    users = values("nats-users")["config"]["merge"]["authorization"]["users"]
    assert [user["user"] for user in users] == ["hearth", "clients", "operator"]
    assert all(user["permissions"]["publish"]["allow"] and user["permissions"]["subscribe"]["allow"] for user in users)


def test_milvus_is_one_server_without_a_message_queue() -> None:
    given = values("milvus")
    assert given["cluster"]["enabled"] is False
    assert given["pulsarv3"]["enabled"] is False
