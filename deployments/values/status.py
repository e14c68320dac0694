"""How a component of the graph is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """How one deployment, or one back end, is.

    Attributes:
        name: The deployment, or the back end.
        ready: Whether it can do its work now.
        detail: The engine and model in use, or what is wrong.
        required: Whether chat cannot answer without it.
        process_id: Of the replica that answered; 0 for a back end.
        resident_bytes: Memory of that process; 0 for a back end.
    """

    name: str
    ready: bool
    detail: str
    required: bool = True
    process_id: int = 0
    resident_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A deployment as Ray Serve sees it.

    Attributes:
        application: It belongs to.
        name: Of the deployment.
        status: Serve's word for it, such as "HEALTHY".
        running: Replicas that run.
        starting: Replicas that do not run yet.
        message: Why it is not healthy.
    """

    application: str
    name: str
    status: str
    running: int
    starting: int
    message: str
