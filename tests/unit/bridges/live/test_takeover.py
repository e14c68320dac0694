"""A session whose replica is killed, from its client's point of view, on a virtual clock."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bridges.generated.hearth.v1 import audio_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_REPLICAS
from deployments.errors import UnavailableError
from tests.conversation.scene import (
    ProcessConnection,
    ReadingTranscription,
    Scene,
    ScriptedVoice,
    Wire,
    scene,
    square_voice,
)
from tests.conversation.script import RATE
from tests.conversation.virtual_clock import run_virtually

CHUNK_S = 0.02


@dataclass
class Two:
    """Two replicas, and a session of the first.

    Attributes:
        wire: What they are connected to.
        session_id: Of the session.
        one: Its replica.
        connection: Of that replica.
        other: The other replica.
        transcription: Of the other replica.
    """

    wire: Wire
    session_id: str
    one: Scene
    connection: ProcessConnection
    other: Scene
    transcription: ReadingTranscription

    async def speak(self, pcm: bytes) -> None:
        """Say something at the pace of speech."""
        size = 2 * int(RATE * CHUNK_S)
        for at in range(0, len(pcm), size):
            await self.one.send(self.session_id, type="chunk", audio=pcm[at : at + size])
            await asyncio.sleep(CHUNK_S)

    async def kill_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.connection.kill()

    @property
    def finals(self) -> list[str]:
        return self.one.finals(self.session_id)

    @property
    def statuses(self) -> list[tuple[str, str]]:
        """What was told of speech to the session: each status, and its message."""
        sent = self.wire.on(f"ai.voice.tts.status.{self.session_id}")
        found = [one.read(messages_pb2.TTSStatus) for one in sent]
        return [(one.status, one.message) for one in found]


@asynccontextmanager
async def two_replicas(**conversation: Any) -> AsyncGenerator[Two]:
    """Run two replicas that have shared sessions for a while, and start a session at the first."""
    wire = Wire()
    connection = ProcessConnection(wire)
    voice = ScriptedVoice(token_s=0.2)
    transcription = ReadingTranscription()
    async with (
        scene(wire=wire, connection=connection, replica="a", voice=voice) as one,
        scene(transcription, wire, replica="b", voice=ScriptedVoice()) as other,
    ):
        await asyncio.sleep(5)
        number = 0
        while not one.ingress.session_count:
            number += 1
            await one.send(f"s{number}", type="start", speaker_id="ada", **conversation)
            await asyncio.sleep(0.01)
        yield Two(wire, f"s{number}", one, connection, other, transcription)


def pause(seconds: float) -> bytes:
    return bytes(2 * int(RATE * seconds))


@pytest.mark.parametrize("killed_after_s", [0.1, 0.5, 1.0, 1.5, 2.0, 2.2])
def test_what_is_being_said_is_transcribed_whole_and_once(killed_after_s: float) -> None:
    async def run() -> tuple[list[str], list[int], str]:
        async with two_replicas() as stage:
            await stage.speak(square_voice("good morning") + pause(3))
            killing = asyncio.create_task(stage.kill_after(killed_after_s))
            await stage.speak(square_voice("the remote site keeps every snapshot") + pause(3))
            await killing
            transcripts = stage.other.transcripts(stage.session_id)
            return stage.finals, [one.sequence for one in transcripts], transcripts[-1].speaker_id

    finals, numbers, speaker = run_virtually(run())
    assert finals == ["good morning", "the remote site keeps every snapshot"]
    assert numbers == sorted(set(numbers))
    assert speaker == "ada"


@pytest.mark.parametrize("drained_after_s", [0.5, 1.0, 1.5, 2.0])
def test_a_replica_that_leaves_cuts_no_sentence(drained_after_s: float) -> None:
    async def run() -> list[str]:
        async with two_replicas() as stage:
            speaking = asyncio.create_task(stage.speak(square_voice("the remote site keeps every snapshot") + pause(3)))
            await asyncio.sleep(drained_after_s)
            await stage.one.ingress.drain()
            await speaking
            return stage.finals

    assert run_virtually(run()) == ["the remote site keeps every snapshot"]


def test_a_sentence_is_cut_rather_than_lost_where_a_replica_has_only_just_come() -> None:
    async def run() -> list[str]:
        async with two_replicas() as stage:
            speaking = asyncio.create_task(stage.speak(square_voice("the remote site keeps every snapshot") + pause(3)))
            await asyncio.sleep(0.5)
            async with scene(wire=stage.wire, replica="c", voice=ScriptedVoice()):
                await asyncio.sleep(0.5)
                await stage.one.ingress.drain()
                await speaking
            return stage.finals

    finals = run_virtually(run())
    assert len(finals) == 2
    assert " ".join(finals) == "the remote site keeps every snapshot"


def test_a_session_goes_on_within_a_second() -> None:
    async def run() -> float:
        async with two_replicas() as stage:
            await stage.speak(pause(3))
            began = asyncio.get_running_loop().time()
            stage.connection.kill()
            before = stage.other.ingress.session_count
            while stage.other.ingress.session_count == before:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
            return asyncio.get_running_loop().time() - began

    assert run_virtually(run()) < 1.0


def test_a_session_that_was_ended_right_before_its_replica_died_is_answered() -> None:
    async def run() -> tuple[list[str], list[str]]:
        async with two_replicas() as stage:
            replies: list[str] = []

            async def replied(message: Any) -> None:
                replies.append(messages_pb2.STTTranscription.FromString(message.data).transcript)

            await stage.wire.subscribe("_INBOX.client", cb=replied)
            await stage.speak(square_voice("good morning"))
            await stage.one.send(stage.session_id, reply="_INBOX.client", type="end")
            stage.connection.kill()
            await asyncio.sleep(3)
            return stage.finals, replies

    assert run_virtually(run()) == (["good morning"], ["good morning"])


def test_sound_goes_on_in_the_format_that_its_first_message_named() -> None:
    async def run() -> float:
        async with two_replicas() as stage:
            await stage.one.send(stage.session_id, type="chunk", audio=pause(1), sample_rate=2 * RATE)
            # So long ago that no message which names it is kept.
            await stage.speak(pause(20))
            stage.connection.kill()
            await asyncio.sleep(2)
            # Two seconds of a tone, in twice as many samples.
            period = np.repeat(np.array([16_000, -16_000], "<i2"), 32).tobytes()
            await stage.speak(period * (2 * 2 * RATE // 64) + pause(5))
            return stage.transcription.longest_s

    assert 2.0 <= run_virtually(run()) < 3.0


class TestAnAnswer:
    def test_that_breaks_off_is_told_and_the_conversation_goes_on(self) -> None:
        async def run() -> tuple[list[tuple[str, str]], list[str], list[int]]:
            async with two_replicas(conversation={}) as stage:
                await stage.speak(square_voice("good morning") + pause(1.2))
                while not stage.one.sounds(stage.session_id):  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.01)
                stage.connection.kill()
                await stage.speak(pause(2) + square_voice("and on sundays") + pause(4))
                await asyncio.sleep(10)
                sent = stage.wire.on(f"hearth.conversation.text.{stage.session_id}")
                chunks = [one.read(messages_pb2.ChatStreamChunk) for one in sent]
                return stage.statuses, stage.finals, [one.turn for one in chunks if one.done]

        statuses, finals, ended = run_virtually(run())
        assert statuses == [
            ("processing", ""),
            ("error", "it broke off: the replica that spoke it is gone"),
            ("processing", ""),
            ("completed", ""),
        ]
        assert finals == ["good morning", "and on sundays"]
        assert ended == [1, 2]

    def test_whose_model_dies_breaks_off_and_the_conversation_goes_on(self) -> None:
        async def run() -> tuple[list[tuple[str, str]], list[bool], list[str]]:
            voice = ScriptedVoice(raised_after=UnavailableError("speaking broke off, its replica is gone"))
            async with scene(voice=voice) as stage:
                await stage.send("s", type="start", conversation={})
                await stage.send("s", type="chunk", audio=square_voice("good morning") + pause(1.2))
                await asyncio.sleep(4)
                ended = [one.is_last for one in stage.sounds("s")]
                await stage.send("s", type="chunk", audio=square_voice("and on sundays") + pause(1.2))
                await asyncio.sleep(10)
                sent = stage.wire.on("ai.voice.tts.status.s")
                statuses = [one.read(messages_pb2.TTSStatus) for one in sent]
                return [(one.status, one.message) for one in statuses], ended, stage.finals("s")

        statuses, ended, finals = run_virtually(run())
        assert statuses == [
            ("processing", ""),
            ("error", "speaking broke off, its replica is gone"),
            ("processing", ""),
            ("completed", ""),
        ]
        assert ended == [False, True]
        assert finals == ["good morning", "and on sundays"]

    def test_that_was_sent_to_its_end_did_not_break_off(self) -> None:
        async def run() -> list[str]:
            async with two_replicas(conversation={}) as stage:
                await stage.speak(square_voice("good morning") + pause(1.2))
                while ("completed", "") not in stage.statuses:  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.6)
                stage.connection.kill()
                await stage.speak(pause(3))
                return [status for status, _ in stage.statuses]

        assert run_virtually(run()) == ["processing", "completed"]


def test_a_replica_that_others_have_given_up_says_nothing_more_and_leaves_its_sessions_to_them() -> None:
    def of_the_first(subject: str, payload: bytes) -> bool:
        return subject == AUDIO_REPLICAS.pattern and audio_pb2.AudioReplica.FromString(payload).replica == "a"

    async def run() -> tuple[list[str], list[int]]:
        async with two_replicas() as stage:
            await stage.speak(square_voice("good morning") + pause(3))
            # Its heartbeats are lost, and nothing else: both hear the session for a while.
            stage.wire.is_lost = of_the_first
            await stage.speak(square_voice("the remote site") + pause(5))
            stage.wire.is_lost = lambda subject, payload: False
            await stage.speak(pause(2) + square_voice("that is all") + pause(3))
            return stage.finals, [one.sequence for one in stage.one.transcripts(stage.session_id)]

    finals, numbers = run_virtually(run())
    assert finals == ["good morning", "the remote site", "that is all"]
    assert numbers == sorted(set(numbers))
