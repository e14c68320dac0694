"""The orchestration application that `serve_config.yaml` names: the NATS ingress and the services behind it."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, cast

from nats.aio.client import Client
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import DeploymentStatusOverview

from bridges.handlers.chat import ChatHandler
from bridges.handlers.documents import DeleteHandler, IngestHandler, ListDocumentsHandler
from bridges.handlers.greeting import GreetingHandler, LoginHandler
from bridges.handlers.pipelines import PipelineHandler, PipelineListHandler
from bridges.handlers.recorded_question import VoiceHandler
from bridges.handlers.speech import SpeechHandler, VoicesHandler
from bridges.handlers.status import DeploymentState, StatusHandler
from bridges.live.conversation import ConversationParts
from bridges.live.ingress import AudioIngress
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.ingress import Ingress, endpoints
from bridges.operations.activity import Activity
from bridges.operations.health import HealthServer
from bridges.operations.metrics import RayMetrics
from bridges.operations.readiness import Reporter, reported
from bridges.pipelines.replica import PipelineReplica
from bridges.pipelines.run_store import PipelineRuns
from bridges.sessions.epochs import SessionWork
from bridges.sessions.turn_log import TurnRecords
from bridges.subjects import Role
from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.graph.clients import (
    ChatClient,
    IngestionClient,
    PipelinesClient,
    SpeechClient,
    TranscriptionClient,
    VoiceClient,
)
from deployments.graph.door import handle_door
from deployments.graph.replica import prepare_replica
from deployments.orchestration import (
    ChatDeployment,
    IngestionDeployment,
    RetrievalDeployment,
    SpeechDeployment,
    TranscriptionDeployment,
    VoiceDeployment,
    chat_door,
    ingestion_door,
    speech_door,
    transcription_door,
    voice_activity,
    voice_door,
)
from deployments.settings.orchestration import OrchestrationSettings
from deployments.values.pipelines import PipelineDescription, PipelineTrigger, TriggerReceipt
from deployments.values.status import ComponentStatus

CHAT, RETRIEVAL, INGESTION = "Chat", "Retrieval", "Ingestion"
TRANSCRIPTION, SPEECH, VOICE = "Transcription", "Speech", "Voice"
PIPELINES = "Pipelines"

logger = logging.getLogger(__name__)

_SERVE_STATUS_S = 3.0
_RUNNING = "RUNNING"
_STARTING = ("STARTING", "UPDATING", "RECOVERING", "PENDING_MIGRATION")
"""States of replicas, as Serve names them."""


@serve.deployment(name=Role.NATS_INGRESS)
class NatsIngressDeployment:
    """The ingress of requests as a deployment."""

    async def __init__(self, settings: OrchestrationSettings, handles: Mapping[str, DeploymentHandle[Any]]) -> None:
        prepare_replica(Role.NATS_INGRESS)
        chat_client = ChatClient(chat_door(settings, handles.get(CHAT), handles.get(RETRIEVAL)))
        ingestion_client = IngestionClient(ingestion_door(settings, handles.get(INGESTION)))
        reporters = [
            Reporter(CHAT, chat_client, required=True),
            Reporter(INGESTION, ingestion_client, required=False),
        ]
        voice: VoiceClient | None = None
        if settings.audio.enabled:
            voice = VoiceClient(voice_door(settings, handles.get(VOICE), handles))
            reporters.append(Reporter(VOICE, voice, required=False))
            transcription = TranscriptionClient(transcription_door(settings, handles.get(TRANSCRIPTION)))
            speech = SpeechClient(speech_door(settings, handles.get(SPEECH)))
            reporters.append(Reporter(TRANSCRIPTION, transcription, required=False))
            reporters.append(Reporter(SPEECH, speech, required=False))
        pipelines: PipelinesClient | None = None
        if settings.pipelines.table:
            pipelines = PipelinesClient(handle_door(handles[PIPELINES]))
            reporters.append(Reporter(PIPELINES, pipelines, required=False))
        activity = Activity()
        status = StatusHandler(reporters, activity, deployment_states)
        memory = ConversationMemory(settings.memory)
        runs = PipelineRuns(settings.pipelines)
        chat_handler = ChatHandler(chat_client, voice, memory)
        records = TurnRecords(settings.turns, with_text=settings.nats.log_text)
        rows = endpoints(
            Role.NATS_INGRESS,
            {
                "chat-message": chat_handler,
                "chat-request": chat_handler,
                "login": LoginHandler(chat_client),
                "greeting": GreetingHandler(chat_client),
                "documents-ingest": IngestHandler(ingestion_client),
                "documents-delete": DeleteHandler(ingestion_client),
                "documents-list": ListDocumentsHandler(ingestion_client),
                "voice-request": VoiceHandler(voice, records),
                "pipeline-trigger": PipelineHandler(pipelines, runs),
                "pipelines-list": PipelineListHandler(pipelines),
                "status": status,
            },
            {
                "documents-ingest": settings.nats.ingest_timeout_s,
                "pipeline-trigger": settings.pipelines.accept_timeout_s,
            },
            settings.nats.request_timeout_s,
        )

        async def connected(client: Client) -> None:
            await memory.connect(client)
            runs.connect(client)

        self._ingress = Ingress(settings.nats, rows, status.components, connected, RayMetrics(), activity)
        self._health = HealthServer(settings.health, self._check, self._ingress.is_serving, status.components)
        self._running = asyncio.create_task(self._ingress.run())
        await self._health.start()

    async def check_health(self) -> None:
        """Fail when the ingress has ended or lost its connection for good, so that Serve replaces the replica."""
        self._check()

    def _check(self) -> None:
        check_running(self._running, Role.NATS_INGRESS)
        self._ingress.check()

    async def __del__(self) -> None:
        """Leave NATS and finish what was taken. Serve awaits it before it ends a replica."""
        self._ingress.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self._health.stop()


@serve.deployment(name=Role.AUDIO_INGRESS)
class AudioIngressDeployment:
    """The ingress of live audio and of speech as a deployment."""

    async def __init__(self, settings: OrchestrationSettings, handles: Mapping[str, DeploymentHandle[Any]]) -> None:
        prepare_replica(Role.AUDIO_INGRESS)
        transcription = TranscriptionClient(transcription_door(settings, handles.get(TRANSCRIPTION)))
        speech = SpeechClient(speech_door(settings, handles.get(SPEECH)))
        activity = voice_activity(settings)
        metrics = RayMetrics()
        work = SessionWork()
        memory = ConversationMemory(settings.memory)
        conversing = ConversationParts(
            settings.audio.conversation,
            settings.speech.chunk_bytes,
            VoiceClient(voice_door(settings, handles.get(VOICE), handles)),
            work,
            memory,
            TurnRecords(settings.turns, with_text=settings.nats.log_text),
        )
        self._audio = AudioIngress(settings.audio, transcription, activity, work, metrics, conversing)
        reporters = [
            Reporter(TRANSCRIPTION, transcription, required=False),
            Reporter(SPEECH, speech, required=False),
        ]

        async def components(call: Call) -> tuple[ComponentStatus, ...]:
            return await reported(reporters, call)

        rows = endpoints(
            Role.AUDIO_INGRESS,
            {
                "speech-request": SpeechHandler(speech, work, settings.speech),
                "voices-list": VoicesHandler(speech, rescan=False),
                "voices-refresh": VoicesHandler(speech, rescan=True),
            },
            {},
            settings.nats.request_timeout_s,
        )

        async def connected(client: Client) -> None:
            await memory.connect(client)
            await self._audio.connect(client)

        self._ingress = Ingress(settings.nats, rows, components, connected, metrics)
        self._running = asyncio.create_task(self._ingress.run())
        self._listening = asyncio.create_task(self._audio.run())

    async def check_health(self) -> None:
        """Fail when the ingress has ended or lost its connection for good, so that Serve replaces the replica."""
        check_running(self._running, Role.AUDIO_INGRESS)
        check_running(self._listening, Role.AUDIO_INGRESS)
        self._ingress.check()

    async def __del__(self) -> None:
        """Transcribe what was being said, finish what was taken, leave NATS."""
        self._audio.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        self._ingress.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running


@serve.deployment(name=PIPELINES)
class PipelinesDeployment:
    """The pipelines service as a deployment. It keeps its runs in NATS, and tells their clients itself."""

    async def __init__(self, settings: OrchestrationSettings) -> None:
        prepare_replica(PIPELINES)
        self._replica = PipelineReplica(settings.pipelines, settings.nats.url, RayMetrics().pipeline_reported)
        self._running = asyncio.create_task(self._replica.run())

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        return await self._replica.service.trigger(call, trigger)

    async def describe(self, call: Call) -> tuple[PipelineDescription, ...]:
        return await self._replica.service.describe(call)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return await self._replica.service.components(call)

    async def check_health(self) -> None:
        """Fail when runs are looked after no more, so that Serve replaces the replica."""
        check_running(self._running, PIPELINES)
        self._replica.check()

    async def __del__(self) -> None:
        """Leave unfinished runs to the other replicas."""
        self._replica.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running


async def deployment_states() -> tuple[DeploymentState, ...]:
    """Return what Serve says of its deployments; nothing where it cannot be asked now."""
    try:
        async with asyncio.timeout(_SERVE_STATUS_S):
            status = await asyncio.to_thread(serve.status)
    except (RayError, RayServeException, TimeoutError) as error:
        logger.warning("Serve was not asked for its deployments: %s", error or type(error).__name__)
        return ()
    return tuple(
        _deployment_state(application, name, deployment)
        for application, overview in sorted(status.applications.items())
        for name, deployment in overview.deployments.items()
    )


def _deployment_state(application: str, name: str, deployment: DeploymentStatusOverview) -> DeploymentState:
    # Typed as an enumeration, which its members' names are equal to; Serve gives the names.
    replicas = cast("dict[str, int]", deployment.replica_states)
    starting = sum(replicas.get(state, 0) for state in _STARTING)
    return DeploymentState(
        application, name, deployment.status.value, replicas.get(_RUNNING, 0), starting, deployment.message
    )


def check_running(task: asyncio.Task[None], name: str) -> None:
    """Raise `UnavailableError` where an ingress has ended."""
    if task.done():
        error = None if task.cancelled() else task.exception()
        raise UnavailableError(f"{name} has ended: {error}")


def orchestration(args: OrchestrationSettings) -> Application:
    """Build the orchestration application: the ingresses, and each service that is not in process behind them."""
    handles: dict[str, Any] = {}
    if RETRIEVAL not in args.in_process:
        handles[RETRIEVAL] = RetrievalDeployment.bind(args)
    if CHAT not in args.in_process:
        handles[CHAT] = ChatDeployment.bind(args, handles.get(RETRIEVAL))
    if INGESTION not in args.in_process:
        handles[INGESTION] = IngestionDeployment.bind(args)
    pipelines: dict[str, Any] = {PIPELINES: PipelinesDeployment.bind(args)} if args.pipelines.table else {}
    if not args.audio.enabled:
        return NatsIngressDeployment.bind(args, handles | pipelines)
    if TRANSCRIPTION not in args.in_process:
        handles[TRANSCRIPTION] = TranscriptionDeployment.bind(args)
    if SPEECH not in args.in_process:
        handles[SPEECH] = SpeechDeployment.bind(args)
    if VOICE not in args.in_process:
        handles[VOICE] = VoiceDeployment.bind(args, dict(handles))
    audio_handles = {name: handle for name, handle in handles.items() if name != INGESTION}
    audio = {Role.AUDIO_INGRESS: AudioIngressDeployment.bind(args, audio_handles)}
    return NatsIngressDeployment.bind(args, handles | pipelines | audio)
