"""The orchestration application that `serve_config.yaml` names: the NATS ingress and the services behind it."""

import asyncio
import contextlib
import logging
from typing import Any

from ray import serve
from ray.serve import Application

import deployments.orchestration as services
from bridges.handlers.chat import ChatHandler
from bridges.handlers.documents import DeleteHandler, IngestHandler, ListDocumentsHandler
from bridges.handlers.greeting import GreetingHandler, LoginHandler
from bridges.handlers.pipelines import PipelineHandler, PipelineListHandler
from bridges.handlers.recorded_question import VoiceHandler
from bridges.handlers.speech import SpeechHandler, VoicesHandler
from bridges.handlers.status import StatusHandler
from bridges.live.conversation import ConversationParts
from bridges.live.ingress import AudioIngress
from bridges.nats.allowances import Allowances
from bridges.nats.askers import Askers
from bridges.nats.connection import NatsClient
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.durable_intake import COMPONENT, DurableIntake
from bridges.nats.ingress import Ingress, OpenRequests, endpoints
from bridges.nats.refusals import Refusals
from bridges.nats.settings_check import check_settings
from bridges.nats.trust import Trust
from bridges.operations.activity import Activity
from bridges.operations.draining import DrainServer
from bridges.operations.health import HealthServer
from bridges.operations.metrics import RayMetrics
from bridges.operations.readiness import Reporter, reported
from bridges.pipelines.replica import PipelineReplica
from bridges.pipelines.run_store import PipelineRuns
from bridges.sessions.epochs import SessionWork
from bridges.sessions.turn_log import TurnRecords
from bridges.subjects import Role
from deployments.call import Call
from deployments.component_status import replica_status
from deployments.errors import UnavailableError
from deployments.graph.definitions import (
    CHAT,
    INGESTION,
    PIPELINES,
    RETRIEVAL,
    SPEECH,
    TRANSCRIPTION,
    VOICE,
    Handles,
    ServiceDefinition,
)
from deployments.graph.deployment import Replica
from deployments.graph.load_policy import ReplicaLoad
from deployments.graph.replica import prepare_replica
from deployments.graph.serve_state import deployment_states
from deployments.services import PipelinesService, Reporting, VoiceService
from deployments.settings.orchestration import OrchestrationSettings, ScalingSettings
from deployments.values.status import ComponentStatus, DeploymentState

logger = logging.getLogger(__name__)


_TAKING_S = 10.0
"""What a new replica has to join its queue group before Serve goes on, in an upgrade by ending the replica that it
replaces. Where the graph is not ready by then, it joins later."""

_REPORTING_AUDIO = ServiceDefinition(Reporting, Role.AUDIO_INGRESS)
"""The ingress of live audio, as the other one asks it how it is."""


@serve.deployment(name=Role.NATS_INGRESS)
class NatsIngressDeployment:
    """The ingress of requests as a deployment.

    Args:
        settings: Of the orchestration.
        handles: Of the services that are deployments of their own; the others are built in this replica.
        open_passages: Opens the store that passages are searched in, if Retrieval is built in this replica.
    """

    async def __init__(
        self,
        settings: OrchestrationSettings,
        handles: Handles,
        open_passages: services.OpenPassages = services.milvus_passages,
    ) -> None:
        prepare_replica(Role.NATS_INGRESS)
        chat = services.chat(settings, handles, open_passages)
        ingestion = services.ingestion(settings, handles)
        reporters = [Reporter(CHAT.name, chat, required=True), Reporter(INGESTION.name, ingestion, required=False)]
        voice: VoiceService | None = None
        if settings.audio.enabled:
            voice = services.voice(settings, handles, open_passages)
            reporters += [
                Reporter(VOICE.name, voice, required=False),
                Reporter(TRANSCRIPTION.name, services.transcription(settings, handles), required=False),
                Reporter(SPEECH.name, services.speech(settings, handles), required=False),
            ]
        pipelines: PipelinesService | None = None
        self._pipelines: RunningPipelines | None = None
        if settings.pipelines.table:
            if handle := handles.get(PIPELINES.name):
                pipelines = PIPELINES.by_handle(handle)
            else:
                self._pipelines = RunningPipelines(settings)
                pipelines = PIPELINES.in_process(self._pipelines.service)
            reporters.append(Reporter(PIPELINES.name, pipelines, required=False))
        if audio := handles.get(Role.AUDIO_INGRESS):
            # It has a connection of its own.
            reporters.append(Reporter(Role.AUDIO_INGRESS, _REPORTING_AUDIO.by_handle(audio), required=False))
        refusals = Refusals(Role.NATS_INGRESS)
        reporters.append(Reporter("NATS", refusals, required=True))
        metrics = RayMetrics()
        durable: DurableIntake | None = None
        if settings.nats.durable.rows:
            durable = DurableIntake(settings.nats, metrics)
            reporters.append(Reporter(COMPONENT, durable, required=True))
        self._scaling = settings.scaling
        activity = Activity()
        status = StatusHandler(reporters, activity, states_or_none)
        memory, trust = ConversationMemory(settings.memory), Trust.of(settings.nats)
        runs = PipelineRuns(settings.pipelines)
        chat_handler = ChatHandler(chat, voice, memory, trust)
        records = TurnRecords(settings.turns, with_text=settings.nats.log_text)
        rows = endpoints(
            Role.NATS_INGRESS,
            {
                "chat-message": chat_handler,
                "chat-request": chat_handler,
                "login": LoginHandler(chat),
                "greeting": GreetingHandler(chat, trust),
                "documents-ingest": IngestHandler(ingestion),
                "documents-delete": DeleteHandler(ingestion),
                "documents-list": ListDocumentsHandler(ingestion),
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

        async def connected(client: NatsClient) -> None:
            await memory.connect(client)
            runs.connect(client)

        allowances = Allowances.of(settings.nats, settings.milvus)
        self._ingress = Ingress(
            settings.nats, rows, status.components, connected, metrics, activity, refusals, allowances, durable
        )
        self._drain = DrainServer(Role.NATS_INGRESS, self._ingress.drain, self._ingress.held)
        self._health = HealthServer(
            settings.health, self._check, self._ingress.is_serving, lambda: self._drain.is_draining, status.components
        )
        self._running = asyncio.create_task(self._ingress.run())
        await self._health.start()
        await self._drain.start()
        await until_taking(self._ingress, self._running)

    async def check_health(self) -> None:
        """Fail when the ingress has ended or lost its connection for good, so that Serve replaces the replica."""
        self._check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what this replica has to do, for Serve's autoscaling; see `LoadPolicy`."""
        return replica_load(Role.NATS_INGRESS, await self._ingress.open_requests(), self._scaling).statistics()

    def _check(self) -> None:
        check_running(self._running, Role.NATS_INGRESS)
        self._ingress.check()
        if self._pipelines:
            self._pipelines.check()

    async def __del__(self) -> None:
        """Leave NATS and finish what was taken. Serve awaits it before it ends a replica."""
        # First, so that the replica that takes the place of this one has the port, too.
        await self._health.stop()
        self._ingress.stop()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        finally:
            if self._pipelines:
                await self._pipelines.close()
            await self._drain.stop()


@serve.deployment(name=Role.AUDIO_INGRESS)
class AudioIngressDeployment:
    """The ingress of live audio and of speech as a deployment."""

    async def __init__(self, settings: OrchestrationSettings, handles: Handles) -> None:
        prepare_replica(Role.AUDIO_INGRESS)
        transcription = services.transcription(settings, handles)
        speech = services.speech(settings, handles)
        activity = services.voice_activity(settings)
        metrics = RayMetrics()
        work = SessionWork()
        memory = ConversationMemory(settings.memory)
        conversing = ConversationParts(
            settings.audio.conversation,
            settings.speech.chunk_bytes,
            services.voice(settings, handles),
            work,
            memory,
            TurnRecords(settings.turns, with_text=settings.nats.log_text),
        )
        allowances = Allowances.of(settings.nats, settings.milvus)
        self._audio = AudioIngress(
            settings.audio,
            transcription,
            activity,
            work,
            metrics,
            conversing,
            trust=Trust.of(settings.nats),
            allowances=allowances,
            askers=Askers.of(settings.nats),
        )
        reporters = [
            Reporter(TRANSCRIPTION.name, transcription, required=False),
            Reporter(SPEECH.name, speech, required=False),
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

        async def connected(client: NatsClient) -> None:
            await memory.connect(client)
            await self._audio.connect(client)

        self._scaling = settings.scaling
        self._refusals = Refusals(Role.AUDIO_INGRESS)
        self._ingress = Ingress(
            settings.nats, rows, components, connected, metrics, refusals=self._refusals, allowances=allowances
        )
        self._drain = DrainServer(Role.AUDIO_INGRESS, self._leave, lambda: self._ingress.held() | self._audio.held())
        self._running = asyncio.create_task(self._ingress.run())
        self._listening = asyncio.create_task(self._audio.run())
        await self._drain.start()
        await until_taking(self._ingress, self._running)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        """Return how the ingress is; see `Reporting`."""
        del call
        error = UnavailableError(fault) if (fault := self._ingress.fault()) else None
        return (replica_status(Role.AUDIO_INGRESS, "takes live sessions and speech", error, required=False),)

    async def check_health(self) -> None:
        """Fail when the ingress has ended or lost its connection for good, so that Serve replaces the replica.

        It fails, too, while the server does not permit a subscription: nobody else would show that.
        """
        check_running(self._running, Role.AUDIO_INGRESS)
        check_running(self._listening, Role.AUDIO_INGRESS)
        self._ingress.check()
        if self._refusals.subscriptions:
            raise UnavailableError(self._refusals.check())

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what this replica has to do, for Serve's autoscaling: it works on live sessions, too."""
        sessions = sum(self._audio.held().values())
        requests = await self._ingress.open_requests()
        return replica_load(Role.AUDIO_INGRESS, requests, self._scaling, sessions).statistics()

    async def _leave(self) -> None:
        """Finish what was taken, then hand the sessions over: until then, an interruption stops what is said here."""
        await self._ingress.drain()
        await self._audio.drain()

    async def __del__(self) -> None:
        """Finish what was taken, transcribe what was being said, leave NATS."""
        try:
            await self._leave()
            self._audio.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        finally:
            self._ingress.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
            await self._drain.stop()


class RunningPipelines:
    """The pipelines service with its work: it keeps its runs in NATS, and tells their clients itself.

    Args:
        settings: Of the orchestration.

    Attributes:
        service: What triggers are given to.
    """

    def __init__(self, settings: OrchestrationSettings) -> None:
        self._replica = PipelineReplica(settings.pipelines, settings.nats, RayMetrics().pipeline_reported)
        self._running = asyncio.create_task(self._replica.run())
        self.service: PipelinesService = self._replica.service

    def check(self) -> None:
        """Raise `UnavailableError` where runs are looked after no more."""
        check_running(self._running, PIPELINES.name)
        self._replica.check()

    async def close(self) -> None:
        """Leave unfinished runs to the other replicas."""
        self._replica.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running


def _pipelines(settings: OrchestrationSettings) -> Replica[PipelinesService]:
    """Build the pipelines service for a replica of its own."""
    pipelines = RunningPipelines(settings)

    async def check_health() -> None:
        """Fail when runs are looked after no more."""
        pipelines.check()

    return Replica(pipelines.service, check_health=check_health, close=pipelines.close)


def replica_load(role: Role, requests: OpenRequests, scaling: ScalingSettings, sessions: int = 0) -> ReplicaLoad:
    """Return the load of an ingress: what waits in it is for itself, and for the services behind it.

    Args:
        role: The ingress.
        requests: That it has.
        scaling: Says how many may wait.
        sessions: That it listens to; they are work like requests.
    """
    return ReplicaLoad(
        in_flight=requests.in_flight + sessions,
        waiting={**requests.waiting, role: sum(requests.waiting.values())},
        waiting_per_replica=scaling.waiting_per_replica,
        kept=requests.kept,
        backlog=requests.backlog,
        kept_for=(role, *sorted(requests.kept_for)) if requests.kept_for else (),
    )


async def states_or_none() -> tuple[DeploymentState, ...]:
    """Return what Serve says of its deployments; nothing where it cannot be asked now."""
    try:
        return await deployment_states()
    except UnavailableError as error:
        logger.warning("%s", error.message)
        return ()


async def until_taking(ingress: Ingress, running: asyncio.Task[None], within_s: float = _TAKING_S) -> None:
    """Return once an ingress takes requests, when it has ended, or after some seconds."""
    taking = asyncio.create_task(ingress.wait_until_serving())
    try:
        await asyncio.wait((taking, running), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        taking.cancel()


def check_running(task: asyncio.Task[None], name: str) -> None:
    """Raise `UnavailableError` where an ingress has ended."""
    if task.done():
        error = None if task.cancelled() else task.exception()
        logger.error("%s has ended", name, exc_info=error)
        raise UnavailableError(f"{name} has ended")


def orchestration(args: OrchestrationSettings) -> Application:
    """Build the orchestration application: the ingresses, and each service that is not in process behind them."""
    check_settings(args.nats)
    handles: dict[str, Any] = {}
    if RETRIEVAL.name not in args.in_process:
        handles[RETRIEVAL.name] = RETRIEVAL.bind(services.build_retrieval, args)
    if CHAT.name not in args.in_process:
        handles[CHAT.name] = CHAT.bind(services.build_chat, args, dict(handles))
    if INGESTION.name not in args.in_process:
        handles[INGESTION.name] = INGESTION.bind(services.build_ingestion, args)
    pipelines: dict[str, Any] = {}
    if args.pipelines.table and PIPELINES.name not in args.in_process:
        pipelines[PIPELINES.name] = PIPELINES.bind(_pipelines, args)
    if not args.audio.enabled:
        return NatsIngressDeployment.bind(args, handles | pipelines)
    if TRANSCRIPTION.name not in args.in_process:
        handles[TRANSCRIPTION.name] = TRANSCRIPTION.bind(services.build_transcription, args)
    if SPEECH.name not in args.in_process:
        handles[SPEECH.name] = SPEECH.bind(services.build_speech, args)
    if VOICE.name not in args.in_process:
        handles[VOICE.name] = VOICE.bind(services.build_voice, args, dict(handles))
    audio_handles = {name: handle for name, handle in handles.items() if name != INGESTION.name}
    audio = {Role.AUDIO_INGRESS: AudioIngressDeployment.bind(args, audio_handles)}
    return NatsIngressDeployment.bind(args, handles | pipelines | audio)
