"""`kuberay/pipelines-rbac.yaml`: what the pods may do with workflows, which is what the adapter does and no more."""

from pathlib import Path
from typing import Any

import yaml

from deployments.settings.pipelines import KubernetesSettings

MANIFEST = Path(__file__).resolve().parents[2] / "kuberay" / "pipelines-rbac.yaml"
OBJECTS: dict[str, dict[str, Any]] = {entry["kind"]: entry for entry in yaml.safe_load_all(MANIFEST.read_text())}


def test_the_role_allows_what_the_adapter_does_with_workflows_and_nothing_else() -> None:
    (rule,) = OBJECTS["Role"]["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["argoproj.io"], ["workflows"])
    assert set(rule["verbs"]) == {"create", "get", "list", "watch", "patch"}


def test_it_is_bound_to_the_account_in_the_namespace_of_the_workflows() -> None:
    binding, account = OBJECTS["RoleBinding"], OBJECTS["ServiceAccount"]
    assert binding["roleRef"]["name"] == OBJECTS["Role"]["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], account["metadata"]["namespace"])
    assert {entry["metadata"]["namespace"] for entry in OBJECTS.values()} == {
        KubernetesSettings(kind="kubernetes").namespace
    }
