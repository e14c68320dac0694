"""Having something said: its audio as it is made, to a loudspeaker or a file."""

import asyncio
import time
import wave
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient, decoded, is_unheard, nobody_listens, subscribed
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import SPEECH_AUDIO, SPEECH_REQUEST, SPEECH_STATUS, subject_for
from deployments.errors import DeadlineExceededError, UpstreamFailedError

_HEADER_BYTES = 44
_COMPLETED, _ERROR = "completed", "error"


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a text.

    Attributes:
        pcm: 16-bit mono PCM.
        rate: Samples a second.
        first_audio_s: Seconds from the request to the first sound.
        total_s: Seconds from the request to the last.
    """

    pcm: bytes
    rate: int
    first_audio_s: float
    total_s: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.pcm) / (2 * self.rate) if self.rate else 0.0


def sound_of(chunk: messages_pb2.TTSAudioChunk) -> bytes:
    """Return a chunk's sound as 16-bit mono PCM, without the WAV header that the first one begins with."""
    return chunk.audio if chunk.chunk_index else chunk.audio[_HEADER_BYTES:]


def write_wav(file: Path, pcm: bytes, rate: int) -> None:
    """Write 16-bit mono PCM as a WAV file, and the folder that it is in where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(pcm)


def unheard(pcm: bytes, rate: int) -> None:
    """Play nothing."""
    del pcm, rate


async def say(
    client: HearthClient, request: messages_pb2.TTSRequest, timeout_s: float, heard: Callable[[bytes, int], None]
) -> Said:
    """Have a text said and return its sound.

    Args:
        client: Asks.
        request: The text, and who is to say it.
        timeout_s: Seconds that all of it may take.
        heard: Called with each piece of PCM as it arrives, and its rate.

    Raises:
        UpstreamFailedError: It was not said, or not to its end; the message says why.
        HearthError: It could not be asked for.
    """
    request.stream = True
    started = time.monotonic()
    first_audio_s = 0.0
    pcm = bytearray()
    rate = 0
    async with aclosing(_answers(client, request, timeout_s)) as answers:
        async for answer in answers:
            if isinstance(answer, messages_pb2.TTSStatus):
                if answer.status == _ERROR:
                    raise UpstreamFailedError(answer.message or "it was not said, and no reason was given")
                continue
            piece = sound_of(answer)
            if piece:
                first_audio_s = first_audio_s or time.monotonic() - started
                rate = answer.sample_rate
                pcm += piece
                heard(piece, rate)
    return Said(bytes(pcm), rate, first_audio_s, time.monotonic() - started)


async def _answers(
    client: HearthClient, request: messages_pb2.TTSRequest, timeout_s: float
) -> AsyncGenerator[messages_pb2.TTSAudioChunk | messages_pb2.TTSStatus]:
    """Send a request and yield what comes back, up to its last status."""
    session_id = f"cli-{uuid4().hex}"
    arrived: asyncio.Queue[messages_pb2.TTSAudioChunk | messages_pb2.TTSStatus | None] = asyncio.Queue()

    async def audio(message: Msg) -> None:
        arrived.put_nowait(decoded(messages_pb2.TTSAudioChunk, message))

    async def status(message: Msg) -> None:
        arrived.put_nowait(decoded(messages_pb2.TTSStatus, message))

    async def replied(message: Msg) -> None:
        if is_unheard(message):
            arrived.put_nowait(None)

    connection = client.connection
    inbox = connection.new_inbox()
    handlers = {
        subject_for(SPEECH_AUDIO, session_id=session_id): audio,
        subject_for(SPEECH_STATUS, session_id=session_id): status,
        inbox: replied,
    }
    async with subscribed(connection, handlers):
        await connection.publish(
            subject_for(SPEECH_REQUEST, session_id=session_id), request.SerializeToString(), reply=inbox
        )
        is_whole, last_status = False, ""
        try:
            async with asyncio.timeout(timeout_s):
                # Sound and status come on two subscriptions, whose order among each other is not kept.
                while not (last_status == _ERROR or (last_status == _COMPLETED and is_whole)):
                    answer = await arrived.get()
                    if answer is None:
                        raise nobody_listens(client.url)
                    yield answer
                    if isinstance(answer, messages_pb2.TTSStatus):
                        last_status = answer.status
                    else:
                        is_whole = answer.is_last
        except TimeoutError as error:
            raise DeadlineExceededError(f"not said within {timeout_s:g} s") from error
