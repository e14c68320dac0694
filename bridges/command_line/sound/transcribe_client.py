"""Having a recording or a microphone transcribed as it is heard."""

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient, decoded, is_unheard, nobody_listens, subscribed
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_STREAM, TRANSCRIPTION, subject_for
from deployments.errors import (
    DeadlineExceededError,
    HearthError,
    InvalidRequestError,
    UnavailableError,
    error_of,
)

if TYPE_CHECKING:
    from deployments.sound.recording import OpenRecording

T = TypeVar("T")

_CHUNK_S = 0.1
_BYTES_PER_SAMPLE = 2


@dataclass(frozen=True, slots=True)
class SoundSource:
    """Where sound comes from.

    Attributes:
        pieces: 16-bit PCM, a tenth of a second each.
        rate: Samples a second.
        channels: Interleaved.
        is_live: Whether it comes at its own pace.
        seconds: How long it lasts; 0 where that is not known.
    """

    pieces: AsyncGenerator[bytes]
    rate: int
    channels: int
    is_live: bool
    seconds: float = 0.0


@contextmanager
def open_source(name: str, rate: int, channels: int) -> Generator[SoundSource]:
    """Open a file, or "-" for raw 16-bit PCM on standard input.

    Args:
        name: A sound file, or "-".
        rate: Samples a second of standard input.
        channels: Its channels.

    Raises:
        InvalidRequestError: The file is none that can be read.
        UnavailableError: What reads it is not installed.
    """
    if name == "-":
        size = int(rate * _CHUNK_S) * channels * _BYTES_PER_SAMPLE
        is_live = not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
        yield SoundSource(_standard_input(size, is_live=is_live), rate, channels, is_live)
        return
    with opened_recording(Path(name)) as file:
        yield SoundSource(_pieces(file), file.rate, 1, is_live=False, seconds=file.seconds)


@contextmanager
def opened_recording(file: Path) -> Generator["OpenRecording"]:
    """Open a sound file, by the reader of recordings that are sent.

    Raises:
        InvalidRequestError: The file is none that can be read; the message names it and its kind.
        UnavailableError: What reads it is not installed.
    """
    try:
        from deployments.sound.recording import open_recording  # noqa: PLC0415 - its libraries are in an extra
    except ImportError as error:
        raise UnavailableError("files are read by soundfile: install it with `pip install hearth[whisper]`") from error
    with ExitStack() as opened:
        try:
            recording = opened.enter_context(open_recording(file))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{file}: {error.message}") from error
        except OSError as error:
            raise InvalidRequestError(f"{file} cannot be opened: {error.strerror}") from error
        yield recording


async def listen(
    client: HearthClient, source: SoundSource, *, pace: float, language: str, timeout_s: float
) -> AsyncGenerator[messages_pb2.STTTranscription]:
    """Send sound and yield its transcripts, partial and final ones, up to the last.

    Args:
        client: Asks.
        source: The sound.
        pace: How much faster than it sounds it is sent, unless it is live.
        language: ISO 639-1 code; empty to have it detected.
        timeout_s: Seconds that the last transcript may take.

    Raises:
        UnavailableError: Nobody listens.
        HearthError: The session was refused, for the reason that Hearth gives.
        DeadlineExceededError: The last transcript did not come in time.
    """
    session_id = f"cli-{uuid4().hex}"
    arrived: asyncio.Queue[messages_pb2.STTTranscription | HearthError | None] = asyncio.Queue()
    connection = client.connection

    async def transcribed(message: Msg) -> None:
        arrived.put_nowait(decoded(messages_pb2.STTTranscription, message))

    async def replied(message: Msg) -> None:
        arrived.put_nowait(last_word(message, session_id, client.url))

    inbox = connection.new_inbox()
    handlers = {subject_for(TRANSCRIPTION, session_id=session_id): transcribed, inbox: replied}
    async with subscribed(connection, handlers):
        sending = asyncio.create_task(_send(client, source, session_id, pace, language, inbox))
        try:
            while True:
                item = await _next(arrived, sending, timeout_s)
                if isinstance(item, HearthError):
                    raise item
                if item is None:
                    return
                if item.session_id:
                    yield item
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def _next(arrived: "asyncio.Queue[T]", sending: "asyncio.Task[None]", timeout_s: float) -> T:
    """Return what comes next; once all was sent, within `timeout_s` seconds."""
    item = asyncio.ensure_future(arrived.get())
    try:
        await asyncio.wait({item, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        await asyncio.wait({item}, timeout=timeout_s)
        if not item.done():
            raise DeadlineExceededError(f"no last transcript within {timeout_s:g} s")
        return item.result()
    finally:
        item.cancel()


async def _send(
    client: HearthClient, source: SoundSource, session_id: str, pace: float, language: str, inbox: str
) -> None:
    """Send sound as a session: a start, its pieces, an end, which is replied to when all is transcribed."""
    connection = client.connection
    subject = subject_for(AUDIO_STREAM, session_id=session_id)
    start = messages_pb2.STTStreamMessage(
        type="start", sample_rate=source.rate, channels=source.channels, bit_depth=16, language=language
    )
    await connection.publish(subject, start.SerializeToString(), reply=inbox)
    stopping = stop_on_interrupt() if source.is_live else asyncio.Event()
    began = time.monotonic()
    sent_s = 0.0
    async with aclosing(source.pieces) as pieces:
        async for piece in pieces:
            chunk = messages_pb2.STTStreamMessage(type="chunk", audio=piece)
            await connection.publish(subject, chunk.SerializeToString())
            sent_s += len(piece) / (_BYTES_PER_SAMPLE * source.channels * source.rate)
            if not source.is_live:
                await asyncio.sleep(max(0.0, began + sent_s / pace - time.monotonic()))
            if stopping.is_set():
                break
    end = messages_pb2.STTStreamMessage(type="end")
    await connection.publish(subject, end.SerializeToString(), reply=inbox)


def last_word(message: Msg, session_id: str, url: str) -> messages_pb2.STTTranscription | HearthError | None:
    """Read what came to the session's inbox: that nobody listens, a refusal, or, as None, that all is transcribed."""
    if is_unheard(message):
        return nobody_listens(url)
    try:
        if messages_pb2.STTTranscription.FromString(message.data).session_id == session_id:
            return None
        refusal = messages_pb2.ErrorResponse.FromString(message.data)
    except DecodeError:
        # A JetStream stream that captures the subject acknowledges the message here.
        return messages_pb2.STTTranscription()
    return error_of(refusal.type, refusal.message) if refusal.error else messages_pb2.STTTranscription()


def stop_on_interrupt() -> asyncio.Event:
    """Return an event that the first Ctrl-C sets; the second one interrupts as ever."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    return stopping


async def _pieces(file: "OpenRecording") -> AsyncGenerator[bytes]:
    for piece in file.pcm(_CHUNK_S):
        yield piece


async def _standard_input(size: int, *, is_live: bool) -> AsyncGenerator[bytes]:
    if not is_live:
        while data := sys.stdin.buffer.read(size):
            yield data
        return
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while data := await reader.read(size):
            yield data
    finally:
        transport.close()
