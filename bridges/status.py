"""Status on the wire: what the graph says of itself to StatusResponse."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from bridges.generated.hearth.v1 import status_pb2
from bridges.outbox import Outbox
from bridges.outcome import Outcome
from deployments.call import Call
from deployments.errors import HearthError
from deployments.status import replica_status
from deployments.values import ComponentStatus


class Reporting(Protocol):
    """A service that says how it and everything below it is."""

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Say how it is."""
        ...


@dataclass(frozen=True, slots=True)
class Reporter:
    """A service that is asked how it is.

    Attributes:
        name: Of its deployment.
        service: Answers.
        required: Whether chat cannot answer without it.
    """

    name: str
    service: Reporting
    required: bool


class StatusHandler:
    """Answers StatusRequests by asking every deployment.

    Args:
        reporters: Those that are asked.
    """

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters

    async def handle(self, call: Call, request: status_pb2.StatusRequest, outbox: Outbox) -> Outcome:
        """Answer one request."""
        del request
        components = (replica_status("NatsIngress", "takes requests"), *await self.components(call))
        response = _to_message(components)
        await outbox.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Ask the graph how it is; what cannot be asked is not ready."""
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_components(reporter, call)) for reporter in self._reporters]
        return tuple(component for task in asked for component in task.result())

    async def fail(self, request: status_pb2.StatusRequest, error: HearthError, outbox: Outbox) -> None:
        """Answer a request that failed."""
        del request
        await outbox.finish(_to_message((replica_status("NatsIngress", "", error),)))


def is_ready(components: tuple[ComponentStatus, ...]) -> bool:
    """Say whether everything that a chat answer cannot do without is ready."""
    return all(component.ready for component in components if component.required)


async def _components(reporter: Reporter, call: Call) -> tuple[ComponentStatus, ...]:
    try:
        return await reporter.service.components(call)
    except HearthError as error:
        return (ComponentStatus(reporter.name, ready=False, detail=error.message, required=reporter.required),)


def _to_message(components: tuple[ComponentStatus, ...]) -> status_pb2.StatusResponse:
    return status_pb2.StatusResponse(
        ready=is_ready(components),
        version=version("hearth"),
        components=[
            status_pb2.ComponentStatus(
                name=component.name,
                ready=component.ready,
                required=component.required,
                detail=component.detail,
                process_id=component.process_id,
                resident_bytes=component.resident_bytes,
            )
            for component in components
        ],
    )
