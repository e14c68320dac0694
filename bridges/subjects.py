"""The one table of subjects: every subject that Hearth speaks on, once, with what travels there and between whom.

What Hearth does with a request is in `bridges.requests`. Permissions (`bridges.permissions`) and the tables on the
pages (`bridges.subject_pages`) are made from this table. To add a subject, add a row here and to `SUBJECTS`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from google.protobuf.message import Message

from bridges.generated.hearth.v1 import audio_pb2, conversation_pb2, documents_pb2, pipelines_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import InvalidRequestError


class Direction(StrEnum):
    """From whom to whom the messages of a subject go."""

    REQUEST = "client → Hearth"
    ANSWER = "Hearth → client"
    INTERNAL = "between replicas"
    SERVER = "Hearth → NATS server"


class Role(StrEnum):
    """Who publishes and subscribes. Each is a NATS user of its own where an installation has permissions."""

    CLIENT = "client"
    """A program that asks, for whichever user."""
    USER = "client of one user"
    """A program that asks for one user and hears nothing that is for another one."""
    OPERATOR = "operator"
    """Whoever looks after an installation, with the NATS tools for instance."""
    NATS_INGRESS = "NatsIngress"
    """The deployment that takes requests."""
    AUDIO_INGRESS = "AudioIngress"
    """The deployment that takes live audio and texts to speak."""
    PIPELINES = "Pipelines"
    """The deployment that looks after pipeline runs."""
    SERVER = "NATS server"
    """The server itself, which needs no permission."""


class Delivery(StrEnum):
    """How messages of a subject reach who reads them."""

    CORE = "core"
    """Core NATS: every subscriber gets every message."""
    QUEUE_GROUP = "queue group"
    """Core NATS: one subscriber of the group gets a message, and nobody where the group is empty."""
    STREAM = "stream"
    """A JetStream stream keeps a copy of each message."""
    KEY_VALUE = "key-value republish"
    """The server publishes what is stored in a key-value bucket, in the moment in which it is stored."""
    SERVICE = "server request"
    """The NATS server takes the message itself: a JetStream request, an acknowledgement, a value to store."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A row of the table: a subject, or all that differ in their `{…}` tokens only.

    Attributes:
        pattern: The subject, with `{…}` for each token that varies.
        direction: From whom to whom its messages go.
        messages: What travels on it; none where it is no protobuf message, or any body will do.
        publishers: Who may publish.
        subscribers: Who may subscribe.
        about: A sentence for readers.
        delivery: How messages arrive.
        open_ended: Whether the last token may hold dots, as the name of an inbox does, or is taken as if it might: a
            server republishes what a bucket keeps by `>` alone.
        needs: The name of a bucket or stream without which nobody uses the subject; empty where its tokens say so.
    """

    pattern: str
    direction: Direction
    messages: tuple[type[Message], ...]
    publishers: frozenset[Role]
    subscribers: frozenset[Role]
    about: str
    delivery: tuple[Delivery, ...] = (Delivery.CORE,)
    open_ended: bool = False
    needs: str = ""

    @property
    def message_type(self) -> str:
        """The full name of the first message, empty where there is none."""
        return self.messages[0].DESCRIPTOR.full_name if self.messages else ""

    @property
    def wildcard(self) -> str:
        """The subject to subscribe to: `*` for each token that varies, `>` for a last one that may hold dots."""
        return self.narrowed()

    def narrowed(self, **names: str) -> str:
        """Return the wildcard for tokens that are known in part.

        Args:
            names: The known tokens by name. Others may be given, too.

        Raises:
            ValueError: A token that is not known stands inside a larger one, where NATS takes no wildcard.
        """
        filled = _TOKEN.sub(lambda found: names.get(found[1], found[0]), self.pattern)
        parts = filled.split(".")
        wild = ["*" if _TOKEN.fullmatch(part) else part for part in parts]
        if self.open_ended and _TOKEN.fullmatch(parts[-1]):
            wild[-1] = ">"
        if inside := _TOKEN.search(".".join(wild)):
            raise ValueError(f"{self.pattern}: {inside[1]} is not known, and NATS takes no wildcard inside of a token")
        return ".".join(wild)

    @property
    def inbox_prefix(self) -> str:
        """Of a row of inboxes: what stands before the last token, as the option of clients takes it."""
        return self.pattern.rpartition(".")[0]

    @property
    def tokens(self) -> frozenset[str]:
        """The names of the tokens that vary."""
        return frozenset(_TOKEN.findall(self.pattern))

    @property
    def key(self) -> str:
        """Of a subject inside a key-value bucket: the pattern of the key."""
        return self.pattern.split(".", 2)[2]

    def parameters(self, subject: str) -> dict[str, str] | None:
        """Return the varying tokens of a concrete subject, None where it is not of this pattern."""
        match = _expression(self.pattern, open_ended=self.open_ended).fullmatch(subject)
        return match.groupdict() if match else None


_TOKEN = re.compile(r"\{(\w+)\}")


@cache
def _expression(pattern: str, *, open_ended: bool) -> re.Pattern[str]:
    """Return what the concrete subjects of a row match, with a named group for each token."""
    literal = re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}")
    if open_ended:
        literal = re.sub(r"\{(\w+)\}$", r"(?P<\1>.+)", literal)
    return re.compile(_TOKEN.sub(r"(?P<\1>[^.]+)", literal))


_BOTH_INGRESSES = frozenset({Role.NATS_INGRESS, Role.AUDIO_INGRESS})
_ALL_REPLICAS = _BOTH_INGRESSES | {Role.PIPELINES}
_CLIENTS = frozenset({Role.CLIENT, Role.USER})
"""Who may send what names no user but that of the subject, nor a session: nobody can speak for another by it."""
_READERS = frozenset({Role.CLIENT, Role.OPERATOR})


def _request(
    pattern: str,
    message: type[Message] | None,
    taken_by: Role,
    about: str,
    delivery: tuple[Delivery, ...] = (Delivery.QUEUE_GROUP,),
    publishers: frozenset[Role] = frozenset({Role.CLIENT}),
) -> Subject:
    messages = (message,) if message else ()
    return Subject(pattern, Direction.REQUEST, messages, publishers, frozenset({taken_by}), about, delivery)


# Requests.

_OR_STREAM = (Delivery.QUEUE_GROUP, Delivery.STREAM)
"""Of requests that a stream keeps where the settings say so (`nats.durable.rows`)."""

CHAT_MESSAGE = _request(
    "ai.chat.user.{user_id}.message",
    messages_pb2.ChatRequest,
    Role.NATS_INGRESS,
    "A question of a user.",
    _OR_STREAM,
    _CLIENTS,
)
CHAT_REQUEST = _request(
    "ai.chat.request",
    messages_pb2.ChatRequest,
    Role.NATS_INGRESS,
    "The same on the subject that older clients use.",
    _OR_STREAM,
)
LOGIN = _request(
    "ai.chat.user.{user_id}.login",
    messages_pb2.LoginEvent,
    Role.NATS_INGRESS,
    "A user has come: what their first question needs is warmed up.",
    publishers=_CLIENTS,
)
GREETING_REQUEST = _request(
    "ai.chat.user.{user_id}.greeting.request",
    messages_pb2.GreetingRequest,
    Role.NATS_INGRESS,
    "Asks for a short greeting, which is empty if the model failed.",
    _OR_STREAM,
    _CLIENTS,
)
VOICE_REQUEST = _request(
    "ai.voice.request",
    messages_pb2.VoiceRequest,
    Role.NATS_INGRESS,
    "A recorded question. The response has its transcript, the answer, the sources and the spoken answer.",
    _OR_STREAM,
)
AUDIO_STREAM = _request(
    "ai.voice.stream.{session_id}",
    messages_pb2.STTStreamMessage,
    Role.AUDIO_INGRESS,
    'Live audio. Each replica hears its own sessions, and one hears all. A "start" with `conversation` is answered in '
    "text and sound, too.",
    (Delivery.CORE,),
)
SPEECH_REQUEST = _request(
    "ai.voice.tts.request.{session_id}",
    messages_pb2.TTSRequest,
    Role.AUDIO_INGRESS,
    "A text to speak: in chunks if `stream`, else in one message.",
)
VOICES_LIST = _request(
    "ai.voice.tts.voices.list", None, Role.AUDIO_INGRESS, "Asks for the voices. Any body will do.", publishers=_CLIENTS
)
VOICES_REFRESH = _request(
    "ai.voice.tts.voices.refresh",
    None,
    Role.AUDIO_INGRESS,
    "Has custom voices looked for again. Any body will do.",
    publishers=_CLIENTS,
)
PIPELINE_TRIGGER = _request(
    "ai.pipeline.trigger",
    messages_pb2.PipelineTrigger,
    Role.NATS_INGRESS,
    "Starts a run. Every change of it is told, until a final one. The stream keeps a trigger that its ingress loses.",
    (Delivery.QUEUE_GROUP, Delivery.STREAM),
    publishers=_CLIENTS,
)
PIPELINES_LIST = _request(
    "hearth.pipelines.list",
    pipelines_pb2.PipelineListRequest,
    Role.NATS_INGRESS,
    "Asks what may be started.",
    publishers=_CLIENTS,
)
DOCUMENTS_INGEST = _request(
    "hearth.documents.ingest",
    documents_pb2.IngestRequest,
    Role.NATS_INGRESS,
    "Puts a document, or a part of one, into a collection.",
    publishers=_CLIENTS,
)
DOCUMENTS_LIST = _request(
    "hearth.documents.list",
    documents_pb2.ListDocumentsRequest,
    Role.NATS_INGRESS,
    "Asks for the documents of a collection.",
    publishers=_CLIENTS,
)
DOCUMENTS_DELETE = _request(
    "hearth.documents.delete",
    documents_pb2.DeleteRequest,
    Role.NATS_INGRESS,
    "Takes a document out of a collection.",
    publishers=_CLIENTS,
)
STATUS = _request(
    "hearth.status",
    status_pb2.StatusRequest,
    Role.NATS_INGRESS,
    "Asks how the graph is.",
    publishers=_CLIENTS | _READERS,
)


def _discovery(pattern: str, about: str) -> Subject:
    return Subject(pattern, Direction.REQUEST, (), frozenset({Role.OPERATOR}), _BOTH_INGRESSES, about)


DISCOVERY = _discovery("$SRV.{verb}", "Asks all NATS micro services: `PING`, `INFO` or `STATS`.")
DISCOVERY_BY_NAME = _discovery("$SRV.{verb}.hearth", "Asks every ingress of Hearth.")
DISCOVERY_BY_ID = _discovery("$SRV.{verb}.hearth.{instance}", "Asks one ingress.")


def _answer(
    pattern: str,
    messages: tuple[type[Message], ...],
    publishers: frozenset[Role],
    about: str,
    *,
    subscribers: frozenset[Role] = frozenset({Role.CLIENT}),
    delivery: tuple[Delivery, ...] = (Delivery.CORE,),
    open_ended: bool = False,
) -> Subject:
    return Subject(pattern, Direction.ANSWER, messages, publishers, subscribers, about, delivery, open_ended)


# Answers.

CHAT_STREAM = _answer(
    "ai.chat.response.stream.{request_id}",
    (messages_pb2.ChatStreamChunk,),
    frozenset({Role.NATS_INGRESS}),
    "The answer as it is written, if `enable_streaming`.",
)
CHAT_RESPONSE = _answer(
    "ai.chat.response.{request_id}",
    (messages_pb2.ChatResponse,),
    frozenset({Role.NATS_INGRESS}),
    "The whole answer. It goes to `response_subject` instead where the request names one.",
)
GREETING_RESPONSE = _answer(
    "ai.chat.user.{user_id}.greeting.response",
    (messages_pb2.GreetingResponse,),
    frozenset({Role.NATS_INGRESS}),
    "The greeting.",
    subscribers=_CLIENTS,
)
VOICE_RESPONSE = _answer(
    "ai.voice.response.{request_id}",
    (messages_pb2.VoiceResponse,),
    frozenset({Role.NATS_INGRESS}),
    "The answer to a recorded question.",
)
TRANSCRIPTION = _answer(
    "ai.voice.transcription.{session_id}",
    (messages_pb2.STTTranscription, messages_pb2.STTInterrupt),
    frozenset({Role.AUDIO_INGRESS}),
    "Transcripts, partial and final, and interruptions.",
)
SPEECH_AUDIO = _answer(
    "ai.voice.tts.audio.{session_id}",
    (messages_pb2.TTSAudioChunk, messages_pb2.TTSFullResponse),
    frozenset({Role.AUDIO_INGRESS}),
    "Speech: chunks as they are made, or all of it in one message.",
)
SPEECH_STATUS = _answer(
    "ai.voice.tts.status.{session_id}",
    (messages_pb2.TTSStatus,),
    frozenset({Role.AUDIO_INGRESS}),
    "How speech to a session fares.",
)
CONVERSATION_TEXT = _answer(
    "hearth.conversation.text.{session_id}",
    (messages_pb2.ChatStreamChunk,),
    frozenset({Role.AUDIO_INGRESS}),
    "The text of a spoken answer as it is written.",
)
CONVERSATION_TURN = _answer(
    "hearth.conversation.turn.{session_id}",
    (conversation_pb2.TurnRecord,),
    _BOTH_INGRESSES,
    "What happened in a turn of a conversation, or in a recorded question (by its request id), and when.",
    subscribers=_READERS,
)
PIPELINE_STATUS = _answer(
    "ai.pipeline.status.{request_id}",
    (messages_pb2.PipelineStatus,),
    frozenset({Role.SERVER, Role.NATS_INGRESS}),
    "Each change of a run, told by the server when it is stored. The ingress tells a refusal that cannot be stored.",
    delivery=(Delivery.KEY_VALUE, Delivery.CORE),
    open_ended=True,
)
INBOX = _answer(
    "_INBOX.{inbox}",
    (),
    _ALL_REPLICAS | {Role.SERVER},
    "Reply subjects: the final message of a request goes here, too.",
    open_ended=True,
)
USER_INBOX = _answer(
    "_INBOX_USER.{user_id}.{inbox}",
    (),
    _ALL_REPLICAS | {Role.SERVER},
    "The same for who may hear nobody else's: a client of one user, or an operator.",
    subscribers=frozenset({Role.USER, Role.OPERATOR}),
    open_ended=True,
)


def _internal(pattern: str, message: type[Message], role: Role, about: str) -> Subject:
    """Return a row of messages among the replicas of one part."""
    return Subject(pattern, Direction.INTERNAL, (message,), frozenset({role}), frozenset({role}), about)


# Between replicas.

AUDIO_REPLICAS = _internal(
    "hearth.audio.replicas",
    audio_pb2.AudioReplica,
    Role.AUDIO_INGRESS,
    "Which live sessions a replica listens to, four times a second that it is there, and that it leaves.",
)
AUDIO_INTERRUPT = _internal(
    "hearth.audio.interrupt",
    audio_pb2.AudioInterruption,
    Role.AUDIO_INGRESS,
    "A session was interrupted: whoever does something for it stops, and says so on the reply subject.",
)
AUDIO_DISPATCH = _internal(
    "hearth.audio.dispatch.{replica}.{dispatcher}.{session_id}",
    messages_pb2.STTStreamMessage,
    Role.AUDIO_INGRESS,
    "The first messages of a new session, as they came, from the replica that hears all to the one that it belongs to.",
)
AUDIO_DISPATCHER = _internal(
    "hearth.audio.dispatcher.{replica}",
    audio_pb2.AudioDispatchRequest,
    Role.AUDIO_INGRESS,
    "To the replica that hears all: who wants to be passed on what is theirs, and what needs it no more. The server "
    "answers for a replica that is gone.",
)
PIPELINE_REPLICAS = _internal(
    "hearth.pipelines.replicas",
    pipelines_pb2.PipelineReplica,
    Role.PIPELINES,
    "That a replica looks after runs, every second, and that it leaves.",
)
REPLICA_INBOX = Subject(
    "_INBOX_HEARTH.{inbox}",
    Direction.INTERNAL,
    (),
    frozenset({Role.AUDIO_INGRESS, Role.SERVER}),
    _ALL_REPLICAS,
    "Reply subjects of replicas: what the server answers them, conversations that it keeps among it, and each other.",
    open_ended=True,
)


def _server(
    pattern: str, publishers: frozenset[Role], about: str, *, open_ended: bool = False, needs: str = ""
) -> Subject:
    return Subject(
        pattern,
        Direction.SERVER,
        (),
        publishers,
        frozenset({Role.SERVER}),
        about,
        (Delivery.SERVICE,),
        open_ended,
        needs,
    )


# To the NATS server, for what is kept in JetStream.

TRIGGERS_CONSUMER = "hearth"
"""The durable consumer of the stream that keeps triggers."""

_RUN_KEEPERS = frozenset({Role.NATS_INGRESS, Role.PIPELINES})
_PIPELINES_ONLY = frozenset({Role.PIPELINES})

CONVERSATION_VALUE = _server("$KV.{conversations_bucket}.{user}", _BOTH_INGRESSES, "Keeps the last turns of a user.")
RUN_VALUE = _server("$KV.{runs_bucket}.run.{run}", _PIPELINES_ONLY, "Keeps an unfinished run.")
STATUS_VALUE = _server(
    "$KV.{runs_bucket}.status.{request_id}",
    _RUN_KEEPERS,
    "Keeps the last status of a run, which the server then publishes to its client.",
    open_ended=True,
)
_CONVERSATIONS_API = (
    _server("$JS.API.STREAM.INFO.KV_{conversations_bucket}", _BOTH_INGRESSES, "Looks for the bucket of conversations."),
    _server("$JS.API.STREAM.CREATE.KV_{conversations_bucket}", _BOTH_INGRESSES, "Makes it if it does not exist."),
    _server("$JS.API.STREAM.MSG.GET.KV_{conversations_bucket}", _BOTH_INGRESSES, "Reads a value."),
    _server(
        "$JS.API.DIRECT.GET.KV_{conversations_bucket}.{key}",
        _BOTH_INGRESSES,
        "Reads a value of a bucket that allows direct reads.",
        open_ended=True,
    ),
)
_RUNS_API = (
    _server("$JS.API.STREAM.INFO.KV_{runs_bucket}", _RUN_KEEPERS, "Looks for the bucket of runs."),
    _server("$JS.API.STREAM.CREATE.KV_{runs_bucket}", _RUN_KEEPERS, "Makes it if it does not exist."),
    _server("$JS.API.STREAM.UPDATE.KV_{runs_bucket}", _RUN_KEEPERS, "Has it republish statuses where it does not."),
    _server("$JS.API.STREAM.MSG.GET.KV_{runs_bucket}", _RUN_KEEPERS, "Reads a value."),
    _server(
        "$JS.API.DIRECT.GET.KV_{runs_bucket}.{key}",
        _RUN_KEEPERS,
        "Reads a value of a bucket that allows direct reads.",
        open_ended=True,
    ),
    _server("$JS.API.CONSUMER.CREATE.KV_{runs_bucket}", _PIPELINES_ONLY, "Begins to list unfinished runs."),
    _server("$JS.API.CONSUMER.INFO.KV_{runs_bucket}.{consumer}", _PIPELINES_ONLY, "Asks how many there are."),
    _server(
        "$JS.FC.KV_{runs_bucket}.{consumer}",
        _PIPELINES_ONLY,
        "Keeps the list at a pace that it can be read at.",
        open_ended=True,
    ),
)
_TRIGGERS_API = (
    _server("$JS.API.STREAM.CREATE.{triggers_stream}", _PIPELINES_ONLY, "Makes the stream that keeps triggers."),
    _server("$JS.API.STREAM.UPDATE.{triggers_stream}", _PIPELINES_ONLY, "Gives it the present settings."),
    _server(
        f"$JS.API.CONSUMER.INFO.{{triggers_stream}}.{TRIGGERS_CONSUMER}", _PIPELINES_ONLY, "Looks for its consumer."
    ),
    _server(
        f"$JS.API.CONSUMER.CREATE.{{triggers_stream}}.{TRIGGERS_CONSUMER}.{PIPELINE_TRIGGER.pattern}",
        _PIPELINES_ONLY,
        "Makes the consumer if it does not exist.",
    ),
    _server(
        f"$JS.API.CONSUMER.MSG.NEXT.{{triggers_stream}}.{TRIGGERS_CONSUMER}", _PIPELINES_ONLY, "Takes kept triggers."
    ),
    _server(
        f"$JS.ACK.{{triggers_stream}}.{TRIGGERS_CONSUMER}.{{message}}",
        _PIPELINES_ONLY,
        "Says that something became of a trigger, or that it is to come again.",
        open_ended=True,
    ),
)

# For requests that are kept until they are answered (`nats.durable`).

REQUESTS_CONSUMER = "hearth-requests"
"""The durable consumer of each stream that keeps requests."""

_INGRESS_ONLY = frozenset({Role.NATS_INGRESS})
_OPERATOR_ONLY = frozenset({Role.OPERATOR})

CLAIM_VALUE = _server(
    "$KV.{answers_bucket}.claim.{request}", _INGRESS_ONLY, "Keeps who answers a request, and how far that went."
)
ASKER_VALUE = Subject(
    "$KV.{answers_bucket}.asker.{request}.{note}",
    Direction.SERVER,
    (),
    _INGRESS_ONLY,
    _INGRESS_ONLY | {Role.SERVER},
    "Keeps a reply subject of a request, or that it has none, which no stream does. All ingresses hear it, too.",
    (Delivery.SERVICE, Delivery.CORE),
)
TAKEN_VALUE = _server(
    "$KV.{answers_bucket}.taken.{note}", _INGRESS_ONLY, "Keeps for which of several equal requests one of these is."
)
SENT_VALUE = _server(
    "$KV.{answers_bucket}.sent.{request}", _INGRESS_ONLY, "Keeps how much of an answer its stream was told."
)
FINAL_VALUE = _server(
    "$KV.{answers_bucket}.final.{request}.{subject}",
    _INGRESS_ONLY,
    "Keeps the final message of a request, which the server then publishes on the subject that stands behind.",
    open_ended=True,
)
DEAD_LETTER = _server(
    "hearth.dead.{row}",
    _INGRESS_ONLY,
    "Keeps a request that was given up.",
    needs="dead_stream",
)

SENT_AGAIN = (CHAT_MESSAGE, CHAT_REQUEST, GREETING_REQUEST, VOICE_REQUEST)
"""What may be a dead letter one day: an operator sends that again, whoever's it is."""

SUBJECT_HEADER = "Hearth-Subject"
"""Of a dead letter, as the following ones: the subject that it was sent on."""
REASON_HEADER = "Hearth-Reason"
TIMES_HEADER = "Hearth-Times"
"""How often it was begun."""
SENT_AT_HEADER = "Hearth-Sent-At"
LEFT_OUT_HEADER = "Hearth-Bytes-Left-Out"
"""The size of a payload that had no room beside these headers."""
REPLAY_HEADER = "Hearth-Replay"
"""Of a dead letter that an operator sends again: it is another request than the one that was given up."""


def _requests_api(pattern: str, about: str, *, open_ended: bool = False) -> Subject:
    """Return a row for a stream that keeps requests: ours, or one that was there and has their subjects."""
    return _server(pattern, _INGRESS_ONLY, about, open_ended=open_ended, needs="requests_stream")


REQUESTS_NEXT = _requests_api(f"$JS.API.CONSUMER.MSG.NEXT.{{stream}}.{REQUESTS_CONSUMER}", "Takes kept requests.")
REQUESTS_CONSUMER_INFO = _requests_api(
    f"$JS.API.CONSUMER.INFO.{{stream}}.{REQUESTS_CONSUMER}", "Looks for the consumer of a stream, and for the time."
)
_DURABLE_API = (
    _requests_api("$JS.API.STREAM.NAMES", "Looks for streams that have the subjects of requests already."),
    _requests_api("$JS.API.STREAM.INFO.{stream}", "Asks how such a stream is set."),
    _server("$JS.API.STREAM.CREATE.{requests_stream}", _INGRESS_ONLY, "Makes the stream that keeps requests."),
    _server("$JS.API.STREAM.UPDATE.{requests_stream}", _INGRESS_ONLY, "Gives it the present settings."),
    REQUESTS_CONSUMER_INFO,
    _requests_api(f"$JS.API.CONSUMER.CREATE.{{stream}}.{REQUESTS_CONSUMER}", "Makes it, or gives it the settings."),
    REQUESTS_NEXT,
    _requests_api(
        f"$JS.ACK.{{stream}}.{REQUESTS_CONSUMER}.{{message}}",
        "Says that a request is worked on, or answered.",
        open_ended=True,
    ),
    _server("$JS.API.STREAM.CREATE.KV_{answers_bucket}", _INGRESS_ONLY, "Makes it if it does not exist."),
    _server("$JS.API.STREAM.UPDATE.KV_{answers_bucket}", _INGRESS_ONLY, "Gives it the present settings."),
    _server("$JS.API.STREAM.MSG.GET.KV_{answers_bucket}", _INGRESS_ONLY, "Reads a value."),
    _server("$JS.API.STREAM.CREATE.{dead_stream}", _INGRESS_ONLY, "Makes the stream of dead letters."),
    _server("$JS.API.STREAM.UPDATE.{dead_stream}", _INGRESS_ONLY, "Gives it the present settings."),
    _server(
        "$JS.API.STREAM.MSG.GET.{requests_stream}",
        _OPERATOR_ONLY,
        "Sees that a dead letter that was sent again is kept.",
    ),
    _server("$JS.API.STREAM.INFO.{dead_stream}", _OPERATOR_ONLY, "Looks for dead letters."),
    _server("$JS.API.STREAM.MSG.GET.{dead_stream}", _OPERATOR_ONLY, "Reads one."),
    _server("$JS.API.STREAM.MSG.DELETE.{dead_stream}", _OPERATOR_ONLY, "Takes one away."),
)

SUBJECTS: tuple[Subject, ...] = (
    CHAT_MESSAGE,
    CHAT_REQUEST,
    GREETING_REQUEST,
    LOGIN,
    VOICE_REQUEST,
    AUDIO_STREAM,
    SPEECH_REQUEST,
    VOICES_LIST,
    VOICES_REFRESH,
    PIPELINE_TRIGGER,
    PIPELINES_LIST,
    DOCUMENTS_INGEST,
    DOCUMENTS_LIST,
    DOCUMENTS_DELETE,
    STATUS,
    DISCOVERY,
    DISCOVERY_BY_NAME,
    DISCOVERY_BY_ID,
    CHAT_STREAM,
    CHAT_RESPONSE,
    GREETING_RESPONSE,
    VOICE_RESPONSE,
    TRANSCRIPTION,
    SPEECH_AUDIO,
    SPEECH_STATUS,
    CONVERSATION_TEXT,
    CONVERSATION_TURN,
    PIPELINE_STATUS,
    INBOX,
    USER_INBOX,
    AUDIO_REPLICAS,
    AUDIO_INTERRUPT,
    AUDIO_DISPATCH,
    AUDIO_DISPATCHER,
    PIPELINE_REPLICAS,
    REPLICA_INBOX,
    CONVERSATION_VALUE,
    RUN_VALUE,
    STATUS_VALUE,
    *_CONVERSATIONS_API,
    *_RUNS_API,
    *_TRIGGERS_API,
    CLAIM_VALUE,
    ASKER_VALUE,
    TAKEN_VALUE,
    SENT_VALUE,
    FINAL_VALUE,
    DEAD_LETTER,
    *_DURABLE_API,
)

_PUBLISHABLE = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(\.[^\s.*>\x00-\x1f\x7f]+)*")
_MAX_SUBJECT_BYTES = 1024


def subject_for(subject: Subject, **tokens: str) -> str:
    """Return a row's concrete subject.

    Raises:
        InvalidRequestError: A token is empty or cannot stand in a subject, or is too long for it; the message names it.
    """
    for name, token in tokens.items():
        if not is_token(token):
            raise InvalidRequestError(
                f"{name} {token[:64]!r} cannot stand in a subject: no space, '.', '*' or '>', and not empty",
                field=name,
            )
    concrete = subject.pattern.format(**tokens)
    if not is_publishable(concrete):
        name, token = max(tokens.items(), key=lambda item: len(item[1].encode()))
        raise InvalidRequestError(
            f"{name} {token[:64]!r}… is too long: a subject has at most {_MAX_SUBJECT_BYTES} bytes", field=name
        )
    return concrete


def is_token(text: str) -> bool:
    """Say whether a text can be one token of a subject, as the ids of requests and sessions have to be."""
    return is_publishable(text) and "." not in text


def own_subjects(rows: Iterable[Subject], tokens: Mapping[str, str]) -> frozenset[str]:
    """Return the concrete subjects of rows whose tokens are all known and can stand in a subject."""
    known = {name: token for name, token in tokens.items() if is_token(token)}
    concrete = (row.pattern.format(**known) for row in rows if row.tokens <= known.keys())
    return frozenset(subject for subject in concrete if is_publishable(subject))


def is_publishable(subject: str) -> bool:
    """Say whether a message may be published on `subject`."""
    return bool(_PUBLISHABLE.fullmatch(subject)) and len(subject.encode()) <= _MAX_SUBJECT_BYTES


def may_be_answered(subject: str) -> bool:
    """Say whether Hearth publishes an answer on a subject that a client chose.

    It does not where the server keeps the subject for itself, where requests arrive, so that the answer would be read
    as one, where dead letters are kept, and where replicas speak among themselves. Hearth may publish there, its
    clients may not.
    """
    return is_publishable(subject) and not subject.startswith("$") and not _closed_to_answers().fullmatch(subject)


def is_closed_to_answers(wildcard: str) -> bool:
    """Say whether Hearth answers on none of the subjects that one with NATS's wildcards matches."""
    return any(covers(row.wildcard, wildcard) for row in _closed_rows())


def covers(wide: str, narrow: str) -> bool:
    """Say whether a subject with wildcards matches all that another one matches."""
    wides, narrows = wide.split("."), narrow.split(".")
    if wides[-1] == ">":
        wides = [*wides[:-1], *["*"] * (len(narrows) - len(wides)), ">"]
    return len(wides) == len(narrows) and all(
        one in (">", other) or (one == "*" and other != ">") for one, other in zip(wides, narrows, strict=True)
    )


def _closed_rows() -> list[Subject]:
    return [row for row in SUBJECTS if row.direction in (Direction.REQUEST, Direction.INTERNAL) or row is DEAD_LETTER]


@cache
def _closed_to_answers() -> re.Pattern[str]:
    expressions = [_expression(row.pattern, open_ended=row.open_ended).pattern for row in _closed_rows()]
    # The names of groups stand more than once.
    return re.compile("|".join(re.sub(r"\?P<\w+>", "?:", expression) for expression in expressions))
