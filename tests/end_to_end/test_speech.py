"""Hearing and speaking through NATS, as clients of the old services do: real models, real voice activity, real Ray."""

import asyncio
import io
import json
import struct
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import soxr
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from deployments.values.sound import SPEECH_RATE, pcm_of, samples_of
from tests.end_to_end.command import hearth
from tests.end_to_end.conftest import Graph
from tests.end_to_end.raw_client import RawClient, decode, encode_request

QUESTION = "How long does the remote site keep monthly snapshots?"
WAIT_S = 30.0


@dataclass
class Heard:
    """Everything that came back for one session, in order."""

    messages: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def add(self, message: Msg) -> None:
        async with self.changed:
            self.messages.append((message.subject, message.data))
            self.changed.notify_all()

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(happened)

    def on(self, kind: str, message: Any) -> list[Any]:
        return [message.FromString(data) for subject, data in self.messages if f".{kind}." in subject]

    @property
    def transcripts(self) -> list[messages_pb2.STTTranscription]:
        found = self.on("transcription", messages_pb2.STTTranscription)
        return [one for one in found if one.transcript != "interrupt"]

    @property
    def finals(self) -> list[str]:
        return [one.transcript for one in self.transcripts if one.is_final]

    @property
    def chunks(self) -> list[messages_pb2.TTSAudioChunk]:
        return self.on("tts.audio", messages_pb2.TTSAudioChunk)

    @property
    def statuses(self) -> list[str]:
        return [one.status for one in self.on("tts.status", messages_pb2.TTSStatus)]


class Session:
    """One session of a client."""

    def __init__(self, connection: Client) -> None:
        self.id = f"session-{uuid4().hex}"
        self.heard = Heard()
        self._connection = connection

    async def open(self) -> "Session":
        for subject in ("transcription", "tts.audio", "tts.status"):
            await self._connection.subscribe(f"ai.voice.{subject}.{self.id}", cb=self.heard.add)
        await self._connection.flush()
        return self

    async def send(self, **fields: Any) -> None:
        message = messages_pb2.STTStreamMessage(**fields)
        await self._connection.publish(f"ai.voice.stream.{self.id}", message.SerializeToString())

    async def say(self, **fields: Any) -> None:
        request = messages_pb2.TTSRequest(**fields)
        await self._connection.publish(f"ai.voice.tts.request.{self.id}", request.SerializeToString())

    async def spoken(self, text: str) -> tuple[bytes, int]:
        """Have a text said and return its PCM and rate."""
        await self.say(text=text, stream=True)
        await self.heard.until(lambda: "completed" in self.heard.statuses)
        wav = b"".join(chunk.audio for chunk in self.heard.chunks)
        return wav[44:], self.heard.chunks[0].sample_rate

    async def hear(self, pcm: bytes, chunk_bytes: int = 6400, **fields: int) -> None:
        for at in range(0, len(pcm), chunk_bytes):
            await self.send(type="chunk", audio=pcm[at : at + chunk_bytes], **fields)


@pytest.fixture
async def session(connection: Client) -> Session:
    return await Session(connection).open()


@pytest.fixture(scope="session")
def question_pcm() -> list[bytes]:
    """Hold the question as PCM at 16 kHz, once somebody has had it spoken."""
    return []


async def question(connection: Client, kept: list[bytes]) -> bytes:
    if not kept:
        pcm, rate = await (await Session(connection).open()).spoken(QUESTION)
        kept.append(pcm_of(soxr.resample(samples_of(pcm), rate, SPEECH_RATE)))
    return kept[0]


class TestSpeech:
    async def test_a_streamed_text_is_one_wav_file_in_chunks(self, session: Session) -> None:
        await session.say(text="Hello there. This is **Hearth** speaking.", stream=True)
        await session.heard.until(lambda: "completed" in session.heard.statuses)
        chunks = session.heard.chunks
        assert [chunk.chunk_index for chunk in chunks] == list(range(len(chunks)))
        assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert [chunk.total_chunks for chunk in chunks] == [0] * (len(chunks) - 1) + [len(chunks)]
        wav = b"".join(chunk.audio for chunk in chunks)
        assert struct.unpack_from("<4sI4s", wav) == (b"RIFF", 0xFFFFFFFF, b"WAVE")
        assert {chunk.sample_rate for chunk in chunks} == {24_000}
        assert 2.0 < (len(wav) - 44) / 48_000 < 6.0
        assert session.heard.statuses == ["processing", "completed"]

    async def test_a_whole_text_is_a_wav_file(self, session: Session) -> None:
        await session.say(text="Hello there.", stream=False)
        await session.heard.until(lambda: "completed" in session.heard.statuses)
        (response,) = session.heard.on("tts.audio", messages_pb2.TTSFullResponse)
        with wave.open(io.BytesIO(response.audio)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (response.sample_rate, 1, 2)
            assert 0.4 < file.getnframes() / file.getframerate() < 3.0

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"text": ""}, "no word"),
            ({"text": "🙂🎉"}, "no word"),
            ({"text": "你好，世界"}, "speaks en"),
            ({"text": "Hi", "speaker": "nobody"}, "known are heart"),
            ({"text": "word " * 2000}, "at most 5000"),
            ({"text": "Hi", "speaker_wav_b64": "UklGRg=="}, "cannot imitate"),
            ({"text": "Hi", "speaker_wav_b64": "not base64!"}, "base64"),
            ({"text": "Hallo", "language": "de"}, "'de'"),
        ],
    )
    @pytest.mark.parametrize("stream", [True, False])
    async def test_what_cannot_be_said_is_told(
        self, session: Session, fields: dict[str, str], said: str, *, stream: bool
    ) -> None:
        await session.say(stream=stream, **fields)
        await session.heard.until(lambda: "error" in session.heard.statuses)
        (*_, status) = session.heard.on("tts.status", messages_pb2.TTSStatus)
        assert said in status.message
        assert session.heard.chunks == []

    @pytest.mark.parametrize("body", [b"", b"\xff\xff\xff", b"{}"])
    async def test_voices_are_listed_whatever_the_body(self, connection: Client, body: bytes) -> None:
        reply = await connection.request("ai.voice.tts.voices.list", body, timeout=10)
        listed = messages_pb2.TTSVoiceListResponse.FromString(reply.data)
        assert listed.default_speaker == "heart"
        assert listed.last_refresh > 0
        reply = await connection.request("ai.voice.tts.voices.refresh", body, timeout=10)
        refreshed = messages_pb2.TTSVoiceRefreshResponse.FromString(reply.data)
        # Those that this machine's model store holds, whatever they are.
        assert refreshed.count == len(refreshed.custom_voices)
        assert "heart" not in {voice.name for voice in refreshed.custom_voices}
        assert [voice.name for voice in listed.built_in_voices] == ["heart"]

    def test_a_client_without_our_code_is_spoken_to(self, graph: Graph) -> None:
        with RawClient(graph.nats_url) as client:
            client.subscribe("ai.voice.tts.audio.raw")
            client.publish("ai.voice.tts.request.raw", encode_request("TTSRequest", text="Hello.", stream=False))
            _, payload = client.next()
        response = decode("TTSFullResponse", payload)
        assert response["session_id"] == "raw"
        audio = response["audio"]
        assert isinstance(audio, bytes)
        assert audio.startswith(b"RIFF")


class TestTranscription:
    async def test_a_question_is_heard_while_it_is_said_and_when_it_has_been(
        self, session: Session, connection: Client, question_pcm: list[bytes]
    ) -> None:
        pcm = await question(connection, question_pcm)
        await session.send(type="start", speaker_id="ada")
        for at in range(0, len(pcm), 640):
            await session.send(type="chunk", audio=pcm[at : at + 640])
            await asyncio.sleep(0.02)
        await session.send(type="end")
        await session.heard.until(lambda: bool(session.heard.finals))
        assert session.heard.finals == [QUESTION]
        partials = [one for one in session.heard.transcripts if one.is_partial]
        assert 2 <= len(partials) <= 10
        assert [one.sequence for one in session.heard.transcripts] == list(range(len(partials) + 1))

    @pytest.mark.parametrize("rate", [8_000, 48_000])
    async def test_other_rates_are_understood(
        self, session: Session, connection: Client, question_pcm: list[bytes], rate: int
    ) -> None:
        pcm = await question(connection, question_pcm)
        resampled = pcm_of(soxr.resample(samples_of(pcm), SPEECH_RATE, rate))
        stereo = np.repeat(np.frombuffer(resampled, "<i2"), 2).tobytes()
        await session.send(type="start")
        await session.hear(stereo, chunk_bytes=9999, sample_rate=rate, channels=2, bit_depth=16)
        await session.send(type="end")
        await session.heard.until(lambda: bool(session.heard.finals))
        assert session.heard.finals == [QUESTION]

    @pytest.mark.parametrize("kind", ["silence", "noise", "tone", "music"])
    async def test_nothing_is_invented(self, session: Session, kind: str) -> None:
        length = 5 * SPEECH_RATE
        at = np.arange(length) / SPEECH_RATE
        notes = np.repeat(np.resize([262.0, 330.0, 392.0, 523.0], 20), SPEECH_RATE // 4)[:length]
        phase = 2 * np.pi * np.cumsum(notes) / SPEECH_RATE
        harmonics = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 6))
        sound = {
            "silence": np.zeros(length),
            "noise": np.random.default_rng(0).normal(0, 0.1, length),
            "tone": 0.3 * np.sin(2 * np.pi * 440 * at),
            "music": 0.3 * harmonics * np.exp(-4 * (at * 4 % 1)),
        }[kind]
        await session.send(type="start")
        await session.hear(pcm_of(sound.astype(np.float32)))
        await session.send(type="end")
        await session.heard.until(lambda: bool(session.heard.transcripts))
        (final,) = session.heard.transcripts
        assert (final.transcript, final.is_final, final.has_voice_activity) == ("", True, False)

    async def test_a_neighbour_that_sends_half_an_hour_at_once_holds_up_nobody(
        self, session: Session, connection: Client, question_pcm: list[bytes]
    ) -> None:
        pcm = await question(connection, question_pcm)
        neighbour = await Session(connection).open()
        await neighbour.send(type="start")
        # More than a session may be ahead: what is beyond that is lost, and the log says so.
        await neighbour.hear(bytes(2 * SPEECH_RATE * 1800), chunk_bytes=500_000)
        await neighbour.send(type="end")
        await session.send(type="start")
        await session.hear(pcm)
        await session.send(type="end")
        await session.heard.until(lambda: bool(session.heard.finals))
        assert session.heard.finals == [QUESTION]
        assert neighbour.heard.transcripts == []
        await neighbour.heard.until(lambda: bool(neighbour.heard.transcripts))
        assert neighbour.heard.finals == [""]

    async def test_speech_interrupts_what_is_being_said(
        self, session: Session, connection: Client, question_pcm: list[bytes]
    ) -> None:
        pcm = await question(connection, question_pcm)
        await session.send(type="start")
        await session.send(type="state_change", state="responding")
        await session.say(text="This is a long answer that nobody wants to hear. " * 100, stream=True)
        await session.heard.until(lambda: bool(session.heard.chunks))
        await session.hear(pcm[: 2 * SPEECH_RATE])
        await session.heard.until(lambda: any(b"interrupt" in data for _, data in session.heard.messages))
        await session.hear(pcm[2 * SPEECH_RATE :])
        await session.send(type="end")
        await session.heard.until(lambda: bool(session.heard.finals))
        subjects = [subject.rsplit(".", 1)[0] for subject, _ in session.heard.messages]
        interrupts = [at for at, (_, data) in enumerate(session.heard.messages) if b"interrupt" in data and at]
        told = next(
            at
            for at in interrupts
            if subjects[at] == "ai.voice.transcription"
            and messages_pb2.STTInterrupt.FromString(session.heard.messages[at][1]).type == "interrupt"
        )
        assert not [subject for subject in subjects[told:] if ".tts." in subject]
        assert session.heard.chunks[-1].is_last
        assert session.heard.statuses == ["processing", "error"]
        assert session.heard.finals == [QUESTION]


class TestCommandLine:
    def test_what_is_said_is_heard(self, graph: Graph, tmp_path: Path) -> None:
        file = str(tmp_path / "said.wav")
        said = hearth(graph.environment, "say", QUESTION, "--out", file, "--json")
        assert 1.0 < json.loads(said.stdout)["seconds"] < 10.0
        heard = hearth(graph.environment, "listen", file, "--pace", "10", "--nats", graph.nats_url)
        assert heard.stdout.strip() == QUESTION
        assert "heart *" in hearth(graph.environment, "voices").stdout
