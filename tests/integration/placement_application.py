"""An application that knows on which group of nodes it was built, and on which it runs."""

from typing import cast

import ray
from ray import serve
from ray.serve import Application

_GROUP = "hearth/group"


def group() -> str:
    """Return the group of this process's node."""
    labels = cast("dict[str, str]", ray.get_runtime_context().get_node_labels())
    return labels[_GROUP]


@serve.deployment(name="Probe")
class Probe:
    def __init__(self, built_on: str) -> None:
        self._built_on = built_on

    def groups(self) -> tuple[str, str]:
        """Return the groups of the nodes on which it was built and runs."""
        return self._built_on, group()


def application(args: dict[str, object]) -> Application:
    del args
    return Probe.bind(group())
