"""The one table of subjects: what arrives where, what it is answered with, and which graph method does the work.

Adding a subject is adding a row here and a handler in `bridges.application`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from google.protobuf.message import Message

from bridges.generated.hearth.v1 import documents_pb2, pipelines_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import InvalidRequestError


class Delivery(StrEnum):
    """How requests on a subject reach the graph."""

    CORE = "core"
    """A queue group on core NATS: each request goes to one ingress, or to none when none is there."""
    SESSION = "session"
    """Core NATS without a queue group: every replica of the ingress hears every message and keeps those of its own
    sessions, so that a session stays with one replica."""


class IngressName(StrEnum):
    """The ingress that takes a subject's messages."""

    NATS = "NatsIngress"
    AUDIO = "AudioIngress"


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject on which requests arrive.

    Attributes:
        name: Of the endpoint in the NATS micro service; letters, digits and dashes.
        pattern: The subject, with `{…}` for each token that varies.
        request: The message that arrives; none where any body will do.
        response: The message that answers it last; none where nobody waits for an answer.
        method: The graph method that does the work.
        delivery: How requests are taken.
        taken_by: The ingress that takes them.
    """

    name: str
    pattern: str
    request: type[Message] | None
    response: type[Message] | None
    method: str
    delivery: Delivery = Delivery.CORE
    taken_by: IngressName = IngressName.NATS

    @property
    def request_type(self) -> str:
        """The full name of the message that arrives, empty where any body will do."""
        return self.request.DESCRIPTOR.full_name if self.request else ""

    @property
    def wildcard(self) -> str:
        """The subject to subscribe to: `*` for each token that varies."""
        return re.sub(r"\{\w+\}", "*", self.pattern)

    def parameters(self, subject: str) -> dict[str, str] | None:
        """Return the varying tokens of a concrete subject, None where it is not of this pattern."""
        match = _pattern(self.pattern).fullmatch(subject)
        return match.groupdict() if match else None


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    literal = re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^.]+)", literal))


REQUESTS: tuple[Subject, ...] = (
    Subject(
        "chat-message",
        "ai.chat.user.{user_id}.message",
        messages_pb2.ChatRequest,
        messages_pb2.ChatResponse,
        "Chat.answer",
    ),
    # The subject that older clients still use.
    Subject("chat-request", "ai.chat.request", messages_pb2.ChatRequest, messages_pb2.ChatResponse, "Chat.answer"),
    Subject("login", "ai.chat.user.{user_id}.login", messages_pb2.LoginEvent, None, "Chat.warm"),
    Subject(
        "greeting",
        "ai.chat.user.{user_id}.greeting.request",
        messages_pb2.GreetingRequest,
        messages_pb2.GreetingResponse,
        "Chat.greet",
    ),
    Subject(
        "documents-ingest",
        "hearth.documents.ingest",
        documents_pb2.IngestRequest,
        documents_pb2.IngestResponse,
        "Ingestion.ingest",
    ),
    Subject(
        "documents-delete",
        "hearth.documents.delete",
        documents_pb2.DeleteRequest,
        documents_pb2.DeleteResponse,
        "Ingestion.delete",
    ),
    Subject(
        "documents-list",
        "hearth.documents.list",
        documents_pb2.ListDocumentsRequest,
        documents_pb2.ListDocumentsResponse,
        "Ingestion.documents",
    ),
    Subject(
        "voice-request",
        "ai.voice.request",
        messages_pb2.VoiceRequest,
        messages_pb2.VoiceResponse,
        "Voice.answer_recording",
    ),
    Subject(
        "audio-stream",
        "ai.voice.stream.{session_id}",
        messages_pb2.STTStreamMessage,
        messages_pb2.STTTranscription,
        "Transcription.hear",
        Delivery.SESSION,
        IngressName.AUDIO,
    ),
    Subject(
        "speech-request",
        "ai.voice.tts.request.{session_id}",
        messages_pb2.TTSRequest,
        messages_pb2.TTSFullResponse,
        "Speech.say",
        taken_by=IngressName.AUDIO,
    ),
    Subject(
        "voices-list",
        "ai.voice.tts.voices.list",
        None,
        messages_pb2.TTSVoiceListResponse,
        "Speech.voices",
        taken_by=IngressName.AUDIO,
    ),
    Subject(
        "voices-refresh",
        "ai.voice.tts.voices.refresh",
        None,
        messages_pb2.TTSVoiceRefreshResponse,
        "Speech.voices",
        taken_by=IngressName.AUDIO,
    ),
    Subject(
        "pipeline-trigger",
        "ai.pipeline.trigger",
        messages_pb2.PipelineTrigger,
        messages_pb2.PipelineStatus,
        "Pipelines.trigger",
    ),
    Subject(
        "pipelines-list",
        "hearth.pipelines.list",
        pipelines_pb2.PipelineListRequest,
        pipelines_pb2.PipelineListResponse,
        "Pipelines.describe",
    ),
    Subject("status", "hearth.status", status_pb2.StatusRequest, status_pb2.StatusResponse, "Chat.components"),
)

CHAT_MESSAGE = "ai.chat.user.{user_id}.message"
CHAT_RESPONSE = "ai.chat.response.{request_id}"
GREETING_RESPONSE = "ai.chat.user.{user_id}.greeting.response"
CHAT_STREAM = "ai.chat.response.stream.{request_id}"
VOICE_REQUEST = "ai.voice.request"
VOICE_RESPONSE = "ai.voice.response.{request_id}"
AUDIO_STREAM = "ai.voice.stream.{session_id}"
TRANSCRIPTION = "ai.voice.transcription.{session_id}"
SPEECH_REQUEST = "ai.voice.tts.request.{session_id}"
SPEECH_AUDIO = "ai.voice.tts.audio.{session_id}"
SPEECH_STATUS = "ai.voice.tts.status.{session_id}"
VOICES_LIST = "ai.voice.tts.voices.list"
VOICES_REFRESH = "ai.voice.tts.voices.refresh"
CONVERSATION_TEXT = "hearth.conversation.text.{session_id}"
CONVERSATION_TURN = "hearth.conversation.turn.{session_id}"
AUDIO_REPLICAS = "hearth.audio.replicas"
AUDIO_INTERRUPT = "hearth.audio.interrupt"
DOCUMENTS_INGEST = "hearth.documents.ingest"
DOCUMENTS_DELETE = "hearth.documents.delete"
DOCUMENTS_LIST = "hearth.documents.list"
PIPELINE_TRIGGER = "ai.pipeline.trigger"
PIPELINE_STATUS = "ai.pipeline.status.{request_id}"
PIPELINES_LIST = "hearth.pipelines.list"
PIPELINE_REPLICAS = "hearth.pipelines.replicas"
STATUS = "hearth.status"

_PUBLISHABLE = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_SUBJECT_BYTES = 1024


def subject_for(pattern: str, **tokens: str) -> str:
    """Return a pattern's concrete subject.

    Raises:
        InvalidRequestError: A token is empty or cannot stand in a subject; the message names it.
    """
    for name, token in tokens.items():
        if not is_publishable(token):
            raise InvalidRequestError(
                f"{name} {token[:64]!r} cannot stand in a subject: no space, '*', '>' or empty part",
                field=name,
            )
    return pattern.format(**tokens)


def is_publishable(subject: str) -> bool:
    """Say whether a message may be published on `subject`."""
    return (
        bool(_PUBLISHABLE.fullmatch(subject))
        and not _CONTROL.search(subject)
        and len(subject.encode()) <= _MAX_SUBJECT_BYTES
    )


def check_response_subject(subject: str, requests: Iterable[Subject] = REQUESTS) -> str:
    """Return a subject that a client chose for its answer.

    Raises:
        InvalidRequestError: Nothing can be published there, the server keeps it for itself, or requests arrive
            there, so that the answer would be read as a request.
    """
    if not is_publishable(subject) or subject.startswith("$"):
        raise InvalidRequestError(
            f"response_subject {subject[:64]!r} is not a subject that can be published on", field="response_subject"
        )
    if any(row.parameters(subject) is not None for row in requests):
        raise InvalidRequestError(
            f"response_subject {subject[:64]!r} is a subject that requests arrive on", field="response_subject"
        )
    return subject
