"""The settings of roles that are bound to what is deployed in the cluster already."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from deployments.settings.base import Settings


class LLMServerSettings(Settings):
    """A model of `ray.serve.llm`, called by the handle of its `LLMServer`.

    Attributes:
        application: The Serve application that it is deployed in.
        model: The model's id there.
        deployment: Its deployment; empty for the name that `ray.serve.llm` gives it, which `deployment_name` says.
    """

    kind: Literal["ray-serve-llm"]
    application: str = Field(min_length=1)
    model: str = Field(min_length=1)
    deployment: str = ""

    @property
    def deployment_name(self) -> str:
        """The deployment: as set, or as `ray/llm/_internal/serve/core/server/builder.py` of Ray 2.60 names it."""
        return self.deployment or f"LLMServer:{self.model.replace('/', '--').replace('.', '_')}"


class HandleSettings(Settings):
    """Any other deployment of the cluster, called by its handle.

    Attributes:
        application: The Serve application that it is deployed in.
        deployment: Its name there.
        adapter: The class that says how it is called and what it answers, as "package.module:Class".
        arguments: Of that class.
    """

    kind: Literal["handle"]
    application: str = Field(min_length=1)
    deployment: str = Field(min_length=1)
    adapter: str = Field(pattern=r"^\w+(\.\w+)*:\w+$")
    arguments: Mapping[str, Any] = Field(default_factory=dict[str, Any])
