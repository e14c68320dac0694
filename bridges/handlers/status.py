"""Status on the wire: what the graph says of itself to StatusResponse."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version
from typing import Any

from bridges.generated.hearth.v1 import status_pb2
from bridges.nats.reply import Reply
from bridges.operations.activity import Activity
from bridges.operations.outcome import Outcome
from bridges.operations.readiness import Reporter, is_ready, reported
from deployments.call import Call
from deployments.component_status import replica_status
from deployments.errors import HearthError
from deployments.values.status import ComponentStatus, DeploymentState


class StatusHandler:
    """Answers StatusRequests by asking every deployment.

    Args:
        reporters: Those that are asked.
        activity: Of the ingress that this is part of.
        deployments: Asks Serve for its deployments.
    """

    def __init__(
        self,
        reporters: Sequence[Reporter],
        activity: Activity,
        deployments: Callable[[], Coroutine[Any, Any, Sequence[DeploymentState]]],
    ) -> None:
        self._reporters = reporters
        self._activity = activity
        self._deployments = deployments

    async def handle(self, call: Call, request: status_pb2.StatusRequest, reply: Reply) -> Outcome:
        """Answer one request."""
        del request
        async with asyncio.TaskGroup() as group:
            deployments = group.create_task(self._deployments())
            asked = group.create_task(self.components(call))
        response = _to_message((replica_status("NatsIngress", "takes requests"), *asked.result()))
        response.in_flight, response.waiting = self._activity.in_flight, self._activity.waiting
        for state in deployments.result():
            response.deployments.add(
                application=state.application,
                name=state.name,
                status=state.status,
                running=state.running,
                starting=state.starting,
                message=state.message,
            )
        for error in self._activity.last_errors():
            response.last_errors.add(at=error.at, subject=error.subject, error_type=error.kind)
        await reply.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Ask the graph how it is; what cannot be asked is not ready."""
        return await reported(self._reporters, call)

    async def fail(self, request: status_pb2.StatusRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that failed."""
        del request
        await reply.finish(_to_message((replica_status("NatsIngress", "", error),)))


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
