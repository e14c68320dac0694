"""`kuberay/rayservice.yaml` against KubeRay's own definition, the operator's rules, and what it deploys."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(Path(__file__).with_name("rayservice_schema.json").read_text())
MANIFEST = (ROOT / "kuberay" / "rayservice.yaml").read_text()
SERVE_CONFIG = (ROOT / "serve_config.yaml").read_text()


@pytest.fixture
def service() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST)


def faults(manifest: dict[str, Any]) -> list[str]:
    """Return what an API server under strict validation would refuse, by path."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def groups(service: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = service["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def containers(service: dict[str, Any]) -> list[dict[str, Any]]:
    return [container for group in groups(service) for container in group["template"]["spec"]["containers"]]


def test_the_definition_accepts_the_manifest(service: dict[str, Any]) -> None:
    assert faults(service) == []


@pytest.mark.parametrize(
    ("break_it", "where"),
    [
        (lambda service: service["spec"].update(serveConfig="x"), "$.spec"),
        (lambda service: service["spec"].pop("rayClusterConfig"), "$.spec"),
        (lambda service: groups(service)[1].update(replicas="1"), "$.spec.rayClusterConfig.workerGroupSpecs[0]"),
        (
            lambda service: containers(service)[0].update(imagePolicy="Always"),
            "$.spec.rayClusterConfig.headGroupSpec.template.spec.containers[0]",
        ),
    ],
    ids=["unknown field", "missing field", "wrong type", "unknown field inside the pod"],
)
def test_a_broken_manifest_is_refused(service: dict[str, Any], break_it: Any, where: str) -> None:
    break_it(service)
    assert any(fault.startswith(where) for fault in faults(service))


def test_it_deploys_serve_config_yaml_word_for_word(service: dict[str, Any]) -> None:
    assert service["spec"]["serveConfigV2"] == SERVE_CONFIG


def test_the_ray_version_is_the_one_that_is_tested(service: dict[str, Any]) -> None:
    pins = (ROOT / "pyproject.toml").read_text()
    assert f'"ray=={service["spec"]["rayClusterConfig"]["rayVersion"]}"' in pins


def test_pods_pass_the_restricted_standard(service: dict[str, Any]) -> None:
    for group in groups(service):
        pod = group["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in containers(service):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


def test_the_worker_has_the_cpus_that_the_models_ask_for(service: dict[str, Any]) -> None:
    config = yaml.safe_load(SERVE_CONFIG)
    asked = sum(
        deployment["num_replicas"] * deployment["ray_actor_options"]["num_cpus"]
        for application in config["applications"]
        for deployment in application["deployments"]
    )
    worker = groups(service)[1]
    assert asked <= worker["replicas"] * int(worker["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
