"""What an overlay deploys: a configuration of Serve, and a patch."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bridges.overlay_configs import overlay_configs, patched_config

CONFIG = """
applications:
  - name: ears
    args:
      engine: {kind: small, model: tiny, threads: 1}
      limit: 5
    deployments:
      - {name: Ears, num_replicas: 1, ray_actor_options: {num_cpus: 1}}
  - name: mouth
    deployments: []
"""


def patched(patch: str) -> dict[str, dict[str, Any]]:
    applications = yaml.safe_load(patched_config(CONFIG, patch))["applications"]
    return {entry["name"]: entry for entry in applications}


def test_without_changes_it_is_the_same_configuration() -> None:
    assert yaml.safe_load(patched_config(CONFIG, "{}")) == yaml.safe_load(CONFIG)


def test_a_mapping_is_merged_and_null_removes() -> None:
    ears = patched("applications: {ears: {args: {limit: null, language: en}}}")["ears"]
    assert ears["args"] == {"engine": {"kind": "small", "model": "tiny", "threads": 1}, "language": "en"}


def test_another_kind_keeps_nothing_of_the_one_before() -> None:
    ears = patched("applications: {ears: {args: {engine: {kind: large, device: cuda}}}}")["ears"]
    assert ears["args"] == {"engine": {"kind": "large", "device": "cuda"}, "limit": 5}


def test_settings_of_the_same_kind_are_merged() -> None:
    ears = patched("applications: {ears: {args: {engine: {threads: 2}}}}")["ears"]
    assert ears["args"] == {"engine": {"kind": "small", "model": "tiny", "threads": 2}, "limit": 5}


def test_deployments_are_patched_by_their_names() -> None:
    ears = patched("applications: {ears: {deployments: {Ears: {ray_actor_options: {num_gpus: 0.5}}}}}")["ears"]
    assert ears["deployments"] == [
        {"name": "Ears", "num_replicas": 1, "ray_actor_options": {"num_cpus": 1, "num_gpus": 0.5}}
    ]


def test_new_names_are_added_and_null_removes_one() -> None:
    applications = patched("applications: {eyes: {import_path: a:b}, mouth: null}")
    assert list(applications) == ["ears", "eyes"]
    assert applications["eyes"] == {"name": "eyes", "import_path": "a:b"}


def test_null_is_a_value_of_what_is_new() -> None:
    eyes = patched("applications: {eyes: {route_prefix: null, import_path: a:b}}")["eyes"]
    assert eyes == {"name": "eyes", "route_prefix": None, "import_path": "a:b"}


def test_what_is_shared_by_an_anchor_is_written_out() -> None:
    patch = "applications: {ears: {deployments: {Ears: &same {x: {y: 1}}, Nose: *same}}}"
    assert "&" not in patched_config(CONFIG, patch)


def test_it_says_where_it_comes_from() -> None:
    assert "python -m bridges.generate" in patched_config(CONFIG, "{}").splitlines()[1]


@pytest.mark.parametrize("patch", ["applications: [ears]", "applications: {ears: 1}"])
def test_a_patch_that_names_nothing_is_refused(patch: str) -> None:
    with pytest.raises(ValueError, match="a mapping is needed here"):
        patched_config(CONFIG, patch)


# Overlays upon overlays.


def overlays(root: Path, **patches: str) -> dict[str, dict[str, Any]]:
    (root / "serve_config.yaml").write_text(CONFIG, encoding="utf-8")
    for name, patch in patches.items():
        folder = root / "kuberay" / "overlays" / name
        folder.mkdir(parents=True)
        (folder / "serve_patch.yaml").write_text(patch, encoding="utf-8")
    return {path.parent.name: yaml.safe_load(text) for path, text in overlay_configs(root).items()}


def test_an_overlay_can_be_based_on_another(tmp_path: Path) -> None:
    made = overlays(
        tmp_path,
        cpu="applications: {mouth: null}",
        mine="{based_on: cpu, applications: {ears: {args: {limit: 6}}}}",
    )
    (ears,) = made["mine"]["applications"]
    assert ears["args"]["limit"] == 6
    assert set(made["mine"]) == {"applications"}
    assert made["cpu"]["applications"][0]["args"]["limit"] == 5


@pytest.mark.parametrize("based_on", ["mine", "theirs"])
def test_an_overlay_that_is_based_on_nothing_is_refused(tmp_path: Path, based_on: str) -> None:
    with pytest.raises(ValueError, match=f"mine < {based_on}: no overlay"):
        overlays(tmp_path, mine=f"based_on: {based_on}")
