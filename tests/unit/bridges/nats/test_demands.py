"""How much one request may hold, and what it asks for."""

import base64
from typing import Any

import pytest
from google.protobuf.message import Message

from bridges.generated.hearth.v1 import documents_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.demands import Demand, Named, NameKind, check_sizes, demand_of
from deployments.errors import InvalidRequestError, Limit
from deployments.settings.users import RequestSizes
from tests.refusals import refused

SIZES = RequestSizes(
    question_characters=10,
    system_prompt_characters=20,
    document_characters=30,
    name_characters=5,
    voice_sample_bytes=30,
)


@pytest.mark.parametrize(
    ("largest", "field", "limit", "most"),
    [
        (messages_pb2.ChatRequest(message="x" * 10), "message", "question_characters", 10),
        (messages_pb2.ChatRequest(query="x" * 10), "query", "question_characters", 10),
        (messages_pb2.ChatRequest(system_prompt="é" * 20), "system_prompt", "system_prompt_characters", 20),
        (messages_pb2.ChatRequest(user_id="x" * 5), "user_id", "name_characters", 5),
        (messages_pb2.ChatRequest(collection="x" * 5), "collection", "name_characters", 5),
        (messages_pb2.VoiceRequest(language="x" * 5), "language", "name_characters", 5),
        (messages_pb2.VoiceRequest(collection="x" * 5), "collection", "name_characters", 5),
        (messages_pb2.TTSRequest(speaker="x" * 5), "speaker", "name_characters", 5),
        (messages_pb2.TTSRequest(language="x" * 5), "language", "name_characters", 5),
        (documents_pb2.IngestRequest(text="x" * 30), "text", "document_characters", 30),
        (documents_pb2.IngestRequest(source="x" * 5), "source", "name_characters", 5),
        (documents_pb2.IngestRequest(title="x" * 5), "title", "name_characters", 5),
        (documents_pb2.IngestRequest(collection="x" * 5), "collection", "name_characters", 5),
        (documents_pb2.DeleteRequest(source="x" * 5), "source", "name_characters", 5),
        (documents_pb2.DeleteRequest(collection="x" * 5), "collection", "name_characters", 5),
        (documents_pb2.ListDocumentsRequest(collection="x" * 5), "collection", "name_characters", 5),
    ],
)
def test_a_field_is_taken_up_to_its_limit_and_named_beyond_it(
    largest: Message, field: str, limit: str, most: int
) -> None:
    check_sizes(largest, SIZES)
    setattr(largest, field, getattr(largest, field) + "x")
    with refused(InvalidRequestError, field=field, limit=Limit(f"nats.sizes.{limit}", most, most + 1)):
        check_sizes(largest, SIZES)


def test_a_voice_sample_is_measured_as_the_sound_that_it_is() -> None:
    sample = messages_pb2.TTSRequest(speaker_wav_b64=base64.b64encode(bytes(30)).decode())
    check_sizes(sample, SIZES)
    sample.speaker_wav_b64 = base64.b64encode(bytes(33)).decode()
    with refused(InvalidRequestError, field="speaker_wav_b64", limit=Limit("nats.sizes.voice_sample_bytes", 30, 33)):
        check_sizes(sample, SIZES)


def test_what_a_server_s_usual_messages_can_hold_is_not_refused_as_shipped() -> None:
    mebibyte = "x" * (1 << 20)
    for request in (
        messages_pb2.ChatRequest(message=mebibyte, system_prompt=mebibyte),
        documents_pb2.IngestRequest(text=mebibyte),
        messages_pb2.TTSRequest(speaker_wav_b64=mebibyte),
    ):
        check_sizes(request, RequestSizes())


COLLECTION = (Named(NameKind.COLLECTION, "collection", "c"),)


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (messages_pb2.ChatRequest(message="why", query="ignored"), Demand(3, "message")),
        (messages_pb2.ChatRequest(message=" ", query="why"), Demand(3, "message")),
        (messages_pb2.ChatRequest(message="why", system_prompt="Be brief."), Demand(12, "system_prompt")),
        (messages_pb2.ChatRequest(collection="c", enable_rag=True), Demand(0, "message", names=COLLECTION)),
        (messages_pb2.ChatRequest(collection="c"), Demand(0, "message")),
        (messages_pb2.VoiceRequest(audio=b"1", collection="c"), Demand(has_sound=True, names=COLLECTION)),
        (
            messages_pb2.TTSRequest(text="Hello", speaker="ann"),
            Demand(5, "text", names=(Named(NameKind.VOICE, "speaker", "ann"),)),
        ),
        (
            messages_pb2.PipelineTrigger(pipeline="p"),
            Demand(names=(Named(NameKind.PIPELINE, "pipeline", "p"),)),
        ),
        (
            documents_pb2.IngestRequest(text="words", title="t", collection="c"),
            Demand(ingested_characters=6, names=COLLECTION, ingests=True),
        ),
        (documents_pb2.DeleteRequest(collection="c"), Demand(names=COLLECTION, deletes=True)),
        (documents_pb2.ListDocumentsRequest(collection="c"), Demand(names=COLLECTION)),
        (messages_pb2.STTStreamMessage(type="start"), Demand(has_sound=True)),
        (status_pb2.StatusRequest(), Demand()),
        (None, Demand()),
    ],
)
def test_what_a_request_asks_for(request_: Message | None, asked: Demand) -> None:
    assert demand_of(request_) == asked


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        ({"collection": "c", "voice": "ann"}, {("conversation.collection", "c"), ("conversation.voice", "ann")}),
        ({"collection": "c", "without_documents": True}, {("conversation.voice", "")}),
    ],
)
def test_what_a_conversation_names(terms: dict[str, Any], names: set[tuple[str, str]]) -> None:
    start = messages_pb2.STTStreamMessage(type="start", conversation=terms)
    assert {(named.field, named.name) for named in demand_of(start).names} == names
