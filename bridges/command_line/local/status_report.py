"""How `hearth status` shows what the graph says of itself."""

import time
from typing import Any

from rich.console import JustifyMethod
from rich.table import Column

from bridges.command_line.console import assembled, console, plain_table, print_line, styled
from bridges.generated.hearth.v1 import status_pb2

_HEALTHY = "HEALTHY"
_COLUMNS: tuple[tuple[str, JustifyMethod], ...] = (
    ("Component", "left"),
    ("Replicas", "right"),
    ("Detail", "left"),
    ("Process", "right"),
    ("Memory", "right"),
)
_NARROW_COLUMNS = 3
_WIDE = 72
"""Columns of a terminal from which on process and memory have room."""


def show_status(status: status_pb2.StatusResponse) -> None:
    """Print services with their replicas, what waits, and what of late went wrong.

    Process and memory are printed too where the terminal has room for them.
    """
    deployments = {deployment.name: deployment for deployment in status.deployments}
    shown = len(_COLUMNS) if console.width >= _WIDE else _NARROW_COLUMNS
    table = plain_table("", *(Column(name, justify=side) for name, side in _COLUMNS[:shown]))
    for part in status.components:
        mark = styled("✓", style="green") if part.ready else styled("✗", style="red" if part.required else "yellow")
        deployment = deployments.pop(part.name, None)
        memory = f"{part.resident_bytes / 1e6:,.0f} MB" if part.resident_bytes else ""
        replicas = _replicas(deployment) if deployment else ""
        row = (part.name, replicas, styled(part.detail), str(part.process_id or ""), memory)
        table.add_row(mark, *row[:shown])
    # What no component speaks for: an ingress of its own, or what has not started.
    for deployment in deployments.values():
        well = deployment.status == _HEALTHY
        mark = styled("✓", style="green") if well else styled("✗", style="yellow")
        table.add_row(mark, deployment.name, _replicas(deployment), styled(deployment.status.lower()))
    console.print(table)
    for deployment in status.deployments:
        if deployment.status != _HEALTHY and deployment.message:
            print_line(styled(f"  {deployment.name}: {deployment.message.strip()}", style="yellow"))
    _show_activity(status)
    verdict = styled("ready", style="bold green") if status.ready else styled("not ready", style="bold red")
    console.print(verdict, styled(f"  Hearth {status.version}", style="dim"), sep="")


def status_as_json(status: status_pb2.StatusResponse) -> dict[str, Any]:
    """Return the same for scripts."""
    return {
        "ready": status.ready,
        "version": status.version,
        "components": [
            {
                "name": part.name,
                "ready": part.ready,
                "required": part.required,
                "detail": part.detail,
                "process_id": part.process_id,
                "resident_bytes": part.resident_bytes,
            }
            for part in status.components
        ],
        "deployments": [
            {
                "application": deployment.application,
                "name": deployment.name,
                "status": deployment.status,
                "running": deployment.running,
                "starting": deployment.starting,
                "message": deployment.message,
            }
            for deployment in status.deployments
        ],
        "in_flight": status.in_flight,
        "waiting": status.waiting,
        "last_errors": [
            {"at": error.at, "subject": error.subject, "error_type": error.error_type, "error": error.error}
            for error in status.last_errors
        ],
    }


def _replicas(deployment: status_pb2.DeploymentState) -> str:
    starting = f" + {deployment.starting}" if deployment.starting else ""
    return f"{deployment.running}{starting}"


def _show_activity(status: status_pb2.StatusResponse) -> None:
    # The request that asks for this is one of them.
    others = max(0, status.in_flight - 1)
    console.print(f"{others} being answered, {status.waiting} waiting", style="dim")
    for error in status.last_errors:
        place = f"  {_ago(time.time() - error.at):>8} ago  {error.subject}  "
        reason = f": {error.error}" if error.error else ""
        print_line(assembled((place, "dim"), (error.error_type, "yellow"), reason))


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
