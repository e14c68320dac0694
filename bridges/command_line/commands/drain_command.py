"""`hearth drain`: what a node does before it is shut down."""

import asyncio
from pathlib import Path

import click

from bridges.command_line.commands.options import finite
from bridges.command_line.console import write_line
from bridges.command_line.local.draining import NodeDrain, NodeDrainer
from bridges.draining import drain_folder, other_folders
from deployments.errors import UnavailableError


@click.command("drain")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    callback=finite,
    default=75.0,
    show_default=True,
    help="How many seconds to wait at most.",
)
@click.option(
    "--at-least",
    "at_least_s",
    type=click.FloatRange(min=0),
    callback=finite,
    default=0.0,
    show_default=True,
    help="How many seconds to wait in any case, because others still need this node.",
)
def drain_command(timeout_s: float, at_least_s: float) -> None:
    """Let the ingresses on this node finish, and take nothing more.

    Use this before you shut down a Ray node: as the preStop hook of its pod, or by hand. Run it on the node, as the
    user who runs Ray there. What clients send then goes to the ingresses on other nodes. The ingresses on this node
    answer what they have taken, and hand their live sessions over. The command waits for that.

    A drained ingress stays so until its process ends. If you interrupt this command, the drain goes on.

    The exit status is 1 if something is still held after --timeout, or was lost. It is 0 if nothing is held, or if
    there is no ingress here.
    """
    folder = drain_folder()
    drain = asyncio.run(NodeDrainer(folder, write_line).drain(timeout_s, at_least_s))
    if drain.left:
        raise UnavailableError("; ".join(drain.left))
    write_line(_summary(drain) if drain.drained else _nothing(folder))


def _nothing(folder: Path) -> str:
    said = f"This user has no ingress on this node: no socket in {folder}."
    if others := other_folders():
        return f"{said} Other users have: {', '.join(map(str, others))}. Run this as the user who runs Ray."
    return said


def _summary(drain: NodeDrain) -> str:
    return "1 ingress is drained." if drain.drained == 1 else f"{drain.drained} ingresses are drained."
