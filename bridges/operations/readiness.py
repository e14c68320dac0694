"""Whether the graph is ready: the services that are asked, and what their answers mean."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.call import Call
from deployments.errors import HearthError, InternalError
from deployments.services import Reporting
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)


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


async def reported(reporters: Sequence[Reporter], call: Call) -> tuple[ComponentStatus, ...]:
    """Ask services how they are; what cannot be asked is not ready."""
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_components(reporter, call)) for reporter in reporters]
    return tuple(component for task in asked for component in task.result())


def is_ready(components: tuple[ComponentStatus, ...]) -> bool:
    """Say whether everything that a chat answer cannot do without is ready."""
    return all(component.ready for component in components if component.required)


async def _components(reporter: Reporter, call: Call) -> tuple[ComponentStatus, ...]:
    try:
        return await reporter.service.components(call)
    except HearthError as error:
        return (ComponentStatus(reporter.name, ready=False, detail=error.message, required=reporter.required),)
    except Exception:
        # Of whatever kind: the others are asked all the same.
        logger.exception("%s could not be asked how it is", reporter.name)
        detail = InternalError("it could not be asked how it is").message
        return (ComponentStatus(reporter.name, ready=False, detail=detail, required=reporter.required),)
