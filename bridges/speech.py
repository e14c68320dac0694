"""Speech on the wire: TTSRequest to a text, its speech to TTSAudioChunk or TTSFullResponse, and TTSStatus beside it."""

import asyncio
import base64
import binascii
import time
from collections.abc import Iterator
from contextlib import aclosing

from bridges.generated.messages.v1 import messages_pb2
from bridges.outbox import Outbox
from bridges.outcome import Outcome
from bridges.session_work import SessionWork, Work
from bridges.subjects import SPEECH_AUDIO, SPEECH_STATUS, subject_for
from deployments.audio_settings import SpeechOutputSettings
from deployments.call import Call
from deployments.errors import CancelledError, HearthError, InvalidRequestError, PayloadTooLargeError
from deployments.services import Speech
from deployments.sound import level_of, samples_of, seconds_of, wav_file, wav_header
from deployments.speech_values import SpeechText, SpokenChunk, Voice

PROCESSING, COMPLETED, ERROR = "processing", "completed", "error"
INTERRUPTED = "the listener interrupted it"
CUT = "the speech was cut: it is longer than the NATS server takes in one message; ask for a stream"
_ENVELOPE_BYTES = 512
"""What a message takes besides its audio and its session id, amply."""


class SpeechHandler:
    """Answers TTSRequests with the speech of the graph.

    Args:
        speech: Says things.
        work: Where an interruption finds what is being said.
        settings: How audio is cut into messages.
    """

    def __init__(self, speech: Speech, work: SessionWork, settings: SpeechOutputSettings) -> None:
        self._speech = speech
        self._work = work
        self._settings = settings

    async def handle(self, call: Call, request: messages_pb2.TTSRequest, outbox: Outbox) -> Outcome:
        """Say a text; see `Handler`."""
        session_id = outbox.parameters["session_id"]
        text = SpeechText(request.text, request.speaker, request.language, _reference(request))
        await _tell(outbox, session_id, PROCESSING)
        saying = _Saying(call, text, outbox, session_id, self._settings.chunk_bytes, self._work)
        say = saying.stream if request.stream else saying.whole
        task: asyncio.Task[Outcome] = asyncio.create_task(say(self._speech))
        with self._work.under(session_id, saying.stop, task) as work:
            saying.work = work
            try:
                return await task
            except asyncio.CancelledError:
                if not work.interrupted:
                    raise
                return saying.outcome(CancelledError.kind)

    async def fail(self, request: messages_pb2.TTSRequest, error: HearthError, outbox: Outbox) -> None:
        """Tell that a text was not said, or not to its end."""
        del request
        await _tell(outbox, outbox.parameters["session_id"], ERROR, error.message)
        if outbox.reply:
            await outbox.refuse(error)


class _Saying:
    """One text on its way to its listener."""

    def __init__(
        self, call: Call, text: SpeechText, outbox: Outbox, session_id: str, chunk_bytes: int, work: SessionWork
    ) -> None:
        self._call = call
        self._text = text
        self._outbox = outbox
        self._session_id = session_id
        self._chunk_bytes = min(chunk_bytes, outbox.room - _ENVELOPE_BYTES - len(session_id.encode()))
        self._all_work = work
        self._subject = subject_for(SPEECH_AUDIO, session_id=session_id)
        self._started = time.monotonic()
        self._first_s = 0.0
        self._chunks = 0
        self._bytes = 0
        self._seconds = 0.0
        self._rate = 0
        self.work: Work | None = None

    async def stream(self, speech: Speech) -> Outcome:
        """Send the speech as it is made."""
        try:
            async with aclosing(speech.say(self._call, self._text)) as spoken:
                async for chunk in spoken:
                    await self._send_sound(chunk)
        except HearthError:
            if self._chunks:
                await self._send(b"", 0, is_last=True)
            raise
        await self._send(b"", 0, is_last=True)
        await self._completed(_status(self._session_id, COMPLETED))
        return self.outcome()

    async def whole(self, speech: Speech) -> Outcome:
        """Send the speech in one message when all of it is made."""
        pcm = bytearray()
        rate = 0
        async with aclosing(speech.say(self._call, self._text)) as spoken:
            async for chunk in spoken:
                self._first_s = self._first_s or time.monotonic() - self._started
                pcm += chunk.pcm
                rate = chunk.rate
        room = self._outbox.room - _ENVELOPE_BYTES - len(self._session_id.encode())
        fits = max(0, room - len(wav_header(rate))) // 2 * 2
        response = messages_pb2.TTSFullResponse(
            session_id=self._session_id,
            audio=wav_file(bytes(pcm[:fits]), rate),
            timestamp=int(time.time()),
            sample_rate=rate,
        )
        self._note(bytes(pcm[:fits]), rate)
        await self._outbox.finish(response, self._subject)
        self._bytes = response.ByteSize()
        if len(pcm) > fits:
            await _tell(self._outbox, self._session_id, ERROR, CUT)
            return self.outcome(PayloadTooLargeError.kind)
        await _tell(self._outbox, self._session_id, COMPLETED)
        return self.outcome()

    async def stop(self) -> None:
        """End the stream where it is, because its listener interrupted it."""
        if self._chunks:
            await self._send(b"", 0, is_last=True, closing=True)
        await _tell(self._outbox, self._session_id, ERROR, INTERRUPTED)
        if self._outbox.reply:
            await self._outbox.refuse(CancelledError(INTERRUPTED))

    def outcome(self, error_kind: str = "") -> Outcome:
        """Return what became of it."""
        total = time.monotonic() - self._started
        stages = {"first_audio": self._first_s, "total": total, "audio": self._seconds}
        return Outcome(error_kind, self._session_id, self._chunks, self._bytes, stages, {"text": self._text.text})

    async def _send_sound(self, chunk: SpokenChunk) -> None:
        for piece in _pieces(chunk.pcm, self._chunk_bytes):
            self._note(piece, chunk.rate)
            await self._send(piece, chunk.rate)

    async def _send(self, pcm: bytes, rate: int, *, is_last: bool = False, closing: bool = False) -> None:
        work = self.work
        if work is not None and work.interrupted and not closing:
            return
        header = b"" if self._chunks or is_last else wav_header(rate)
        self._first_s = self._first_s or time.monotonic() - self._started
        message = messages_pb2.TTSAudioChunk(
            session_id=self._session_id,
            chunk_index=self._chunks,
            total_chunks=self._chunks + 1 if is_last else 0,
            audio=header + pcm,
            is_last=is_last,
            timestamp=int(time.time()),
            sample_rate=rate or self._rate,
            epoch=work.epoch if work else 0,
        )
        self._rate = rate or self._rate
        self._chunks += 1
        self._bytes += len(message.audio)
        # Nothing may come between the look at the epoch and this: see `bridges.session_work`.
        await self._outbox.send(self._subject, message)

    def _note(self, pcm: bytes, rate: int) -> None:
        now, seconds = asyncio.get_running_loop().time(), seconds_of(pcm, rate)
        self._seconds += seconds
        self._all_work.played(self._session_id, now, seconds, level_of(samples_of(pcm)))

    async def _completed(self, status: messages_pb2.TTSStatus) -> None:
        await self._outbox.finish(status, subject_for(SPEECH_STATUS, session_id=self._session_id))


class VoicesHandler:
    """Lists the voices, or looks for them again.

    Args:
        speech: Knows them.
        rescan: Whether to look for custom voices again first.
    """

    def __init__(self, speech: Speech, *, rescan: bool) -> None:
        self._speech = speech
        self._rescan = rescan

    async def handle(self, call: Call, request: None, outbox: Outbox) -> Outcome:
        """List the voices; see `Handler`."""
        del request
        voices = await self._speech.voices(call, self._rescan)
        custom = [_voice_info(voice) for voice in voices.custom]
        now = int(time.time())
        response: messages_pb2.TTSVoiceListResponse | messages_pb2.TTSVoiceRefreshResponse
        if self._rescan:
            response = messages_pb2.TTSVoiceRefreshResponse(
                count=len(custom), custom_voices=custom, timestamp=now, faults=voices.faults
            )
        else:
            response = messages_pb2.TTSVoiceListResponse(
                default_speaker=voices.default,
                custom_voices=custom,
                last_refresh=voices.scanned_at,
                timestamp=now,
                built_in_voices=[_voice_info(voice) for voice in voices.built_in],
                faults=voices.faults,
            )
        await outbox.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: None, error: HearthError, outbox: Outbox) -> None:
        """Answer that the voices are not known."""
        del request
        await outbox.refuse(error)


def _reference(request: messages_pb2.TTSRequest) -> bytes:
    try:
        return base64.b64decode(request.speaker_wav_b64, validate=True)
    except binascii.Error as error:
        raise InvalidRequestError("speaker_wav_b64 is not base64 text") from error


def _pieces(pcm: bytes, size: int) -> Iterator[bytes]:
    step = max(2, size // 2 * 2)
    for start in range(0, len(pcm), step):
        yield pcm[start : start + step]


def _status(session_id: str, status: str, message: str = "") -> messages_pb2.TTSStatus:
    return messages_pb2.TTSStatus(session_id=session_id, status=status, message=message, timestamp=int(time.time()))


async def _tell(outbox: Outbox, session_id: str, status: str, message: str = "") -> None:
    await outbox.send(subject_for(SPEECH_STATUS, session_id=session_id), _status(session_id, status, message))


def _voice_info(voice: Voice) -> messages_pb2.TTSVoiceInfo:
    return messages_pb2.TTSVoiceInfo(
        name=voice.name, language=voice.language, model_type=voice.kind, created_at=voice.created_at
    )
