"""The ingresses with services of a few lines behind them, which remember nothing: what grows is Hearth's."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

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
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.ingress import Endpoint, Ingress
from bridges.nats.trust import STRICT
from bridges.operations.activity import Activity
from bridges.operations.outcome import Outcome
from bridges.operations.readiness import Reporter
from bridges.requests import REQUESTS
from bridges.sessions.epochs import SessionWork
from bridges.sessions.turn_log import TurnRecords
from bridges.subjects import Delivery
from deployments.call import Call
from deployments.chat.service import Chat
from deployments.engines.audio_file import decode, decode_native
from deployments.ingestion.service import Ingestion
from deployments.pipelines.table import PipelineTable
from deployments.settings.audio import AudioSettings, SpeechOutputSettings
from deployments.settings.orchestration import MemorySettings, MilvusSettings, NatsSettings, TurnRecordSettings
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, Preparation
from deployments.values.documents import DocumentVersion, Placement, StoredDocument
from deployments.values.embedded_chunks import EmbeddedChunks
from deployments.values.pipelines import PipelineDescription, PipelineReport, PipelineTrigger, RunStatus, TriggerReceipt
from deployments.values.retrieval import Passage
from deployments.values.speech import Recording, SpeechText, SpokenChunk, Transcript, VoiceInfo, Voices
from deployments.values.status import ComponentStatus
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem, SpokenQuestion
from tests.conversation.scene import Counted as CountedSessions
from tests.conversation.scene import LoudnessActivity, ReadingTranscription
from tests.unit.services import LengthEmbeddings, ScriptedModel, ScriptedRetrieval

_SOUND = SpokenChunk(bytes(800), 8000, "Yes.")
_LONGEST_S = 300.0
_MUCH = {
    "open_requests": 10**9,
    "requests_per_minute": 1e12,
    "characters_per_minute": 1e12,
    "sound_s_per_minute": 1e12,
    "live_sessions": 10**9,
    "ingested_characters_per_hour": 1e15,
}
_TABLE = {
    "rag-query": {
        "engine": "kubeflow",
        "parameters": {"query": {}, "filter": {"type": "json"}, "top_k": {"type": "integer"}},
    }
}


class Services:
    """What answers, without a memory: voice, speech, pipelines and a store of documents."""

    def __init__(self) -> None:
        self._table = PipelineTable(PipelinesSettings.model_validate({"table": _TABLE}).table)

    async def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[SpokenAnswerItem]:
        del call, question
        yield AnswerToken("Yes.")
        yield _SOUND
        end = AnswerEnd()
        yield end
        yield SpokenAnswerEnd(end)

    async def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> AsyncGenerator[SpokenAnswerItem]:
        await asyncio.to_thread(decode, recording.data, _LONGEST_S)
        yield Transcript("Is it?")
        async for item in self.answer(call, question):
            yield item

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        del call
        return Preparation(question.text, (), (), 0)

    async def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        del call, question
        yield 1

    async def say(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        del call
        if text.reference:
            await asyncio.to_thread(decode_native, text.reference)
        yield _SOUND

    async def voices(self, call: Call, rescan: bool) -> Voices:
        del call, rescan
        return Voices("v", (VoiceInfo("v", "en", "scripted"),))

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        del call
        self._table.checked(trigger.pipeline, trigger.parameters)
        return TriggerReceipt(PipelineReport(trigger.request_id, RunStatus.SUBMITTED, trigger.pipeline))

    async def describe(self, call: Call) -> tuple[PipelineDescription, ...]:
        del call
        return self._table.describe()

    async def refuse(self, report: PipelineReport) -> bool:
        del report
        return True

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        del call
        return (ComponentStatus("Scripted", ready=True, detail=""),)

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None: ...

    async def write(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> None: ...

    async def newest(self, call: Call, collection: str, source: str) -> str:
        return ""

    async def finish(self, call: Call, collection: str, document: DocumentVersion, batch: EmbeddedChunks) -> Placement:
        return Placement(document.version)

    async def delete(self, call: Call, collection: str, source: str) -> int:
        return 1

    async def documents(self, call: Call, collection: str, prefix: str, limit: int) -> list[StoredDocument]:
        return [StoredDocument("a.md", 1, "d")]


class Counted:
    """Counts requests by their subject's pattern and their outcome."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def ended(self, subject: str, outcome: Outcome, seconds: float) -> None:
        del seconds
        self.outcomes[subject, outcome.name] += 1

    def refused(self, subject: str, outcome: Outcome, number: int) -> None:
        self.outcomes[subject, outcome.name] += number

    def open(self, in_flight: int, waiting: int) -> None: ...


def _forgotten() -> Any:
    """Return a list that keeps nothing."""
    return deque[Any](maxlen=0)


def endpoints(services: Any, work: SessionWork, records: TurnRecords) -> list[Endpoint]:
    """Return all rows that are taken in a queue group, with the handlers that answer them."""
    model = ScriptedModel(prompts=_forgotten(), read_prompts=_forgotten())
    retrieval = ScriptedRetrieval((Passage("It opens at nine.", "a.md"),), queries=_forgotten())
    chat, memory = Chat(model, retrieval), ConversationMemory(MemorySettings(enabled=False))
    ingestion = Ingestion(LengthEmbeddings(embedded=_forgotten()), services, MilvusSettings())
    answering = ChatHandler(chat, services, memory, STRICT)
    handlers: dict[str, Any] = {
        "chat-message": answering,
        "chat-request": answering,
        "login": LoginHandler(chat),
        "greeting": GreetingHandler(chat, STRICT),
        "documents-ingest": IngestHandler(ingestion),
        "documents-delete": DeleteHandler(ingestion),
        "documents-list": ListDocumentsHandler(ingestion),
        "voice-request": VoiceHandler(services, records),
        "pipeline-trigger": PipelineHandler(services, services),
        "pipelines-list": PipelineListHandler(services),
        "status": StatusHandler([Reporter("Scripted", services, required=True)], Activity(), _no_deployments),
        "speech-request": SpeechHandler(services, work, SpeechOutputSettings()),
        "voices-list": VoicesHandler(services, rescan=False),
        "voices-refresh": VoicesHandler(services, rescan=True),
    }
    return [Endpoint(row, handlers[row.name], 10.0) for row in REQUESTS if Delivery.QUEUE_GROUP in row.subject.delivery]


async def _no_deployments() -> Sequence[Any]:
    return ()


@asynccontextmanager
async def serving(url: str, most: int) -> AsyncGenerator[tuple[Ingress, AudioIngress, Counted]]:
    """Run both ingresses for as long as the block lasts.

    Args:
        url: Of the NATS server.
        most: How many requests wait at once, so that none is refused for that.
    """
    services: Any = Services()
    work, counted = SessionWork(), Counted()
    records = TurnRecords(TurnRecordSettings(), with_text=False)
    memory = ConversationMemory(MemorySettings(enabled=False))
    audio_settings = AudioSettings(idle_s=1)
    parts = ConversationParts(audio_settings.conversation, 32_768, services, work, memory, records)
    limits = {"waiting": most, "wait_s": 60.0}
    settings = NatsSettings.model_validate(
        {
            "url": url,
            "user_share": 1,
            "limits": {row.name: limits for row in REQUESTS},
            "max_waiting": most,
            # Nobody is refused for it, but everybody's account is kept, and headers are read for users.
            "users": {"*": _MUCH},
            "user_header": "tracestate",
        }
    )
    allowances = Allowances.of(settings, MilvusSettings())
    audio = AudioIngress(
        audio_settings,
        ReadingTranscription(0.0, (0.0,)),
        LoudnessActivity(),
        work,
        CountedSessions(),
        parts,
        allowances=allowances,
        askers=Askers.of(settings),
    )
    ingress = Ingress(
        settings,
        endpoints(services, work, records),
        services.components,
        audio.connect,
        counted,
        allowances=allowances,
    )
    running, listening = asyncio.create_task(ingress.run()), asyncio.create_task(audio.run())
    await asyncio.wait_for(ingress.wait_until_serving(), 10)
    try:
        yield ingress, audio, counted
    finally:
        audio.stop()
        await asyncio.wait_for(listening, 60)
        ingress.stop()
        await asyncio.wait_for(running, 60)
