"""Imports all that runs in a pod, in an environment without what the images leave out. Prints what cannot be imported.

Run by test_images.py in a process of its own: `python -m tests.manifests.pod_imports`.
"""

import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distribution
from pathlib import Path
from pkgutil import walk_packages
from sysconfig import get_path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(get_path("platlib"))

# What `ray start`, the operator and Serve start in a pod, or in the container of the autoscaler.
RAY = """
ray ray.scripts.scripts ray.serve.scripts ray.serve.schema ray.serve._private.controller ray.serve._private.replica
ray.serve._private.build_app ray._private.workers.default_worker ray._private.workers.setup_worker
ray._private.log_monitor ray._private.runtime_env.agent.main ray._private.runtime_env.default_impl
ray.dashboard.dashboard ray.dashboard.agent ray.dashboard.subprocesses.module
ray.autoscaler._private.monitor ray.autoscaler.v2.monitor ray.autoscaler._private.kuberay.run_autoscaler
""".split()
# It reads proto/, which only a checkout has.
NOT_INSTALLED = {"bridges.generate"}


def entries(name: str) -> list[str]:
    """Return the lines of a list of kuberay/ that are not comments."""
    lines = (ROOT / "kuberay" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class WithoutUnused:
    """Finds modules as Python does, but for those that the images leave out."""

    def __init__(self) -> None:
        self._files = {
            str(file.locate())
            for package in entries("unused-packages.txt")
            for file in distribution(package).files or ()
            if file.suffix != ".pyc"
        }
        self._patterns = [str(SITE / pattern) for pattern in entries("unused-files.txt")]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and self._is_left_out(spec):
            raise ModuleNotFoundError(f"No module named {fullname!r} in the images", name=fullname)
        return spec

    def _is_left_out(self, spec: ModuleSpec) -> bool:
        origins = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        return any(
            origin in self._files or fnmatch(origin, pattern) or fnmatch(origin, f"{pattern}/*")
            for origin in origins
            for pattern in self._patterns
        )


def modules() -> Iterator[str]:
    yield from RAY
    for package in ("bridges", "deployments"):
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            if module.name not in NOT_INSTALLED:
                yield module.name


def is_installed(module: str) -> bool:
    """Say whether a module's package is in this environment, which lacks the engines that bring torch."""
    return PathFinder.find_spec(module.partition(".")[0]) is not None


def main() -> None:
    sys.meta_path.insert(0, WithoutUnused())
    for name in modules():
        try:
            import_module(name)
        except ImportError as error:
            if is_installed(error.name or ""):
                print(f"{name}: {error}")
    # These name the dashboard's modules only when it starts.
    utilities = import_module("ray.dashboard.utils")
    for kind in (utilities.DashboardHeadModule, utilities.DashboardAgentModule):
        utilities.get_all_modules(kind)


if __name__ == "__main__":
    main()
