"""Pipelines on the wire: PipelineTrigger to a run, what cannot be run to PipelineStatus."""

import logging
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

from bridges.generated.hearth.v1 import pipelines_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.demands import NameKind
from bridges.nats.reply import Reply
from bridges.operations.outcome import Outcome
from bridges.pipelines.reports import bounded, status_message
from bridges.subjects import PIPELINE_STATUS, own_subjects, subject_for
from deployments.backoff import Backoff, retry
from deployments.call import Call
from deployments.errors import HearthError, UnavailableError
from deployments.services import PipelinesService
from deployments.values.pipelines import (
    PipelineDescription,
    PipelineReport,
    PipelineTrigger,
    RunStatus,
    TriggerReceipt,
)

logger = logging.getLogger(__name__)

NO_PIPELINES = "there are no pipelines: `pipelines.table` is empty"
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 2.0


class Refusals(Protocol):
    """Where it is kept what triggers were refused with."""

    async def refuse(self, report: PipelineReport) -> bool:
        """Keep and tell a refusal; return False where its request id has a run, which is reported by itself."""
        ...


class PipelineHandler:
    """Takes PipelineTriggers. A run that was started is reported by the pipelines service itself, to its end.

    Args:
        pipelines: Starts runs; None where there are none.
        refusals: Keeps and tells what could not be started.
    """

    def __init__(self, pipelines: PipelinesService | None, refusals: Refusals) -> None:
        self._pipelines = pipelines
        self._refusals = refusals

    async def handle(self, call: Call, request: messages_pb2.PipelineTrigger, reply: Reply) -> Outcome:
        """Take one trigger; one without an id of its own is given one."""
        if self._pipelines is None:
            raise UnavailableError(NO_PIPELINES, retryable=False)
        request_id = request.request_id or uuid4().hex
        subject_for(PIPELINE_STATUS, request_id=request_id)
        trigger = PipelineTrigger(request_id, request.pipeline, dict(request.parameters), reply.reply_subject)
        receipt = await self._taken(self._pipelines, call, trigger)
        if receipt.report is None:
            return Outcome(request_id=request_id)
        if receipt.is_news:
            await self._refuse(receipt.report, reply)
        elif reply.reply_subject:
            await reply.finish(status_message(bounded(_for_asker(receipt.report, reply))))
        return Outcome(receipt.error_kind, request_id, error=receipt.report.error if receipt.error_kind else "")

    async def _taken(self, pipelines: PipelinesService, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        """Have a trigger taken, tried again while the service is away: the same request never starts two runs."""

        def failed(error: HearthError) -> None:
            logger.info("trigger %s waits: %s", trigger.request_id, error.message)

        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        return await retry(lambda: pipelines.trigger(call, trigger), backoff, remaining_s=call.remaining, failed=failed)

    async def fail(self, request: messages_pb2.PipelineTrigger, error: HearthError, reply: Reply) -> None:
        """Answer a trigger that could not be taken."""
        report = PipelineReport(request.request_id, RunStatus.ERROR, request.pipeline, error=error.message)
        await self._refuse(report, reply)

    async def _refuse(self, report: PipelineReport, reply: Reply) -> None:
        """Tell a refusal: to the followers of its request id, if it names a subject, and to the reply subject."""
        subject = PIPELINE_STATUS.pattern.format(request_id=report.request_id)
        is_subject = subject in own_subjects((PIPELINE_STATUS,), {"request_id": report.request_id})
        report = bounded(_for_asker(report, reply))
        message = status_message(report)
        if not is_subject:
            await reply.finish(message)
            return
        try:
            is_told = await self._refusals.refuse(report)
        except UnavailableError as error:
            logger.warning("what trigger %s was refused with is not kept: %s", report.request_id, error.message)
            await reply.finish(message, subject)
            return
        if not is_told:
            # Taken by a service that died before it could say so, or an id that is used for a second time.
            logger.warning("request id %s has a run: its followers do not hear %s", report.request_id, report.error)
        if reply.reply_subject:
            await reply.finish(message)


class PipelineListHandler:
    """Answers PipelineListRequests.

    Args:
        pipelines: Knows the table; None where there are none.
    """

    def __init__(self, pipelines: PipelinesService | None) -> None:
        self._pipelines = pipelines

    async def handle(self, call: Call, request: pipelines_pb2.PipelineListRequest, reply: Reply) -> Outcome:
        """Answer one request."""
        del request
        if self._pipelines is None:
            raise UnavailableError(NO_PIPELINES, retryable=False)
        described = await self._pipelines.describe(call)
        rows = [_row(row) for row in described if reply.names.has(NameKind.PIPELINE, row.name)]
        response = pipelines_pb2.PipelineListResponse(pipelines=rows)
        await reply.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: pipelines_pb2.PipelineListRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that failed."""
        del request
        await reply.finish(pipelines_pb2.PipelineListResponse(error=error.message))


def _for_asker(report: PipelineReport, reply: Reply) -> PipelineReport:
    """Return a report without the pipelines that its asker may not name."""
    names = tuple(name for name in report.available_pipelines if reply.names.has(NameKind.PIPELINE, name))
    return replace(report, available_pipelines=names)


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
