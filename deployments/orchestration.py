"""The orchestration services: they call models and hold none.

They find the models' applications by name, and each other by handle, or in process where the settings put a service
into the replica of its caller. `bridges.application` binds them, and the NATS ingress in front of them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployments.chat.service import Chat
from deployments.engines.speech_engines import voice_activity_engine
from deployments.graph.definitions import (
    CHAT,
    EMBEDDINGS,
    INGESTION,
    LANGUAGE_MODEL,
    RERANKER,
    RETRIEVAL,
    SPEECH,
    SPEECH_TO_TEXT,
    TEXT_TO_SPEECH,
    TRANSCRIPTION,
    VOICE,
    Handles,
)
from deployments.graph.replica import log_left_alone
from deployments.ingestion.service import Ingestion
from deployments.listening.transcription import Transcription
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.retrieval.service import PassageStore, Retrieval
from deployments.services import (
    ChatService,
    IngestionService,
    RerankerService,
    SpeechService,
    TranscriptionService,
    VoiceService,
)
from deployments.settings.orchestration import MilvusSettings, OrchestrationSettings
from deployments.speaking.speech import Speech
from deployments.speaking.voice import Voice

if TYPE_CHECKING:
    from deployments.milvus.documents import MilvusDocuments

OpenPassages = Callable[[MilvusSettings], PassageStore]
"""Opens the store that passages are searched in. Its connection is made by the first search."""


# Imported where it is used: pymilvus takes a second and a half and 60 MB, and most replicas have nothing to do with
# Milvus.
def milvus_passages(settings: MilvusSettings) -> PassageStore:
    """Open the passages in Milvus."""
    with log_left_alone():
        from deployments.milvus.connection import MilvusConnection  # noqa: PLC0415
        from deployments.milvus.passages import MilvusPassages  # noqa: PLC0415

    return MilvusPassages(
        MilvusConnection(settings.uri, settings.access()),
        passage_characters=settings.passage_characters,
        keyword_weight=settings.keyword_weight,
    )


def chat(
    settings: OrchestrationSettings, handles: Handles, open_passages: OpenPassages = milvus_passages
) -> ChatService:
    """Return a client of chat: by its handle, or of one in this process where it has none."""
    return CHAT.connect(handles, build_chat, settings, handles, open_passages)


def voice(
    settings: OrchestrationSettings, handles: Handles, open_passages: OpenPassages = milvus_passages
) -> VoiceService:
    """Return a client of voice: by its handle, or of one in this process where it has none."""
    return VOICE.connect(handles, build_voice, settings, handles, open_passages)


def ingestion(settings: OrchestrationSettings, handles: Handles) -> IngestionService:
    """Return a client of ingestion: by its handle, or of one in this process where it has none."""
    return INGESTION.connect(handles, build_ingestion, settings)


def transcription(settings: OrchestrationSettings, handles: Handles) -> TranscriptionService:
    """Return a client of transcription: by its handle, or of one in this process where it has none."""
    return TRANSCRIPTION.connect(handles, build_transcription, settings)


def speech(settings: OrchestrationSettings, handles: Handles) -> SpeechService:
    """Return a client of speech: by its handle, or of one in this process where it has none."""
    return SPEECH.connect(handles, build_speech, settings)


def voice_activity(settings: OrchestrationSettings) -> VoiceActivityEngine:
    """Return the model that finds speech in live audio, where its messages land."""
    return voice_activity_engine(settings.audio.voice_activity.model)


def build_chat(
    settings: OrchestrationSettings, handles: Handles, open_passages: OpenPassages = milvus_passages
) -> Chat:
    """Build chat; `handles` are those of the services that it calls, where they do not run in this process."""
    retrieval = RETRIEVAL.connect(handles, build_retrieval, settings, open_passages)
    model = LANGUAGE_MODEL.in_application(settings.language_model, settings.language_model_deployment)
    return Chat(model, retrieval)


def build_voice(
    settings: OrchestrationSettings, handles: Handles, open_passages: OpenPassages = milvus_passages
) -> Voice:
    """Build voice; `handles` are those of the services that it calls, where they do not run in this process."""
    return Voice(transcription(settings, handles), chat(settings, handles, open_passages), speech(settings, handles))


def build_retrieval(settings: OrchestrationSettings, open_passages: OpenPassages = milvus_passages) -> Retrieval:
    """Build retrieval."""
    embeddings = EMBEDDINGS.in_application(settings.embeddings)
    return Retrieval(embeddings, _reranker(settings), open_passages(settings.milvus), settings.milvus)


def build_ingestion(settings: OrchestrationSettings) -> Ingestion:
    """Build ingestion."""
    embeddings = EMBEDDINGS.in_application(settings.embeddings)
    return Ingestion(embeddings, _documents(settings.milvus), settings.milvus)


def build_transcription(settings: OrchestrationSettings) -> Transcription:
    """Build transcription."""
    return Transcription(SPEECH_TO_TEXT.in_application(settings.speech_to_text))


def build_speech(settings: OrchestrationSettings) -> Speech:
    """Build speech."""
    return Speech(TEXT_TO_SPEECH.in_application(settings.text_to_speech), settings.speech.max_characters)


def _reranker(settings: OrchestrationSettings) -> RerankerService:
    if settings.reranker == settings.embeddings:
        return RERANKER.in_replicas_of(EMBEDDINGS, settings.embeddings)
    return RERANKER.in_application(settings.reranker)


# Imported where it is used, as `milvus_passages` does.
def _documents(settings: MilvusSettings) -> "MilvusDocuments":
    with log_left_alone():
        from deployments.milvus.connection import MilvusConnection  # noqa: PLC0415
        from deployments.milvus.documents import MilvusDocuments  # noqa: PLC0415

    return MilvusDocuments(MilvusConnection(settings.uri, settings.access()))
