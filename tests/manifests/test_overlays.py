"""What kustomize builds from the overlays and components, against the definitions of its kinds."""

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bridges.overlay_configs import overlay_configs
from tests.manifests.kustomize import (
    COMPONENTS,
    KUBERAY,
    OVERLAYS,
    Resource,
    Variant,
    build,
    one,
    own_components,
    resources,
    variants,
    write_overlay,
)
from tests.manifests.ray_service import Service, cluster, containers, groups, pod, ray_container, serve_config, workers
from tests.pages import blocks

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCHEMAS: dict[str, dict[str, Any]] = {
    **json.loads((HERE / "kinds_schema.json").read_text()),
    "PodMonitor": json.loads((HERE / "pod_monitor_schema.json").read_text()),
    "RayService": json.loads((HERE / "rayservice_schema.json").read_text()),
}
NAMESPACE = "ai-ml"


@pytest.fixture(params=variants(), ids=str)
def built(request: pytest.FixtureRequest) -> list[Resource]:
    return resources(request.param)


@pytest.fixture(params=OVERLAYS)
def service(request: pytest.FixtureRequest) -> Service:
    return one(resources(Variant(request.param)), "RayService")


def faults(resource: Resource) -> list[str]:
    """Return what an API server under strict validation would refuse, by path."""
    validator = jsonschema.Draft202012Validator(SCHEMAS[resource["kind"]])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(resource)]


def test_there_is_something_to_test() -> None:
    assert set(OVERLAYS) >= {"cpu", "five-nodes"}
    assert len(COMPONENTS) >= 8


# The API server would take it.


def test_the_definitions_accept_every_resource(built: Sequence[Resource]) -> None:
    assert {resource["metadata"]["name"]: found for resource in built if (found := faults(resource))} == {}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_can_be_added_alone(overlay: str, component: str) -> None:
    added = () if component in own_components(overlay) else (component,)
    assert all(faults(resource) == [] for resource in resources(Variant(overlay, added)))


@pytest.mark.parametrize(
    ("break_it", "where"),
    [
        (lambda service: service["spec"].update(serveConfig="x"), "$.spec"),
        (lambda service: service["spec"].pop("rayClusterConfig"), "$.spec"),
        (lambda service: workers(service)[0].update(replicas="1"), "$.spec.rayClusterConfig.workerGroupSpecs[0]"),
        (
            lambda service: ray_container(groups(service)[0]).update(imagePolicy="Always"),
            "$.spec.rayClusterConfig.headGroupSpec.template.spec.containers[0]",
        ),
    ],
    ids=["unknown field", "missing field", "wrong type", "unknown field inside the pod"],
)
def test_a_broken_manifest_is_refused(service: Service, break_it: Callable[[Service], object], where: str) -> None:
    broken = copy.deepcopy(service)
    break_it(broken)
    assert any(fault.startswith(where) for fault in faults(broken))


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "Role", "PodMonitor"])
def test_a_misspelt_field_of_any_kind_is_refused(kind: str) -> None:
    everything = resources(next(variant for variant in variants() if variant.components))
    resource = next(resource for resource in everything if resource["kind"] == kind)
    assert faults(resource) == []
    assert faults({**resource, "rulez": []})


def test_all_of_it_is_in_one_namespace(built: Sequence[Resource]) -> None:
    assert {resource["metadata"]["namespace"] for resource in built} == {NAMESPACE}


def test_every_reference_leads_somewhere(built: Sequence[Resource]) -> None:
    there = {(resource["kind"], resource["metadata"]["name"]) for resource in built}
    service = one(built, "RayService")
    for container in containers(service):
        for source in container["envFrom"]:
            if "configMapRef" in source:
                assert ("ConfigMap", source["configMapRef"]["name"]) in there
            else:
                assert source["secretRef"]["optional"] is True, "a secret is the owner's"
    for group in groups(service):
        if account := pod(group).get("serviceAccountName"):
            assert ("ServiceAccount", account) in there
        volumes = {volume["name"] for volume in pod(group)["volumes"]}
        assert {mount["name"] for mount in ray_container(group)["volumeMounts"]} <= volumes


# What is deployed, and by which Ray.


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_deploys_the_configuration_of_its_folder_word_for_word(overlay: str) -> None:
    service = one(resources(Variant(overlay)), "RayService")
    assert service["spec"]["serveConfigV2"] == (KUBERAY / "overlays" / overlay / "serve_config.yaml").read_text()


def test_the_ray_version_is_the_one_that_is_tested(service: Service) -> None:
    pins = (ROOT / "pyproject.toml").read_text()
    assert f'"ray=={cluster(service)["rayVersion"]}"' in pins


def test_an_image_carries_the_version_of_hearth(service: Service) -> None:
    (version,) = (line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version ="))
    number = version.split('"')[1]
    assert service["metadata"]["labels"]["app.kubernetes.io/version"] == number
    assert all(container["image"].rpartition(":")[2].startswith(f"{number}-") for container in containers(service))


def test_every_image_of_ours_is_a_target_of_the_dockerfile(service: Service) -> None:
    dockerfile = (KUBERAY / "Dockerfile").read_text()
    for container in containers(service):
        name, _, tag = container["image"].rpartition(":")
        assert name != "hearth" or f" AS {tag.partition('-')[2]}\n" in dockerfile


# Pods.


def test_pods_pass_the_restricted_standard(service: Service) -> None:
    for group in groups(service):
        assert pod(group)["automountServiceAccountToken"] is False
        assert pod(group)["securityContext"]["runAsNonRoot"] is True
        assert pod(group)["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in containers(service):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


def test_a_card_goes_to_pods_of_its_node(service: Service) -> None:
    """Two nodes of the cluster have AMD devices, so the name of the device alone does not tell them apart."""
    with_cards = [
        group for group in workers(service) if any("/" in name for name in ray_container(group)["resources"]["limits"])
    ]
    places = [pod(group)["nodeSelector"]["hearth/accelerator"] for group in with_cards]
    assert len(set(places)) == len(places)
    for group in with_cards:
        (device,) = (name for name in ray_container(group)["resources"]["limits"] if "/" in name)
        assert device in {toleration["key"] for toleration in pod(group)["tolerations"]}


def test_several_pods_of_a_group_are_spread_over_nodes(service: Service) -> None:
    for group in workers(service):
        if runs_several(group):
            (constraint,) = pod(group)["topologySpreadConstraints"]
            assert constraint["topologyKey"] == "kubernetes.io/hostname"
            labels = constraint["labelSelector"]["matchLabels"]
            assert labels["ray.io/group"] == group["groupName"]
            own = group["template"]["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] == own["app.kubernetes.io/name"]


def runs_several(group: dict[str, Any]) -> bool:
    return group["maxReplicas"] > 1


# An owner's own overlay, as the page describes it.


def page_blocks() -> list[str]:
    return [block.code for block in blocks((KUBERAY / "README.md").read_text(), "yaml")]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_page_s_rule_opens_the_way_to_the_kubernetes_api(overlay: str, tmp_path: Path) -> None:
    _, _, kubernetes_api, _, _ = page_blocks()
    variant = Variant(overlay, ("network-policy", "workflows", "autoscaler"))
    write_overlay(tmp_path, variant, **yaml.safe_load(kubernetes_api))
    service = one(build(tmp_path), "RayService")
    assert faults(service) == []
    for side in ("head", "worker"):
        assert {"ipBlock": {"cidr": "10.0.0.1/32"}} in [
            peer for rule in cluster(service)["networkPolicy"][side]["egressRules"] for peer in rule["to"]
        ]


def test_the_page_s_lines_name_the_secret_of_a_registry(tmp_path: Path) -> None:
    _, _, _, registry, _ = page_blocks()
    write_overlay(tmp_path, Variant("cpu"), **yaml.safe_load(registry))
    service = one(build(tmp_path), "RayService")
    assert faults(service) == []
    assert [pod(group)["imagePullSecrets"] for group in groups(service)] == [[{"name": "registry"}]] * 2


@pytest.fixture
def of_an_owner(tmp_path: Path) -> list[Resource]:
    """Return the page's own overlay, made and built in a copy of the folder."""
    shutil.copytree(KUBERAY, tmp_path / "kuberay")
    shutil.copy(ROOT / "serve_config.yaml", tmp_path)
    mine = tmp_path / "kuberay" / "overlays" / "mine"
    mine.mkdir()
    patch, kustomization, _, _, _ = page_blocks()
    (mine / "serve_patch.yaml").write_text(patch)
    (mine / "kustomization.yaml").write_text(kustomization)
    for path, text in overlay_configs(tmp_path).items():
        path.write_text(text)
    return build(mine)


def test_an_owner_s_overlay_is_two_small_files(of_an_owner: list[Resource]) -> None:
    service, environment = one(of_an_owner, "RayService"), one(of_an_owner, "ConfigMap")
    assert [fault for resource in of_an_owner for fault in faults(resource)] == []
    assert {container["image"] for container in containers(service)} == {
        "registry.example.com/hearth:0.1.0-orchestration",
        "registry.example.com/hearth:0.1.0-cpu",
    }
    assert environment["data"]["NATS_URL"] == "nats://nats.example.com:4222"
    assert environment["data"]["HEARTH_HEALTH_HOST"] == "0.0.0.0"  # noqa: S104
    for container in containers(service):
        assert container["envFrom"][0]["configMapRef"]["name"] == environment["metadata"]["name"]


def test_an_owner_s_overlay_deploys_its_own_configuration(of_an_owner: list[Resource]) -> None:
    mine, theirs = one(of_an_owner, "RayService"), one(resources(Variant("cpu")), "RayService")
    changed, before = (
        {entry["name"]: entry for entry in serve_config(service)["applications"]} for service in (mine, theirs)
    )
    assert changed["orchestration"]["args"]["nats"]["max_in_flight"] == 16
    assert changed["orchestration"]["deployments"] == before["orchestration"]["deployments"]


def test_a_changed_variable_is_a_change_of_the_pods_where_there_is_room_for_two_clusters(tmp_path: Path) -> None:
    literals = [{"name": "hearth-environment", "behavior": "merge", "literals": ["NATS_URL=nats://nats.example:4222"]}]
    for overlay, changes in (("cpu", True), ("five-nodes", False)):
        write_overlay(tmp_path, Variant(overlay), configMapGenerator=literals)
        before, after = one(resources(Variant(overlay)), "RayService"), one(build(tmp_path), "RayService")
        assert (before != after) is changes
        assert (before["spec"]["upgradeStrategy"]["type"] == "NewCluster") is changes


def test_no_file_under_kuberay_holds_a_secret() -> None:
    for path in KUBERAY.rglob("*.yaml"):
        assert not [entry for entry in yaml.safe_load_all(path.read_text()) if entry and entry.get("kind") == "Secret"]
