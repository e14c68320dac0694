"""How a deployment says how it is."""

import os
from collections.abc import Awaitable

import psutil

from deployments.errors import HearthError
from deployments.values.status import ComponentStatus


def replica_status(
    name: str, detail: str, error: HearthError | None = None, *, required: bool = True
) -> ComponentStatus:
    """Return the status of the replica that this process is: ready, or not because of `error`."""
    return ComponentStatus(
        name=name,
        ready=error is None,
        detail=detail if error is None else error.message,
        required=required,
        process_id=os.getpid(),
        resident_bytes=psutil.Process().memory_info().rss,
    )


async def engine_status(
    name: str, description: str, check: Awaitable[None], *, required: bool = True
) -> ComponentStatus:
    """Return the status of a replica whose engine is looked at by `check`."""
    try:
        await check
    except HearthError as error:
        return replica_status(name, description, error, required=required)
    return replica_status(name, description, required=required)


async def status_or_error(name: str, asked: Awaitable[ComponentStatus], *, required: bool = True) -> ComponentStatus:
    """Return what another deployment says of itself, or that it could not be asked."""
    try:
        return await asked
    except HearthError as error:
        return ComponentStatus(name, ready=False, detail=error.message, required=required)
