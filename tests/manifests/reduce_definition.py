"""Reduces a published custom-resource definition to its facts: types, required fields and enums, no prose.

Run `python -m tests.manifests.reduce_definition DEFINITION.yaml > rayservice_schema.json` on KubeRay's own file to
renew what is kept here (made from the RayService definition of KubeRay 1.7), and with `v1alpha1` behind the file on
Argo's for `tests/workflow_engines/workflow_schema.json` (made from the full Workflow definition of Argo Workflows 4.1).
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

_KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
_WORTH_SHARING_BYTES = 120


def reduce_definition(definition: Schema, version: str = "v1") -> Schema:
    """Return a JSON Schema (2020-12) of one version of a custom-resource definition.

    Unknown fields are refused where the definition lists fields, as an API server does under strict validation.
    """
    versions = {entry["name"]: entry for entry in definition["spec"]["versions"]}
    return _share_repeated(facts_of(versions[version]["schema"]["openAPIV3Schema"]))


def facts_of(schema: Schema) -> Schema:
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    facts: Schema = {key: schema[key] for key in _KEPT if key in schema}
    properties: dict[str, Schema] = schema.get("properties", {})
    # The API server fills in a default before it looks for what is missing.
    if required := [name for name in schema.get("required", []) if "default" not in properties.get(name, {})]:
        facts["required"] = required
    if properties:
        facts["properties"] = {name: facts_of(entry) for name, entry in properties.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            facts["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        facts["additionalProperties"] = facts_of(schema["additionalProperties"])
    if "items" in schema:
        facts["items"] = facts_of(schema["items"])
    return facts


def _share_repeated(schema: Schema) -> Schema:
    """Keep parts that occur again and again, such as the pod template, once."""
    counts: Counter[str] = Counter()

    def count(part: object) -> None:
        if not isinstance(part, dict):
            return
        counts[_key(part)] += 1
        if counts[_key(part)] == 1:
            for inner in part.values():
                count(inner)

    count(schema)
    definitions: dict[str, Schema] = {}
    names: dict[str, str] = {}

    def shared(part: object, *, is_definition: bool = False) -> Any:
        if not isinstance(part, dict):
            return part
        key = _key(part)
        is_schema = "properties" in part or "items" in part
        if is_definition or not is_schema or counts[key] == 1 or len(key) < _WORTH_SHARING_BYTES:
            return {name: shared(inner) for name, inner in part.items()}
        if key not in names:
            names[key] = f"part{len(names)}"
            definitions[names[key]] = shared(part, is_definition=True)
        return {"$ref": f"#/$defs/{names[key]}"}

    reduced = shared(schema, is_definition=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **reduced, "$defs": definitions}


def _key(part: Schema) -> str:
    return json.dumps(part, sort_keys=True)


if __name__ == "__main__":
    reduced = reduce_definition(yaml.safe_load(Path(sys.argv[1]).read_text()), *sys.argv[2:3])
    json.dump(reduced, sys.stdout, indent=1)
    print()
