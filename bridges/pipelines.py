"""Pipelines on the wire: PipelineTrigger to a run, what cannot be run to PipelineStatus."""

import asyncio
import logging
from typing import Protocol
from uuid import uuid4

from bridges.generated.hearth.v1 import pipelines_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.outbox import Outbox, cut_to_fit
from bridges.outcome import Outcome
from bridges.pipeline_runs import status_message
from bridges.subjects import PIPELINE_STATUS, is_publishable, subject_for
from deployments.call import Call
from deployments.errors import HearthError, UnavailableError
from deployments.pipeline_values import PipelineDescription, PipelineReport, PipelineTrigger, RunStatus, TriggerReceipt
from deployments.services import Pipelines
from deployments.workflow_engine import KeptRun

logger = logging.getLogger(__name__)

NO_PIPELINES = "no pipelines: `pipelines.enabled` is off"
_TRY_AGAIN_S = 0.5


class KeptRuns(Protocol):
    """Where unfinished runs are kept."""

    async def read(self, request_id: str) -> KeptRun | None:
        """Return an unfinished run, None where there is none."""
        ...


class PipelineHandler:
    """Takes PipelineTriggers. A run that was started is reported by the pipelines service itself, to its end.

    Args:
        pipelines: Starts runs; None where there are none.
        runs: Tells whether a run was kept, where the service could not.
    """

    def __init__(self, pipelines: Pipelines | None, runs: KeptRuns) -> None:
        self._pipelines = pipelines
        self._runs = runs

    async def handle(self, call: Call, request: messages_pb2.PipelineTrigger, outbox: Outbox) -> Outcome:
        """Take one trigger; one without an id of its own is given one."""
        if self._pipelines is None:
            raise UnavailableError(NO_PIPELINES)
        request_id = request.request_id or uuid4().hex
        subject = subject_for(PIPELINE_STATUS, request_id=request_id)
        trigger = PipelineTrigger(request_id, request.pipeline, dict(request.parameters), outbox.reply)
        receipt = await self._taken(self._pipelines, call, trigger)
        if receipt.report is None:
            return Outcome(request_id=request_id)
        response = _fitting(receipt.report, outbox.room)
        await outbox.finish(response, subject if receipt.is_news else "")
        return Outcome(receipt.error_kind, request_id, answer_bytes=response.ByteSize())

    async def _taken(self, pipelines: Pipelines, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        """Have a trigger taken, tried again while the service is away: the same request never starts two runs."""
        while True:
            try:
                return await pipelines.trigger(call, trigger)
            except UnavailableError as error:
                if call.remaining() <= _TRY_AGAIN_S:
                    raise
                logger.info("trigger %s waits: %s", trigger.request_id, error.message)
            await asyncio.sleep(_TRY_AGAIN_S)

    async def fail(self, request: messages_pb2.PipelineTrigger, error: HearthError, outbox: Outbox) -> None:
        """Answer a trigger that could not be taken."""
        if error.retryable and await self._is_kept(request.request_id):
            logger.warning("trigger %s was taken, and is reported, in spite of: %s", request.request_id, error.message)
            return
        report = PipelineReport(request.request_id, RunStatus.ERROR, request.pipeline, error=error.message)
        subject = PIPELINE_STATUS.format(request_id=request.request_id)
        is_subject = bool(request.request_id) and is_publishable(subject)
        await outbox.finish(_fitting(report, outbox.room), subject if is_subject else "")

    async def _is_kept(self, request_id: str) -> bool:
        """Say whether a run was kept by a service that died before it could say so: it will be taken up."""
        if not request_id:
            return False
        try:
            return await self._runs.read(request_id) is not None
        except UnavailableError as error:
            logger.warning("whether run %s is kept is not known: %s", request_id, error.message)
            return False


class PipelineListHandler:
    """Answers PipelineListRequests.

    Args:
        pipelines: Knows the table; None where there are none.
    """

    def __init__(self, pipelines: Pipelines | None) -> None:
        self._pipelines = pipelines

    async def handle(self, call: Call, request: pipelines_pb2.PipelineListRequest, outbox: Outbox) -> Outcome:
        """Answer one request."""
        del request
        if self._pipelines is None:
            raise UnavailableError(NO_PIPELINES)
        rows = [_row(row) for row in await self._pipelines.describe(call)]
        response = pipelines_pb2.PipelineListResponse(pipelines=rows)
        await outbox.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: pipelines_pb2.PipelineListRequest, error: HearthError, outbox: Outbox) -> None:
        """Answer a request that failed."""
        del request
        await outbox.finish(pipelines_pb2.PipelineListResponse(error=error.message))


def _fitting(report: PipelineReport, limit: int) -> messages_pb2.PipelineStatus:
    """Return a report as a message, what the client itself made too long cut."""
    message = status_message(report)
    if message.ByteSize() <= limit:
        return message

    def build(characters: int) -> messages_pb2.PipelineStatus:
        cut = status_message(report)
        cut.pipeline = report.pipeline[:characters]
        cut.request_id = report.request_id[:characters]
        return cut

    return cut_to_fit(limit, max(len(report.pipeline), len(report.request_id)), build)


def _row(row: PipelineDescription) -> pipelines_pb2.Pipeline:
    return pipelines_pb2.Pipeline(
        name=row.name,
        engine=row.engine,
        target=row.target,
        deadline_s=row.deadline_s,
        parameters=[
            pipelines_pb2.PipelineParameter(
                name=parameter.name,
                pattern=parameter.pattern,
                default_value=parameter.default or "",
                has_default=parameter.default is not None,
                required=parameter.required,
            )
            for parameter in row.parameters
        ],
    )
