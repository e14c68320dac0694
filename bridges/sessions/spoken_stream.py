"""A stream of speech on its way to a session: chunks of sound on its audio subject, one WAV file when joined."""

import asyncio
import time
from collections.abc import Iterator

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.sender import Sender
from bridges.sessions.epochs import SessionWork, Work
from bridges.subjects import SPEECH_AUDIO, subject_for
from deployments.values.sound import level_of, samples_of, seconds_of, wav_header
from deployments.values.speech import SpokenChunk

ENVELOPE_BYTES = 512
"""What a message takes besides its audio, its text and its session id, amply."""


class SpokenStream:
    """Sends one text's speech as it is made.

    Args:
        sender: Sends.
        session_id: Whom to.
        chunk_bytes: Sound in one message at most.
        work: Told what is being played.
        turn: Of a conversation, where the text is an answer in one: its chunks then carry their words, too.
    """

    def __init__(self, sender: Sender, session_id: str, chunk_bytes: int, work: SessionWork, turn: int = 0) -> None:
        self._sender = sender
        self._session_id = session_id
        self._chunk_bytes = chunk_bytes
        self._all_work = work
        self._turn = turn
        self._subject = subject_for(SPEECH_AUDIO, session_id=session_id)
        self._rate = 0
        self.work: Work | None = None
        """What the stream is part of; interrupted, it sends nothing more."""
        self.chunks = 0
        """Messages that were sent."""
        self.sound_bytes = 0
        """Bytes of sound in them, header included."""
        self.seconds = 0.0
        """Seconds of sound in them."""

    async def send(self, chunk: SpokenChunk) -> None:
        """Send a chunk, in as many messages as it takes."""
        words = _words_of(chunk) if self._turn else []
        room = self._sender.room - ENVELOPE_BYTES - len(self._session_id.encode())
        if self._turn:
            room -= len(chunk.text.encode()) + sum(word.ByteSize() + 4 for word in words)
        for at, piece in enumerate(_pieces(chunk.pcm, min(self._chunk_bytes, room))):
            self.note(piece, chunk.rate)
            await self._publish(piece, chunk.rate, chunk.text if self._turn and not at else "", words if not at else [])

    def note(self, pcm: bytes, rate: int) -> None:
        """Take note of sound that is played to the session from now on."""
        now, seconds = asyncio.get_running_loop().time(), seconds_of(pcm, rate)
        self.seconds += seconds
        self._all_work.played(self._session_id, now, seconds, level_of(samples_of(pcm)))

    async def end(self, *, interrupted: bool = False) -> None:
        """Send the last message, which holds no sound.

        Args:
            interrupted: Send it although the stream was interrupted, because it says so.
        """
        await self._publish(b"", 0, is_last=True, closing=interrupted)

    async def _publish(
        self,
        pcm: bytes,
        rate: int,
        text: str = "",
        words: list[conversation_pb2.SpokenWord] | None = None,
        *,
        is_last: bool = False,
        closing: bool = False,
    ) -> None:
        work = self.work
        if work is not None and work.interrupted and not closing:
            return
        header = b"" if self.chunks or is_last else wav_header(rate)
        message = messages_pb2.TTSAudioChunk(
            session_id=self._session_id,
            chunk_index=self.chunks,
            total_chunks=self.chunks + 1 if is_last else 0,
            audio=header + pcm,
            is_last=is_last,
            timestamp=int(time.time()),
            sample_rate=rate or self._rate,
            epoch=work.epoch if work else 0,
            turn=self._turn,
            text=text,
            words=words,
        )
        self._rate = rate or self._rate
        self.chunks += 1
        self.sound_bytes += len(message.audio)
        # Nothing may come between the look at the epoch and this: see `bridges.sessions.epochs`.
        await self._sender.send(self._subject, message)


def _pieces(pcm: bytes, size: int) -> Iterator[bytes]:
    step = max(2, size // 2 * 2)
    for start in range(0, len(pcm), step):
        yield pcm[start : start + step]


def _words_of(chunk: SpokenChunk) -> list[conversation_pb2.SpokenWord]:
    return [
        conversation_pb2.SpokenWord(
            word=word.word, start_ms=round(word.start_s * 1000), end_ms=round(word.end_s * 1000)
        )
        for word in chunk.words
    ]
