"""What Hearth does with the requests of the subject table: which graph method does the work, and what answers them.

To add a request, add its subject to `bridges.subjects`, a row here and a handler in `bridges.application`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from bridges.generated.hearth.v1 import documents_pb2, pipelines_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import (
    AUDIO_STREAM,
    CHAT_MESSAGE,
    CHAT_REQUEST,
    CHAT_RESPONSE,
    CHAT_STREAM,
    CONVERSATION_TEXT,
    CONVERSATION_TURN,
    DOCUMENTS_DELETE,
    DOCUMENTS_INGEST,
    DOCUMENTS_LIST,
    GREETING_REQUEST,
    GREETING_RESPONSE,
    LOGIN,
    PIPELINE_STATUS,
    PIPELINE_TRIGGER,
    PIPELINES_LIST,
    SPEECH_AUDIO,
    SPEECH_REQUEST,
    SPEECH_STATUS,
    STATUS,
    TRANSCRIPTION,
    VOICE_REQUEST,
    VOICE_RESPONSE,
    VOICES_LIST,
    VOICES_REFRESH,
    Role,
    Subject,
)
from deployments.services import (
    ChatService,
    IngestionService,
    PipelinesService,
    SpeechService,
    TranscriptionService,
    VoiceService,
)
from deployments.values.requests import RequestKind


@dataclass(frozen=True, slots=True)
class Request:
    """A row of the requests.

    Attributes:
        name: Of the endpoint in the NATS micro service; letters, digits and dashes.
        subject: Where they arrive.
        response: The message that answers them last; none where nobody waits for an answer.
        method: The method of a graph service that does the work.
        kind: What kind of work it is, which says whose places it takes.
        answers: The subjects that answers go out on, besides the reply subject.
        service: The protocol whose service is asked, where the method is one that several protocols inherit.
    """

    name: str
    subject: Subject
    response: type[Message] | None
    method: Callable[..., object]
    kind: RequestKind
    answers: tuple[Subject, ...] = ()
    service: type[object] | None = None

    @property
    def message(self) -> type[Message] | None:
        """The message that arrives; none where any body will do."""
        return self.subject.messages[0] if self.subject.messages else None

    @property
    def taken_by(self) -> Role:
        """The ingress that takes them."""
        (role,) = self.subject.subscribers
        return role

    @property
    def service_name(self) -> str:
        """The name of the service that does the work, which its deployment has, too."""
        service = self.service.__name__ if self.service else self.method.__qualname__.split(".")[0]
        return service.removesuffix("Service")

    @property
    def method_name(self) -> str:
        """The method's name as the graph's spans have it: that of the service, a dot, and its own."""
        return f"{self.service_name}.{self.method.__name__}"


REQUESTS: tuple[Request, ...] = (
    Request(
        "chat-message",
        CHAT_MESSAGE,
        messages_pb2.ChatResponse,
        ChatService.answer,
        RequestKind.CHAT,
        (CHAT_STREAM, CHAT_RESPONSE),
    ),
    Request(
        "chat-request",
        CHAT_REQUEST,
        messages_pb2.ChatResponse,
        ChatService.answer,
        RequestKind.CHAT,
        (CHAT_STREAM, CHAT_RESPONSE),
    ),
    Request("login", LOGIN, None, ChatService.warm, RequestKind.CONTROL),
    Request(
        "greeting",
        GREETING_REQUEST,
        messages_pb2.GreetingResponse,
        ChatService.greet,
        RequestKind.CHAT,
        (GREETING_RESPONSE,),
    ),
    Request(
        "documents-ingest",
        DOCUMENTS_INGEST,
        documents_pb2.IngestResponse,
        IngestionService.ingest,
        RequestKind.INGESTION,
    ),
    Request(
        "documents-delete",
        DOCUMENTS_DELETE,
        documents_pb2.DeleteResponse,
        IngestionService.delete,
        RequestKind.INGESTION,
    ),
    Request(
        "documents-list",
        DOCUMENTS_LIST,
        documents_pb2.ListDocumentsResponse,
        IngestionService.documents,
        RequestKind.CONTROL,
    ),
    Request(
        "voice-request",
        VOICE_REQUEST,
        messages_pb2.VoiceResponse,
        VoiceService.answer_recording,
        RequestKind.VOICE,
        (VOICE_RESPONSE, CONVERSATION_TURN),
    ),
    Request(
        "audio-stream",
        AUDIO_STREAM,
        messages_pb2.STTTranscription,
        TranscriptionService.hear,
        RequestKind.VOICE,
        (TRANSCRIPTION, SPEECH_AUDIO, SPEECH_STATUS, CONVERSATION_TEXT, CONVERSATION_TURN),
    ),
    Request(
        "speech-request",
        SPEECH_REQUEST,
        messages_pb2.TTSFullResponse,
        SpeechService.say,
        RequestKind.VOICE,
        (SPEECH_AUDIO, SPEECH_STATUS),
    ),
    Request("voices-list", VOICES_LIST, messages_pb2.TTSVoiceListResponse, SpeechService.voices, RequestKind.CONTROL),
    Request(
        "voices-refresh",
        VOICES_REFRESH,
        messages_pb2.TTSVoiceRefreshResponse,
        SpeechService.voices,
        RequestKind.CONTROL,
    ),
    Request(
        "pipeline-trigger",
        PIPELINE_TRIGGER,
        messages_pb2.PipelineStatus,
        PipelinesService.trigger,
        RequestKind.CONTROL,
        (PIPELINE_STATUS,),
    ),
    Request(
        "pipelines-list",
        PIPELINES_LIST,
        pipelines_pb2.PipelineListResponse,
        PipelinesService.describe,
        RequestKind.CONTROL,
    ),
    Request(
        "status", STATUS, status_pb2.StatusResponse, ChatService.components, RequestKind.CONTROL, service=ChatService
    ),
)
