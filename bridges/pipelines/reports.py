"""Reports on pipeline runs as their clients get them: PipelineStatus, with bounded fields."""

from dataclasses import replace

from bridges.generated.messages.v1 import messages_pb2
from deployments.values.pipelines import (
    PipelineReport,
)

_LONGEST = 1024
"""Characters of a request id or a pipeline's name in a report; no id that can stand in a subject is longer."""


def bounded(report: PipelineReport) -> PipelineReport:
    """Return a report without what a client made longer than anything that it can be about."""
    return replace(report, request_id=report.request_id[:_LONGEST], pipeline=report.pipeline[:_LONGEST])


def status_message(report: PipelineReport) -> messages_pb2.PipelineStatus:
    """Return a report as it goes out to clients."""
    return messages_pb2.PipelineStatus(
        request_id=report.request_id,
        status=report.status,
        run_id=report.run_id,
        engine=report.engine,
        pipeline=report.pipeline,
        submitted_at=report.submitted_at,
        error=report.error,
        available_pipelines=report.available_pipelines,
    )
