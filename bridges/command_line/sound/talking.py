"""A conversation from its client's side: sound up; transcripts, text and sound down, until it is spoken into.

What is heard is played or timed by a `Player`, whose position is told with every message, so that Hearth remembers what
was heard and no more.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient, decoded, subscribed
from bridges.command_line.sound.playing import Player
from bridges.command_line.sound.saying import sound_of
from bridges.command_line.sound.transcribe_client import last_word
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import (
    AUDIO_STREAM,
    CONVERSATION_TEXT,
    CONVERSATION_TURN,
    SPEECH_AUDIO,
    TRANSCRIPTION,
    subject_for,
)
from deployments.errors import DeadlineExceededError, HearthError

CHUNK_S = 0.04
_BYTES_PER_SAMPLE = 2
_PAUSE_S = 0.5
"""Between an answer and the next file."""


class Listener(Protocol):
    """Is told what happens in a conversation."""

    def transcribed(self, transcript: messages_pb2.STTTranscription) -> None:
        """Take a transcript, partial or final."""
        ...

    def wrote(self, chunk: messages_pb2.ChatStreamChunk) -> None:
        """Take a piece of an answer's text."""
        ...

    def interrupted(self, played_s: float) -> None:
        """Learn that the answer was interrupted after so many seconds of it."""
        ...

    def turn_over(self, record: conversation_pb2.TurnRecord) -> None:
        """Take the record of a turn."""
        ...


@dataclass(slots=True)
class Cues:
    """When the next recording may be spoken.

    Attributes:
        answer_heard: Set when a turn is over.
        answer_begins: Set when the first sound of an answer is there.
    """

    answer_heard: asyncio.Event = field(default_factory=asyncio.Event)
    answer_begins: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Microphone:
    """Where sound comes from, 16-bit mono PCM in pieces of `CHUNK_S`, at its own pace.

    Attributes:
        rate: Samples a second.
        pieces: Makes them, given the cues.
    """

    rate: int
    pieces: Callable[[Cues], AsyncGenerator[bytes]]


def recordings(
    spoken: Sequence[bytes], rate: int, *, barge_in_s: float | None = None, timeout_s: float = 60.0
) -> Microphone:
    """Return a microphone into which recordings are spoken one after the other, with silence in between.

    Args:
        spoken: 16-bit mono PCM.
        rate: Samples a second.
        barge_in_s: Speak each but the first into the answer to the one before, so long after that began to be heard;
            None waits until the answer was heard.
        timeout_s: Time that an answer may take.
    """
    size = int(rate * CHUNK_S) * _BYTES_PER_SAMPLE

    async def pieces(cues: Cues) -> AsyncGenerator[bytes]:
        async with aclosing(_paced(_spoken(cues), CHUNK_S)) as paced:
            async for piece in paced:
                yield piece

    async def _spoken(cues: Cues) -> AsyncGenerator[bytes]:
        silence = bytes(size)
        for number, recording in enumerate(spoken):
            if number:
                cue, wait_s = (cues.answer_heard, _PAUSE_S) if barge_in_s is None else (cues.answer_begins, barge_in_s)
                async with aclosing(_silence(cue, wait_s, silence, timeout_s)) as waiting:
                    async for piece in waiting:
                        yield piece
            cues.answer_heard.clear()
            cues.answer_begins.clear()
            for at in range(0, len(recording), size):
                piece = recording[at : at + size]
                yield piece + silence[len(piece) :]
        async with aclosing(_silence(cues.answer_heard, 0.0, silence, timeout_s)) as waiting:
            async for piece in waiting:
                yield piece

    return Microphone(rate, pieces)


async def _silence(cue: asyncio.Event, wait_s: float, silence: bytes, timeout_s: float) -> AsyncGenerator[bytes]:
    """Yield silence until a while after a cue."""
    waited = 0
    while not cue.is_set():
        if waited * CHUNK_S > timeout_s:
            raise DeadlineExceededError(f"no answer within {timeout_s:g} s")
        waited += 1
        yield silence
    for _ in range(round(wait_s / CHUNK_S)):
        yield silence


async def _paced(pieces: AsyncGenerator[bytes], seconds: float) -> AsyncGenerator[bytes]:
    """Yield pieces at the pace at which they sound."""
    began = time.monotonic()
    count = 0
    async with aclosing(pieces):
        async for piece in pieces:
            count += 1
            await asyncio.sleep(max(0.0, began + count * seconds - time.monotonic()))
            yield piece


@dataclass(frozen=True, slots=True)
class Talked:
    """What became of a conversation.

    Attributes:
        records: Of its turns.
        heard: The sound of each answer as far as it was heard, 16-bit mono PCM.
        rate: Samples a second of it.
    """

    records: tuple[conversation_pb2.TurnRecord, ...]
    heard: tuple[bytes, ...]
    rate: int


async def talk(
    client: HearthClient,
    microphone: Microphone,
    player: Player,
    listener: Listener,
    start: messages_pb2.STTStreamMessage,
    timeout_s: float,
) -> Talked:
    """Hold a conversation until the microphone ends.

    Args:
        client: Speaks to Hearth.
        microphone: Where the user is heard.
        player: Plays the answers.
        listener: Is told what happens.
        start: The "start" of the session, which says how it is to be answered.
        timeout_s: Seconds that the end may take.

    Raises:
        UnavailableError: Nobody listens.
        UpstreamFailedError: The session was refused; the message says why.
        DeadlineExceededError: An answer did not come in time.
    """
    talking = _Talking(client, player, listener, f"cli-{uuid4().hex}")
    return await talking.run(microphone, start, timeout_s)


class _Talking:
    def __init__(self, client: HearthClient, player: Player, listener: Listener, session_id: str) -> None:
        self._client = client
        self._player = player
        self._listener = listener
        self._id = session_id
        self._cues = Cues()
        self._epoch = 0
        self._turn = 0
        self._records: list[conversation_pb2.TurnRecord] = []
        self._heard: list[bytes] = []
        self._refused: asyncio.Future[HearthError] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()

    async def run(self, microphone: Microphone, start: messages_pb2.STTStreamMessage, timeout_s: float) -> Talked:
        connection = self._client.connection
        inbox = connection.new_inbox()
        handlers = {
            subject_for(TRANSCRIPTION, session_id=self._id): self._transcribed,
            subject_for(SPEECH_AUDIO, session_id=self._id): self._spoke,
            subject_for(CONVERSATION_TEXT, session_id=self._id): self._wrote,
            subject_for(CONVERSATION_TURN, session_id=self._id): self._turn_over,
            inbox: self._replied,
        }
        async with subscribed(connection, handlers):
            sending = asyncio.create_task(self._send(microphone, start, inbox))
            try:
                await asyncio.wait((sending, self._refused), return_when=asyncio.FIRST_COMPLETED)
                if self._refused.done():
                    raise self._refused.result()
                await sending
                async with asyncio.timeout(timeout_s):
                    await self._ended.wait()
            except TimeoutError as error:
                raise DeadlineExceededError(f"the session did not end within {timeout_s:g} s") from error
            finally:
                sending.cancel()
                await asyncio.wait([sending])
        self._keep_heard()
        return Talked(tuple(self._records), tuple(self._heard), self._player.rate)

    async def _send(self, microphone: Microphone, start: messages_pb2.STTStreamMessage, inbox: str) -> None:
        start.type = "start"
        start.sample_rate, start.channels, start.bit_depth = microphone.rate, 1, 16
        await self._publish(start, inbox)
        async with aclosing(microphone.pieces(self._cues)) as pieces:
            async for piece in pieces:
                await self._publish(messages_pb2.STTStreamMessage(type="chunk", audio=piece, played=self._position()))
        await self._publish(messages_pb2.STTStreamMessage(type="end"), inbox)

    async def _publish(self, message: messages_pb2.STTStreamMessage, reply: str = "") -> None:
        subject = subject_for(AUDIO_STREAM, session_id=self._id)
        await self._client.connection.publish(subject, message.SerializeToString(), reply=reply)

    def _position(self) -> conversation_pb2.PlaybackReport | None:
        if not self._player.is_playing:
            return None
        return conversation_pb2.PlaybackReport(turn=self._turn, milliseconds=round(self._player.played_s * 1000))

    async def _transcribed(self, message: Msg) -> None:
        interrupt = decoded(messages_pb2.STTInterrupt, message)
        if interrupt.type == "interrupt":
            self._epoch = interrupt.epoch
            played_s = self._player.played_s
            self._keep_heard()
            report = conversation_pb2.PlaybackReport(turn=self._turn, milliseconds=round(played_s * 1000))
            await self._publish(messages_pb2.STTStreamMessage(type="chunk", played=report))
            self._listener.interrupted(played_s)
            return
        transcript = decoded(messages_pb2.STTTranscription, message)
        self._listener.transcribed(transcript)
        if transcript.is_final and (transcript.error or not transcript.transcript):
            # Nothing is answered.
            self._cues.answer_heard.set()

    async def _spoke(self, message: Msg) -> None:
        chunk = decoded(messages_pb2.TTSAudioChunk, message)
        if chunk.epoch < self._epoch:
            return
        pcm = sound_of(chunk)
        if not pcm:
            return
        if chunk.turn != self._turn or not chunk.chunk_index:
            self._keep_heard()
            self._turn = chunk.turn
        self._player.play(pcm, chunk.sample_rate)
        self._cues.answer_begins.set()

    async def _wrote(self, message: Msg) -> None:
        chunk = decoded(messages_pb2.ChatStreamChunk, message)
        if chunk.epoch >= self._epoch:
            self._listener.wrote(chunk)

    async def _turn_over(self, message: Msg) -> None:
        record = decoded(conversation_pb2.TurnRecord, message)
        self._records.append(record)
        self._listener.turn_over(record)
        if record.outcome in {"played", "failed"}:
            self._cues.answer_heard.set()
            self._cues.answer_begins.set()

    async def _replied(self, message: Msg) -> None:
        word = last_word(message, self._id, self._client.url)
        if word is None:
            self._ended.set()
        elif isinstance(word, HearthError) and not self._refused.done():
            self._refused.set_result(word)

    def _keep_heard(self) -> None:
        heard = self._player.stop()
        if heard:
            self._heard.append(heard)
