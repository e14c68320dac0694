"""Status on the wire: what the graph says of itself to StatusResponse."""

import asyncio
from importlib.metadata import version

from bridges.generated.hearth.v1 import status_pb2
from bridges.outbox import Outbox
from bridges.outcome import Outcome
from deployments.call import Call
from deployments.errors import HearthError
from deployments.services import Chat, Ingestion
from deployments.status import replica_status
from deployments.values import ComponentStatus


class StatusHandler:
    """Answers StatusRequests by asking every deployment."""

    def __init__(self, chat: Chat, ingestion: Ingestion) -> None:
        self._chat = chat
        self._ingestion = ingestion

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
            chat = group.create_task(_components("Chat", self._chat, call, required=True))
            ingestion = group.create_task(_components("Ingestion", self._ingestion, call, required=False))
        return (*chat.result(), *ingestion.result())

    async def fail(self, request: status_pb2.StatusRequest, error: HearthError, outbox: Outbox) -> None:
        """Answer a request that failed."""
        del request
        await outbox.finish(_to_message((replica_status("NatsIngress", "", error),)))


def is_ready(components: tuple[ComponentStatus, ...]) -> bool:
    """Say whether everything that a chat answer cannot do without is ready."""
    return all(component.ready for component in components if component.required)


async def _components(
    name: str, service: Chat | Ingestion, call: Call, *, required: bool
) -> tuple[ComponentStatus, ...]:
    try:
        return await service.components(call)
    except HearthError as error:
        return (ComponentStatus(name, ready=False, detail=error.message, required=required),)


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
