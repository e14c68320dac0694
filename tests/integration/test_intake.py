"""Triggers that their ingress has lost, in a real NATS stream."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.pipelines import intake
from bridges.pipelines.intake import PipelineIntake
from bridges.subjects import PIPELINE_TRIGGER
from deployments.call import Call
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import PipelineReport, PipelineTrigger, RunStatus, TriggerReceipt
from tests.nats_client import nats_connected
from tests.servers import nats_server


@dataclass
class Service:
    """Takes triggers, and fails over one of them as over a fault of its own."""

    seen: list[str] = field(default_factory=list[str])
    refused: list[PipelineReport] = field(default_factory=list[PipelineReport])
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        self.seen.append(trigger.request_id)
        if trigger.request_id == "poisoned":
            raise RecursionError("nested too deeply")
        self.taken.set()
        return TriggerReceipt()

    async def is_known(self, request_id: str) -> bool:
        return False

    async def refuse(self, report: PipelineReport) -> bool:
        self.refused.append(report)
        return True


async def test_a_trigger_that_cannot_be_taken_up_is_refused_once_and_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_GRACE_S", 0.0)
    monkeypatch.setattr(intake, "_FETCH_S", 0.1)
    service = Service()
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as url:
        async with await nats_connected(url) as connection:
            await connection.jetstream().add_stream(
                name="HEARTH_PIPELINES", subjects=[PIPELINE_TRIGGER.pattern], retention="workqueue", no_ack=True
            )
            # An ingress refuses those that cannot stand in the subject of a status, and can keep nothing of it.
            for request_id in ("poisoned", "job.1", "x" * 1010, "a b", "", "good"):
                request = messages_pb2.PipelineTrigger(request_id=request_id, pipeline="documents")
                await connection.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString())
            await connection.flush()
            taking = asyncio.create_task(PipelineIntake(PipelinesSettings(), service, service).run(connection))
            async with asyncio.timeout(10):
                await service.taken.wait()
                while (await connection.jetstream().stream_info("HEARTH_PIPELINES")).state.messages:
                    await connection.flush()
            assert not taking.done()
            taking.cancel()
    assert service.seen == ["poisoned", "good"]
    assert [(report.request_id, report.status) for report in service.refused] == [("poisoned", RunStatus.ERROR)]
