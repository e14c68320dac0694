"""What each overlay under `kuberay/` deploys: `serve_config.yaml` with the overlay's patch.

`python -m bridges.generate` writes it.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

CONFIG_NAME, PATCH_NAME = "serve_config.yaml", "serve_patch.yaml"
"""What an overlay's folder holds: what is made, and what it is made with."""
_HEAD = (
    "# Made from serve_config.yaml of the checkout and serve_patch.yaml of this folder, where the comments are.\n"
    "# Change those, then run `uv run python -m bridges.generate`.\n"
)
_WIDTH = 120
# The key of a patch that names the overlay whose patch comes before it.
_BASED_ON = "based_on"
_LISTS_BY_NAME = frozenset({"applications", "deployments"})

Node = dict[str, Any]


def overlay_configs(root: Path) -> dict[Path, str]:
    """Return the text of each overlay's configuration, by where it belongs.

    Args:
        root: The checkout. Each folder in its `kuberay/overlays` that has a patch is an overlay with a configuration.

    Raises:
        ValueError: A patch has no mapping where it needs one, or is based on one that is not there or on itself.
    """
    config = yaml.safe_load((root / CONFIG_NAME).read_text(encoding="utf-8"))
    paths = sorted((root / "kuberay" / "overlays").glob(f"*/{PATCH_NAME}"))
    patches = {path.parent.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths}
    return {path.with_name(CONFIG_NAME): _text(_patched(config, patches, path.parent.name)) for path in paths}


def patched_config(config: str, patch: str) -> str:
    """Return a Serve configuration with a patch, as YAML.

    A mapping of the patch is merged into the one at its place, and null removes a key. There are two exceptions. A
    mapping that says its `kind` replaces what is there, because the settings of two kinds differ. The lists of
    applications and of deployments are patched by name: the patch has a mapping there, and adds the names that are new.
    Of a new one there is nothing to remove, so a null such as `route_prefix: null` is its value.

    Raises:
        ValueError: The patch has no mapping where it needs one.
    """
    return _text(_merged(yaml.safe_load(config), yaml.safe_load(patch)))


def _patched(config: Node, patches: Mapping[str, Node], overlay: str, above: tuple[str, ...] = ()) -> Node:
    """Return what an overlay deploys; `above` are the overlays that are based on it."""
    if overlay not in patches or overlay in above:
        raise ValueError(f"{' < '.join((*above, overlay))}: no overlay with a {PATCH_NAME} to be based on")
    patch = dict(patches[overlay])
    if below := patch.pop(_BASED_ON, ""):
        config = _patched(config, patches, below, (*above, overlay))
    return _merged(config, patch)


def _text(config: Node) -> str:
    return _HEAD + yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=_WIDTH)


def _merged(node: Node, patch: Node) -> Node:
    merged = copy.deepcopy(node)
    for key, change in patch.items():
        if change is None:
            merged.pop(key, None)
        elif key in _LISTS_BY_NAME:
            merged[key] = _merged_by_name(merged.get(key, []), _mapping(key, change))
        elif _is_mapping(change) and _is_mapping(merged.get(key)) and "kind" not in change:
            merged[key] = _merged(merged[key], change)
        else:
            merged[key] = copy.deepcopy(change)
    return merged


def _merged_by_name(entries: list[Node], patches: Node) -> list[Node]:
    named = {entry["name"]: entry for entry in entries}
    for name, patch in patches.items():
        if patch is None:
            named.pop(name, None)
        elif name in named:
            named[name] = _merged(named[name], _mapping(name, patch))
        else:
            nulls = {key: None for key, value in _mapping(name, patch).items() if value is None}
            named[name] = _merged({"name": name}, patch) | nulls
    return list(named.values())


def _mapping(name: str, node: object) -> Node:
    if not _is_mapping(node):
        raise ValueError(f"{name}: a mapping is needed here, not {node!r}")
    return cast("Node", node)


def _is_mapping(node: object) -> bool:
    return isinstance(node, Mapping)
