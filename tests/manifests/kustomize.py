"""What kustomize builds from a folder, by the kubectl that the tests' environment holds."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "kuberay"
OVERLAYS = tuple(sorted(path.parent.name for path in KUBERAY.glob("overlays/*/kustomization.yaml")))
COMPONENTS = tuple(sorted(path.parent.name for path in KUBERAY.glob("components/*/kustomization.yaml")))

Resource = dict[str, Any]

_KUBECTL = Path(sys.executable).with_name("kubectl")


@dataclass(frozen=True, slots=True)
class Variant:
    """An overlay with components."""

    overlay: str
    components: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " + ".join((self.overlay, *self.components))


def build(folder: Path) -> list[Resource]:
    """Return the resources that `kubectl apply -k FOLDER` would apply."""
    built = subprocess.run([_KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return [resource for resource in yaml.load_all(built.stdout, yaml.CSafeLoader) if resource]


def resources(variant: Variant) -> list[Resource]:
    """Return what a variant consists of, fresh each time."""
    return list(yaml.load_all(_built(variant), yaml.CSafeLoader))


@functools.cache
def _built(variant: Variant) -> str:
    with tempfile.TemporaryDirectory() as folder:
        write_overlay(Path(folder), variant)
        return yaml.safe_dump_all(build(Path(folder)))


def write_overlay(folder: Path, variant: Variant, **fields: object) -> None:
    """Write an owner's own kustomization: a variant, and further fields."""
    kuberay = Path(os.path.relpath(KUBERAY, folder.resolve()))
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "ai-ml",
        "resources": [str(kuberay / "overlays" / variant.overlay)],
        "components": [str(kuberay / "components" / component) for component in variant.components],
        **fields,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def own_components(overlay: str) -> frozenset[str]:
    """Return the components that an overlay has by itself, or by the overlays that it is made of."""
    content = yaml.safe_load((KUBERAY / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8"))
    below = [Path(path).name for path in content["resources"] if Path(path).name in OVERLAYS]
    own = frozenset(Path(path).name for path in content.get("components", []))
    return own.union(*(own_components(name) for name in below))


def variants() -> Iterator[Variant]:
    """Yield each overlay alone, and with all components that go together."""
    for overlay in OVERLAYS:
        more = tuple(component for component in COMPONENTS if component not in own_components(overlay))
        yield Variant(overlay)
        for other_store in ("gcs-embedded", "gcs-redis"):
            yield Variant(overlay, tuple(component for component in more if component != other_store))


def one(built: Sequence[Resource], kind: str, name: str = "") -> Resource:
    """Return the only resource of a kind, or that of a name."""
    (found,) = (entry for entry in built if entry["kind"] == kind and name in {"", entry["metadata"]["name"]})
    return found
