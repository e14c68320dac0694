"""A client of the shipped graph: it waits until the graph is ready, puts documents in, and talks."""

import asyncio
import sys
import time
from collections.abc import Iterable

import numpy as np
import soxr
from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient, decoded
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.files.naming import name_files
from bridges.command_line.sound.saying import say, sound_of, unheard
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_STREAM, CONVERSATION_TURN, SPEECH_AUDIO, TRANSCRIPTION, subject_for
from deployments.errors import UnavailableError
from deployments.values.sound import SPEECH_RATE, samples_of
from tests.benchmarks.question_sets import small_document

CHUNK_S = 0.04
AUDIBLE = 0.02
_WAIT_S = 60.0
_READY_S = 240.0


class Session:
    """One live session of one question."""

    def __init__(self, client: HearthClient, session_id: str) -> None:
        self._client = client
        self.id = session_id
        self.final = asyncio.Event()
        self.transcript = ""
        self.final_at = 0.0
        self.first_sound_at = 0.0
        self.sound = bytearray()
        self.rate = 0
        self.is_last = asyncio.Event()
        self.record = asyncio.Event()
        self.turn = conversation_pb2.TurnRecord()

    async def listen(self) -> list[object]:
        connection = self._client.connection
        return [
            await connection.subscribe(subject_for(TRANSCRIPTION, session_id=self.id), cb=self._transcribed),
            await connection.subscribe(subject_for(SPEECH_AUDIO, session_id=self.id), cb=self._spoke),
            await connection.subscribe(subject_for(CONVERSATION_TURN, session_id=self.id), cb=self._turn_over),
        ]

    async def _transcribed(self, message: Msg) -> None:
        transcript = decoded(messages_pb2.STTTranscription, message)
        if transcript.is_final:
            self.transcript, self.final_at = transcript.transcript, time.monotonic()
            self.final.set()

    async def _spoke(self, message: Msg) -> None:
        chunk = decoded(messages_pb2.TTSAudioChunk, message)
        pcm = sound_of(chunk)
        if pcm:
            self.first_sound_at = self.first_sound_at or time.monotonic()
            self.rate = chunk.sample_rate
        self.sound += pcm
        if chunk.is_last:
            self.is_last.set()

    async def _turn_over(self, message: Msg) -> None:
        self.turn = decoded(conversation_pb2.TurnRecord, message)
        self.record.set()

    async def speak(self, pcm: bytes, until: asyncio.Event, **start: object) -> float:
        """Say something into the session at its pace, then silence until an event; return when speech ended."""
        await self._send(type="start", **start)
        size = int(SPEECH_RATE * CHUNK_S) * 2
        audible = np.flatnonzero(np.abs(samples_of(pcm)) > AUDIBLE)
        began, at = time.monotonic(), 0
        ended_at = began + (int(audible[-1]) + 1) / SPEECH_RATE
        while not until.is_set():
            piece = pcm[at : at + size]
            at += size
            await asyncio.sleep(max(0.0, began + at / 2 / SPEECH_RATE - time.monotonic()))
            await self._send(type="chunk", audio=piece + bytes(size - len(piece)))
            if time.monotonic() - ended_at > _WAIT_S:
                raise TimeoutError(f"session {self.id}: nothing came")
        return ended_at

    async def end(self) -> None:
        await self._send(type="end")

    async def _send(self, **fields: object) -> None:
        message = messages_pb2.STTStreamMessage(**fields)  # pyright: ignore[reportArgumentType]
        await self._client.connection.publish(
            subject_for(AUDIO_STREAM, session_id=self.id), message.SerializeToString()
        )


async def until_ready(client: HearthClient) -> None:
    """Return once the graph answers and speaks; it cannot be waited for but by asking."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        try:
            if (await client.status(5)).ready and await client.voices(5):
                return
        except UnavailableError as error:
            print(f"waiting: {error}", file=sys.stderr)
        await asyncio.sleep(0.5)
    raise UnavailableError(f"the graph did not get ready within {_READY_S:g} s")


async def ingest(client: HearthClient, kinds: Iterable[str]) -> dict[str, str]:
    """Ingest small documents, each into a collection of its own; return the collections by document."""
    collections: dict[str, str] = {}
    for kind in sorted(set(kinds)):
        files, base = small_document(kind)
        collections[kind] = f"spoken_{kind.replace('.', '_')}"
        summary = IngestSummary()
        named = name_files(files, [base], prefix="").files
        await ingest_files(client, named, IngestOptions(collections[kind], _WAIT_S), summary, Unobserved())
        assert not summary.failed, summary.failed
    return collections


async def spoken(client: HearthClient, text: str, voice: str = "") -> bytes:
    """Have the graph say a text; return its sound as a microphone would send it."""
    said = await say(client, messages_pb2.TTSRequest(text=text, speaker=voice), _WAIT_S, unheard)
    return at_speech_rate(said.pcm, said.rate)


def at_speech_rate(pcm: bytes, rate: int) -> bytes:
    return (soxr.resample(samples_of(pcm), rate, SPEECH_RATE) * 32_767).astype("<i2").tobytes()
