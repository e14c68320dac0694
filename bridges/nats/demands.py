"""What a request asks for: how much it brings, what it names, what it is to change."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import singledispatch

from google.protobuf.message import Message

from bridges.generated.hearth.v1 import documents_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import InvalidRequestError, Limit
from deployments.settings.users import RequestSizes

_BASE64_CHARACTERS = 4
_BASE64_BYTES = 3


class NameKind(StrEnum):
    """What a name names, as the settings of a user call it."""

    COLLECTION = "collections"
    VOICE = "voices"
    PIPELINE = "pipelines"


@dataclass(frozen=True, slots=True)
class Named:
    """Something that a request names.

    Attributes:
        kind: What it is.
        field: Where it is named.
        name: Its name; empty for the default one.
    """

    kind: NameKind
    field: str
    name: str


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks for, as far as a user may be limited in it.

    Attributes:
        characters: Of its question and system prompt, or of its text to speak.
        text_field: The field that has most of them.
        ingested_characters: Of a document.
        has_sound: Whether it brings sound, whose length is known only when it is decoded.
        names: What it uses of what can be named.
        ingests: Whether it puts a document in.
        deletes: Whether it takes one out.
        user: The user that it says it is of; empty where it names none.
    """

    characters: int = 0
    text_field: str = ""
    ingested_characters: int = 0
    has_sound: bool = False
    names: tuple[Named, ...] = ()
    ingests: bool = False
    deletes: bool = False
    user: str = ""


@singledispatch
def demand_of(request: object) -> Demand:
    """Return what a decoded request asks for; nothing where it is one that nobody is limited in."""
    del request
    return Demand()


@demand_of.register
def _of_question(request: messages_pb2.ChatRequest) -> Demand:
    question = request.message if request.message.strip() else request.query
    return Demand(
        len(question) + len(request.system_prompt),
        "message" if len(question) >= len(request.system_prompt) else "system_prompt",
        names=_collection(request.collection) if request.enable_rag else (),
        user=request.user_id,
    )


@demand_of.register
def _of_greeting(request: messages_pb2.GreetingRequest) -> Demand:
    return Demand(user=request.user_id)


@demand_of.register
def _of_login(event: messages_pb2.LoginEvent) -> Demand:
    return Demand(user=event.user_id)


@demand_of.register
def _of_recording(request: messages_pb2.VoiceRequest) -> Demand:
    return Demand(has_sound=True, names=_collection(request.collection))


@demand_of.register
def _of_text(request: messages_pb2.TTSRequest) -> Demand:
    return Demand(len(request.text), "text", names=(Named(NameKind.VOICE, "speaker", request.speaker),))


@demand_of.register
def _of_trigger(request: messages_pb2.PipelineTrigger) -> Demand:
    return Demand(names=(Named(NameKind.PIPELINE, "pipeline", request.pipeline),))


@demand_of.register
def _of_document(request: documents_pb2.IngestRequest) -> Demand:
    characters = len(request.text) + len(request.title)
    return Demand(ingested_characters=characters, names=_collection(request.collection), ingests=True)


@demand_of.register
def _of_deletion(request: documents_pb2.DeleteRequest) -> Demand:
    return Demand(names=_collection(request.collection), deletes=True)


@demand_of.register
def _of_listing(request: documents_pb2.ListDocumentsRequest) -> Demand:
    return Demand(names=_collection(request.collection))


@demand_of.register
def _of_session(start: messages_pb2.STTStreamMessage) -> Demand:
    if not start.HasField("conversation"):
        return Demand(has_sound=True)
    terms = start.conversation
    searched = () if terms.without_documents else _collection(terms.collection, "conversation.collection")
    return Demand(
        len(terms.system_prompt),
        "conversation.system_prompt",
        has_sound=True,
        names=(*searched, Named(NameKind.VOICE, "conversation.voice", terms.voice)),
    )


def _collection(name: str, field: str = "collection") -> tuple[Named, ...]:
    return (Named(NameKind.COLLECTION, field, name),)


def check_sizes(request: Message | None, sizes: RequestSizes) -> None:
    """Check that a decoded request holds no more than one may.

    Raises:
        InvalidRequestError: It does; the error has the field, its size and the limit.
    """
    for field, limit, size in _sized(request):
        most = int(getattr(sizes, limit))
        if size > most:
            unit = limit.rpartition("_")[2]
            raise InvalidRequestError(
                f"{field} has {size} {unit}: at most {most} are taken",
                field=field,
                limit=Limit(f"nats.sizes.{limit}", most, size),
            )


def _sized(request: Message | None) -> Iterator[tuple[str, str, int]]:
    """Yield each field of a request that makes work or memory, the limit that it has, and its size.

    What is not here has limits of its own: ids by the length of a subject, parameters by their pipeline, recordings by
    their seconds, texts to speak by `speech.max_characters`; the names of a greeting are cut.
    """
    match request:
        case messages_pb2.ChatRequest():
            yield "message", "question_characters", len(request.message)
            yield "query", "question_characters", len(request.query)
            yield "system_prompt", "system_prompt_characters", len(request.system_prompt)
            yield from _names(request, "user_id", "collection")
        case messages_pb2.VoiceRequest():
            yield from _names(request, "language", "collection")
        case messages_pb2.TTSRequest():
            yield from _names(request, "speaker", "language")
            sample = len(request.speaker_wav_b64) // _BASE64_CHARACTERS * _BASE64_BYTES
            yield "speaker_wav_b64", "voice_sample_bytes", sample
        case documents_pb2.IngestRequest():
            yield "text", "document_characters", len(request.text)
            yield from _names(request, "source", "title", "collection")
        case documents_pb2.DeleteRequest():
            yield from _names(request, "source", "collection")
        case documents_pb2.ListDocumentsRequest():
            yield from _names(request, "collection")
        case _:
            return


def _names(request: Message, *fields: str) -> Iterator[tuple[str, str, int]]:
    for field in fields:
        yield field, "name_characters", len(getattr(request, field))
