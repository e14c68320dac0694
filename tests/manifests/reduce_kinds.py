"""Reduces Kubernetes' own schemas of the kinds under `kuberay/`, as `reduce_definition` does with custom resources.

The folder `v1.37.0-local-strict` of the package kubernetes-validate 1.37 has them. To renew what is kept here, run
`python -m tests.manifests.reduce_kinds FOLDER > kinds_schema.json`. `pod_monitor_schema.json` is Prometheus Operator's
definition of PodMonitor, reduced by `reduce_definition`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.manifests.reduce_definition import Schema, facts_of

FILES = {
    "ConfigMap": "configmap-v1",
    "PodDisruptionBudget": "poddisruptionbudget-policy-v1",
    "Role": "role-rbac-v1",
    "RoleBinding": "rolebinding-rbac-v1",
    "Service": "service-v1",
    "ServiceAccount": "serviceaccount-v1",
}
_DEFINITIONS = "_definitions.json"
# Written by the server alone.
_SERVER_SIDE = {"status", "managedFields"}
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


def reduce_kinds(folder: Path) -> dict[str, Schema]:
    """Return a JSON Schema for each kind."""
    definitions = json.loads((folder / _DEFINITIONS).read_text())["$defs"]
    return {
        kind: facts_of(_inlined(json.loads((folder / f"{name}.json").read_text()), definitions))
        for kind, name in FILES.items()
    }


def _inlined(part: Any, definitions: Schema) -> Any:
    """Return a part of a schema with what it refers to in its place."""
    if isinstance(part, list):
        return [_inlined(entry, definitions) for entry in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return {"type": ["integer", "string"]} if name == _INT_OR_STRING else _inlined(definitions[name], definitions)
    if isinstance(part.get("type"), list):
        # Null means that a field is not there, and the files have none.
        part = {**part, "type": next(kind for kind in part["type"] if kind != "null")}
    return {name: _inlined(inner, definitions) for name, inner in part.items() if name not in _SERVER_SIDE}


if __name__ == "__main__":
    json.dump(reduce_kinds(Path(sys.argv[1])), sys.stdout, indent=1, sort_keys=True)
    print()
