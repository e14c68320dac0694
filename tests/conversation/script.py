"""Conversations as scripts of timed speech: played on a virtual clock by tests, at real pace by benchmarks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_STREAM, subject_for

RATE = 16_000
CHUNK_S = 0.02
_TAIL_S = 4.0


class Voice(Protocol):
    """Turns what is said into sound."""

    def __call__(self, text: str, /) -> bytes:
        """Return 16-bit mono PCM at 16 kHz."""
        ...


@dataclass(frozen=True, slots=True)
class Says:
    """The user says something, beginning at a time, in seconds from the beginning of the script."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Noise:
    """The user makes a sound that lasts so many seconds and is no word, such as a cough."""

    at_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Sends:
    """The client sends a message that holds no sound."""

    at_s: float
    message: messages_pb2.STTStreamMessage


Step = Says | Noise | Sends


def starts(at_s: float = 0.0, speaker_id: str = "ada") -> Sends:
    return Sends(at_s, messages_pb2.STTStreamMessage(type="start", speaker_id=speaker_id))


def asks_for_answers(at_s: float = 0.0, **request: Any) -> Sends:
    """Start a session in which what is said is answered."""
    conversation = conversation_pb2.ConversationRequest(**request)
    return Sends(at_s, messages_pb2.STTStreamMessage(type="start", user_id="ada", conversation=conversation))


def has_played(at_s: float, turn: int, milliseconds: int) -> Sends:
    """Say how much of an answer was played."""
    report = conversation_pb2.PlaybackReport(turn=turn, milliseconds=milliseconds)
    return Sends(at_s, messages_pb2.STTStreamMessage(type="chunk", played=report))


def ends(at_s: float) -> Sends:
    return Sends(at_s, messages_pb2.STTStreamMessage(type="end"))


def changes_state(at_s: float, state: str) -> Sends:
    return Sends(at_s, messages_pb2.STTStreamMessage(type="state_change", state=state))


@dataclass(frozen=True)
class Script:
    """What one user does, in order of time; between the steps there is silence, and the microphone stays open.

    Attributes:
        steps: What happens.
        seconds: When the microphone is closed; 0 for some time after the last step.
        chunk_s: Sound in one message.
        noise: Loudness of what the microphone hears all the time, as root mean square from 0 to 1.
    """

    steps: Sequence[Step]
    seconds: float = 0.0
    chunk_s: float = CHUNK_S
    noise: float = 0.0

    def sound(self, voice: Voice) -> bytes:
        """Return all that the microphone hears."""
        spoken = [(step.at_s, voice(step.text)) for step in self.steps if isinstance(step, Says)]
        spoken += [(step.at_s, _cough(step.seconds)) for step in self.steps if isinstance(step, Noise)]
        last = max([step.at_s for step in self.steps] + [at + len(pcm) / 2 / RATE for at, pcm in spoken])
        length = int((self.seconds or last + _TAIL_S) * RATE)
        heard = np.random.default_rng(len(self.steps)).normal(0.0, self.noise, length) * 32_767
        for at_s, pcm in spoken:
            start = int(at_s * RATE)
            samples = np.frombuffer(pcm, "<i2")[: max(0, length - start)]
            heard[start : start + len(samples)] += samples
        return heard.clip(-32_768, 32_767).astype("<i2").tobytes()


class Publisher(Protocol):
    """The part of a NATS connection that a client needs."""

    async def publish(self, subject: str, payload: bytes = b"") -> None:
        """Send a message."""
        ...


async def play(script: Script, connection: Publisher, session_id: str, voice: Voice) -> None:
    """Do what a script says, at the pace of the loop's clock.

    A chunk is sent when its last sample was recorded, as a microphone does.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    subject = subject_for(AUDIO_STREAM, session_id=session_id)
    sound = script.sound(voice)
    size = 2 * int(script.chunk_s * RATE)
    sends = sorted((step for step in script.steps if isinstance(step, Sends)), key=lambda step: step.at_s)
    last = max([step.at_s for step in sends], default=0.0)
    at = 0
    ended = False
    while not ended and (at < len(sound) or sends):
        now = at / 2 / RATE
        await asyncio.sleep(max(0.0, began + now - loop.time()))
        while sends and sends[0].at_s <= now + 1e-9:
            message = sends.pop(0).message
            await connection.publish(subject, message.SerializeToString())
            ended = message.type == "end" and not sends
        if at < len(sound) and not ended:
            await asyncio.sleep(max(0.0, began + now + script.chunk_s - loop.time()))
            chunk = messages_pb2.STTStreamMessage(type="chunk", audio=sound[at : at + size])
            await connection.publish(subject, chunk.SerializeToString())
        at += size
        if now > last and at >= len(sound):
            break


def _cough(seconds: float) -> bytes:
    return ((6000).to_bytes(2, "little", signed=True) + (-6000).to_bytes(2, "little", signed=True)) * int(
        seconds * RATE / 2
    )
