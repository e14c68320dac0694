"""A replica of the pipelines service: the service, its engines, and the NATS connection over which runs are kept."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

from bridges.nats.allowances import Allowances
from bridges.nats.askers import Askers
from bridges.nats.connection import LastingConnection
from bridges.nats.refusals import Refusals
from bridges.pipelines.intake import PipelineIntake
from bridges.pipelines.replica_group import PipelineReplicas
from bridges.pipelines.run_store import PipelineRuns
from bridges.subjects import Role
from bridges.workflows.build import workflow_engines
from deployments.ending import end
from deployments.pipelines.service import Pipelines
from deployments.settings.orchestration import MilvusSettings, NatsSettings
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import PipelineReport


class PipelineReplica:
    """One replica.

    Args:
        settings: Of the pipelines.
        nats: Where NATS is, and who connects.
        count: Called with each report that a client was told.

    Attributes:
        service: What triggers are given to.
    """

    def __init__(
        self,
        settings: PipelinesSettings,
        nats: NatsSettings,
        count: Callable[[PipelineReport], None] = lambda _: None,
    ) -> None:
        self._connection = LastingConnection(nats, "hearth-pipelines", Refusals(Role.PIPELINES))
        self._runs = PipelineRuns(settings, count)
        self._replicas = PipelineReplicas(uuid4().hex)
        self._stopping = asyncio.Event()
        self.service = Pipelines(
            settings, workflow_engines(settings), self._runs, self._replicas, self._connection.fault
        )
        self._intake = PipelineIntake(
            settings, self.service, self._runs, Allowances.of(nats, MilvusSettings()), Askers.of(nats)
        )

    async def run(self) -> None:
        """Connect and look after runs until `stop`; then leave them to the others."""
        try:
            if not await self._connection.open(self._stopping):
                return
            self._runs.connect(self._connection.client)
            await self._replicas.connect(self._connection.client)
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(self._intake.run(self._connection.client))
                await self.service.run()
                await end([taking])
        finally:
            await self._connection.close()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping.set()
        self.service.stop()

    def check(self) -> None:
        """Raise `UnavailableError` when the connection is closed for good."""
        self._connection.check()
