"""The orchestration application that `serve_config.yaml` names: the NATS ingress and the services behind it."""

import asyncio
import contextlib
import logging
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from bridges.chat import ChatHandler
from bridges.documents import IngestHandler
from bridges.greeting import GreetingHandler, LoginHandler
from bridges.health import HealthServer
from bridges.ingress import Ingress, endpoints
from bridges.memory import ConversationMemory
from bridges.metrics import RayMetrics
from bridges.status import StatusHandler
from deployments.clients import ChatClient, IngestionClient
from deployments.errors import UnavailableError
from deployments.orchestration import (
    ChatDeployment,
    IngestionDeployment,
    RetrievalDeployment,
    chat_door,
    ingestion_door,
)
from deployments.replica import prepare_replica
from deployments.settings import OrchestrationSettings

logger = logging.getLogger(__name__)


@serve.deployment(name="NatsIngress")
class NatsIngressDeployment:
    """The ingress as a deployment."""

    async def __init__(
        self,
        settings: OrchestrationSettings,
        chat: DeploymentHandle[Any] | None,
        ingestion: DeploymentHandle[Any] | None,
        retrieval: DeploymentHandle[Any] | None,
    ) -> None:
        prepare_replica("NatsIngress")
        chat_client = ChatClient(chat_door(settings, chat, retrieval))
        ingestion_client = IngestionClient(ingestion_door(settings, ingestion))
        status = StatusHandler(chat_client, ingestion_client)
        memory = ConversationMemory(settings.memory)
        chat_handler = ChatHandler(chat_client, memory)
        rows = endpoints(
            {
                "chat-message": chat_handler,
                "chat-request": chat_handler,
                "login": LoginHandler(chat_client),
                "greeting": GreetingHandler(chat_client),
                "documents-ingest": IngestHandler(ingestion_client),
                "status": status,
            },
            {"documents-ingest": settings.nats.ingest_timeout_s},
            settings.nats.request_timeout_s,
        )
        self._ingress = Ingress(settings.nats, rows, status.components, memory.connect, RayMetrics())
        self._health = HealthServer(settings.health, self._check, self._ingress.is_serving, status.components)
        self._running = asyncio.create_task(self._ingress.run())
        await self._health.start()

    async def check_health(self) -> None:
        """Fail when the ingress has ended or lost its connection for good, so that Serve replaces the replica."""
        self._check()

    def _check(self) -> None:
        if self._running.done():
            error = None if self._running.cancelled() else self._running.exception()
            raise UnavailableError(f"the NATS ingress has ended: {error}")
        self._ingress.check()

    async def __del__(self) -> None:
        """Leave NATS and finish what was taken. Serve awaits it before it ends a replica."""
        self._ingress.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self._health.stop()


def orchestration(args: OrchestrationSettings) -> Application:
    """Build the orchestration application: the ingress, and each service that is not in process behind it."""
    retrieval = None if "Retrieval" in args.in_process else RetrievalDeployment.bind(args)
    chat = None if "Chat" in args.in_process else ChatDeployment.bind(args, retrieval)
    ingestion = None if "Ingestion" in args.in_process else IngestionDeployment.bind(args)
    return NatsIngressDeployment.bind(args, chat, ingestion, None if chat else retrieval)
