"""What Ray Serve says of the deployments of the cluster, Hearth's and all others."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from ray.exceptions import RayError
from ray.serve import context
from ray.serve.exceptions import RayServeException

from deployments.errors import UnavailableError
from deployments.values.status import DeploymentState

_ASK_S = 3.0
_RUNNING = "RUNNING"
_STARTING = ("STARTING", "UPDATING", "RECOVERING", "PENDING_MIGRATION")
"""States of replicas, as Serve names them."""


async def deployment_states() -> tuple[DeploymentState, ...]:
    """Return the state of every deployment, by application and name.

    Raises:
        UnavailableError: Serve's controller cannot be asked now.
    """
    try:
        async with asyncio.timeout(_ASK_S):
            details = await asyncio.to_thread(_details)
    except (RayError, RayServeException, TimeoutError) as error:
        raise UnavailableError(f"Serve cannot be asked for its deployments: {error or type(error).__name__}") from error
    return tuple(
        _state(application, name, deployment)
        for application, overview in sorted(details["applications"].items())
        for name, deployment in overview["deployments"].items()
    )


def _details() -> Mapping[str, Any]:
    # Not `serve.status()`: that imports the request router of every deployment in the cluster, and fails in a process
    # that lacks what the router of somebody else's application needs, such as vLLM for those of `ray.serve.llm`.
    client = context._get_global_client()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return cast("Mapping[str, Any]", client.get_serve_details()) if client else {"applications": {}}


def _state(application: str, name: str, deployment: Mapping[str, Any]) -> DeploymentState:
    states = [_word(replica["state"]) for replica in deployment["replicas"]]
    return DeploymentState(
        application,
        name,
        _word(deployment["status"]),
        states.count(_RUNNING),
        sum(states.count(state) for state in _STARTING),
        str(deployment["message"]),
    )


def _word(state: Any) -> str:
    """Return the word for a state, which Serve gives as an enumeration, or as text where it was over a wire."""
    return str(getattr(state, "value", state))
