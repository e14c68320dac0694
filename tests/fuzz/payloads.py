"""What is sent: messages as clients send them, and what becomes of them when bits fall over."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from google.protobuf.message import Message

from bridges.generated.hearth.v1 import conversation_pb2, documents_pb2, pipelines_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2

FOUND = Path(__file__).parent / "found.txt"
"""Payloads that once did harm: a subject and a payload on each line, in hexadecimal. Each run begins with them."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A message to be sent.

    Attributes:
        subject: Where. It may hold bytes that are no text.
        data: The payload.
        headers: Of NATS, as they stand on the wire; empty for none.
        is_answered: Whether it has an answer on its reply subject in any case.
    """

    subject: bytes
    data: bytes
    headers: bytes = b""
    is_answered: bool = True


def _sound(kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    samples = np.sin(np.arange(1600) / 5).astype(np.float32) / 2
    soundfile.write(file, samples, 16_000, format=kind, subtype=subtype)
    return file.getvalue()


CONTAINERS = (
    _sound("WAV"),
    _sound("WAV", "FLOAT"),
    _sound("WAV", "PCM_24"),
    _sound("WAV", "ULAW"),
    _sound("FLAC"),
    _sound("OGG", "VORBIS"),
    _sound("AIFF"),
    b"RIFF",
    b"",
)
_PCM = (np.sin(np.arange(800) / 5) * 9000).astype("<i2").tobytes()

SEEDS: Sequence[tuple[str, Message]] = (
    ("ai.chat.request", messages_pb2.ChatRequest(
        request_id="r1", user_id="u1", message="Hi", query="?", enable_rag=True, enable_reranker=True, top_k=3,
        enable_streaming=True, collection="c", system_prompt="s", response_subject="ai.chat.response.r1",
        enable_tts=True,
    )),
    ("ai.chat.user.u1.message", messages_pb2.ChatRequest(request_id="r2", message="Hello there", enable_rag=True)),
    ("ai.chat.user.u1.greeting.request", messages_pb2.GreetingRequest(user_id="u1", username="a", nickname="Anna")),
    ("ai.chat.user.u1.login", messages_pb2.LoginEvent(user_id="u1", username="anna", timestamp=1_700_000_000)),
    *(
        ("ai.voice.request", messages_pb2.VoiceRequest(request_id="v1", audio=sound, language="en", collection="c"))
        for sound in CONTAINERS
    ),
    ("ai.voice.stream.s1", messages_pb2.STTStreamMessage(
        type="start", user_id="u1", sample_rate=16_000, channels=1,
        conversation=conversation_pb2.ConversationRequest(),
    )),
    ("ai.voice.stream.s1", messages_pb2.STTStreamMessage(type="chunk", audio=_PCM)),
    ("ai.voice.stream.s1", messages_pb2.STTStreamMessage(type="chunk", audio=CONTAINERS[0])),
    ("ai.voice.stream.s1", messages_pb2.STTStreamMessage(type="state_change", state="responding")),
    ("ai.voice.stream.s1", messages_pb2.STTStreamMessage(type="end")),
    ("ai.voice.tts.request.s2", messages_pb2.TTSRequest(text="Hello.", speaker="v", language="en", stream=True)),
    ("ai.voice.tts.request.s2", messages_pb2.TTSRequest(
        text="Hello.", speaker_wav_b64=base64.b64encode(CONTAINERS[0]).decode()
    )),
    ("ai.pipeline.trigger", messages_pb2.PipelineTrigger(
        request_id="p1", pipeline="rag-query", parameters={"query": "x", "filter": '{"a": [1]}', "top_k": "3"}
    )),
    ("hearth.pipelines.list", pipelines_pb2.PipelineListRequest()),
    ("hearth.documents.ingest", documents_pb2.IngestRequest(
        source="a.md", text="# A\n\nText of a.", title="A", format=documents_pb2.TEXT_FORMAT_MARKDOWN, digest="d",
        collection="c", position=documents_pb2.IngestPosition(chunk_index=1, headings=["A"], version="0" * 32),
        more_follows=True,
    )),
    ("hearth.documents.ingest", documents_pb2.IngestRequest(source="b.txt", text="Words. " * 400)),
    ("hearth.documents.delete", documents_pb2.DeleteRequest(source="a.md")),
    ("hearth.documents.list", documents_pb2.ListDocumentsRequest(prefix="00")),
    ("hearth.status", status_pb2.StatusRequest()),
    ("ai.voice.tts.voices.list", status_pb2.StatusRequest()),
    ("ai.voice.tts.voices.refresh", status_pb2.StatusRequest()),
)  # fmt: skip

_HEADERS = (
    b"NATS/1.0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0\r\nbaggage: a=b\r\nno colon\r\n: no name\r\n\r\n",
)
_WORDS = (
    "", "\x00", "a" * 5000, "\u2028", "\ufeff", "\U0001f600", "<|im_start|>", "../..", "*", ">", "a.b", "$JS.API.INFO",
    "_INBOX.x", "[" * 3000, "nan", "-1", "9" * 400, "\x1b[2J", "\u202e", "é",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 255, 8000, 384_000)


def found() -> list[Payload]:
    """Return the payloads that once did harm."""
    lines = FOUND.read_text(encoding="utf-8").splitlines() if FOUND.exists() else []
    told = [line.split() for line in lines if line and not line.startswith("#")]
    return [_payload(bytes.fromhex(subject), bytes.fromhex(data[0]) if data else b"") for subject, *data in told]


def line_for(payload: Payload) -> str:
    """Return the line of `found.txt` for a payload."""
    return f"{payload.subject.hex()} {payload.data.hex()}".rstrip()


def drawn(random: Random) -> Payload:
    """Return a payload like none that a client sends."""
    subject, message = random.choice(SEEDS)
    change = random.choice((_with_other_bytes, _with_other_fields, _with_other_fields, _as_it_is))
    return _payload(_subject(subject, random), change(message, random), _headers(random))


def _payload(subject: bytes, data: bytes, headers: bytes = b"") -> Payload:
    silent = subject.startswith(b"ai.voice.stream.") or subject.endswith(b".login")
    return Payload(subject, data, headers, is_answered=not silent)


def _subject(subject: str, random: Random) -> bytes:
    """Return a subject, now and then with another token in the place of an id."""
    encoded = subject.encode()
    if random.random() < 0.9 or not (token := _token(encoded)):
        return encoded
    made = bytes(random.choice(_TOKEN_BYTES) for _ in range(random.choice((1, 1, 2, 8, 64, 900))))
    return encoded.replace(token, b"." + made, 1)


_TOKEN_BYTES = bytes(byte for byte in range(0x21, 0x100) if byte not in b".")


def _token(subject: bytes) -> bytes:
    return next((token for token in (b".u1", b".s1", b".s2") if token in subject), b"")


def _headers(random: Random) -> bytes:
    if random.random() < 0.95:
        return b""
    return _mutated(random.choice(_HEADERS), random) if random.random() < 0.5 else random.choice(_HEADERS)


def _as_it_is(message: Message, random: Random) -> bytes:
    del random
    return message.SerializeToString()


def _with_other_bytes(message: Message, random: Random) -> bytes:
    return _mutated(message.SerializeToString(), random)


def _with_other_fields(message: Message, random: Random) -> bytes:
    """Return a message that can be read, with strange values in it."""
    changed = type(message)()
    changed.CopyFrom(message)
    for field in changed.DESCRIPTOR.fields:
        if random.random() < 0.6 or field.is_repeated or field.message_type:
            continue
        value = getattr(changed, field.name)
        setattr(changed, field.name, _other(value, random))
    return changed.SerializeToString()


def _other(value: object, random: Random) -> object:
    makers: dict[type, Callable[[], object]] = {
        bool: lambda: not value,
        int: lambda: random.choice(_NUMBERS),
        float: lambda: random.choice((float("nan"), float("inf"), -1.0, 1e308)),
        bytes: lambda: _mutated(bytes(value) if isinstance(value, bytes) else b"", random),
        str: lambda: random.choice((*_WORDS, _text(random))),
    }
    return makers[type(value)]() if type(value) in makers else value


def _text(random: Random) -> str:
    return "".join(chr(random.choice((random.randrange(1, 128), random.randrange(160, 0xD7FF)))) for _ in range(20))


def _mutated(payload: bytes, random: Random) -> bytes:
    """Return bytes with some of them changed, lost, doubled or made up."""
    data = bytearray(payload)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        match random.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << random.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = random.randbytes(random.randint(1, 8))
            case 3:
                data[at:at] = data[: random.randint(0, min(64, len(data)))]
            case _:
                data[at : at + 4] = random.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"))
    return bytes(data)
