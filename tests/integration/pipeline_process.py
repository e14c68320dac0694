"""A process that takes triggers and looks after runs, to be killed by a test: the ingress and the service in one.

python -m tests.integration.pipeline_process NATS_URL SETTINGS_AS_JSON
"""

import asyncio
import json
import logging
import sys

from nats.aio.client import Client

from bridges.handlers.pipelines import PipelineHandler
from bridges.nats.ingress import Endpoint, Ingress
from bridges.operations.outcome import Outcome
from bridges.pipelines import intake, replica_group
from bridges.pipelines.replica import PipelineReplica
from bridges.pipelines.run_store import PipelineRuns
from bridges.requests import REQUESTS
from deployments.call import Call
from deployments.settings.orchestration import NatsSettings
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.status import ComponentStatus


class NoMetrics:
    """Counts nothing."""

    def ended(self, subject: str, outcome: Outcome, seconds: float) -> None: ...

    def refused(self, subject: str, outcome: Outcome, number: int) -> None: ...

    def open(self, in_flight: int, waiting: int) -> None: ...


async def main(nats_url: str, settings: PipelinesSettings) -> None:
    replica = PipelineReplica(settings, NatsSettings(url=nats_url))
    runs = PipelineRuns(settings)
    row = next(row for row in REQUESTS if row.name == "pipeline-trigger")
    endpoint = Endpoint(row, PipelineHandler(replica.service, runs), settings.accept_timeout_s)

    async def components(call: Call) -> tuple[ComponentStatus, ...]:
        return await replica.service.components(call)

    async def connected(client: Client) -> None:
        runs.connect(client)

    ingress = Ingress(NatsSettings(url=nats_url), [endpoint], components, connected, NoMetrics())
    await asyncio.gather(replica.run(), ingress.run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    # Tests wait for each of these: until a trigger counts as lost, until one that a killed process had taken is given
    # out again, and until other replicas have been heard.
    intake._GRACE_S = 1.0
    intake._ACK_WAIT_S = 2.0
    replica_group._ACQUAINTANCE_S = 0.2
    asyncio.run(main(sys.argv[1], PipelinesSettings.model_validate(json.loads(sys.argv[2]))))
