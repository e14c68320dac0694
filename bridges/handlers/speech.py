"""Speech on the wire: TTSRequest to a text, its speech to TTSAudioChunk or TTSFullResponse, and TTSStatus beside it."""

import asyncio
import base64
import time
from contextlib import aclosing

from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.collected_answer import fitting_sound
from bridges.nats.demands import NameKind
from bridges.nats.reply import Reply
from bridges.operations.outcome import Outcome
from bridges.sessions.epochs import SessionWork, Work
from bridges.sessions.speech_status import COMPLETED, ERROR, INTERRUPTED, PROCESSING, status_message, tell_status
from bridges.sessions.spoken_stream import ENVELOPE_BYTES, SpokenStream
from bridges.subjects import SPEECH_AUDIO, SPEECH_STATUS, own_subjects, subject_for
from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, NotFoundError, PayloadTooLargeError, RequestEndedError
from deployments.services import SpeechService
from deployments.settings.audio import SpeechOutputSettings
from deployments.values.sound import wav_file
from deployments.values.speech import SpeechText, VoiceInfo

CUT = "the speech was cut: it is longer than the NATS server takes in one message; ask for a stream"


class SpeechHandler:
    """Answers TTSRequests with the speech of the graph.

    Args:
        speech: Says things.
        work: Where an interruption finds what is being said.
        settings: How audio is cut into messages.
    """

    def __init__(self, speech: SpeechService, work: SessionWork, settings: SpeechOutputSettings) -> None:
        self._speech = speech
        self._work = work
        self._settings = settings

    async def handle(self, call: Call, request: messages_pb2.TTSRequest, reply: Reply) -> Outcome:
        """Say a text; see `Handler`."""
        session_id = reply.parameters["session_id"]
        text = SpeechText(request.text, request.speaker, request.language, _reference(request))
        await tell_status(reply.sender, session_id, PROCESSING)
        saying = _Saying(call, text, reply, session_id, self._settings.chunk_bytes, self._work)
        say = saying.stream if request.stream else saying.whole
        task: asyncio.Task[Outcome] = asyncio.create_task(say(self._speech))
        with self._work.under(session_id, saying.stop, task) as work:
            saying.under(work)
            try:
                return await task
            except asyncio.CancelledError:
                if not work.interrupted:
                    raise
                return saying.outcome(RequestEndedError.kind)

    async def fail(self, request: messages_pb2.TTSRequest, error: HearthError, reply: Reply) -> None:
        """Tell that a text was not said, or not to its end."""
        if isinstance(error, NotFoundError) and reply.names.is_limited(NameKind.VOICE):
            # It would name all voices.
            error = NotFoundError(f"unknown voice {request.speaker[:64]!r}", field="speaker")
        session_id = reply.parameters["session_id"]
        # The server delivers an id with a "*" in it, and lets nobody publish to it.
        if own_subjects((SPEECH_STATUS,), {"session_id": session_id}):
            await tell_status(reply.sender, session_id, ERROR, error.message)
        if reply.reply_subject:
            await reply.refuse(error)


class _Saying:
    """One text on its way to its listener."""

    def __init__(
        self, call: Call, text: SpeechText, reply: Reply, session_id: str, chunk_bytes: int, work: SessionWork
    ) -> None:
        self._call = call
        self._text = text
        self._reply = reply
        self._session_id = session_id
        self._stream = SpokenStream(reply.sender, session_id, chunk_bytes, work)
        self._started = time.monotonic()
        self._first_s = 0.0
        self._whole_bytes = 0

    def under(self, work: Work) -> None:
        """Count what is said as part of a session's work."""
        self._stream.work = work

    async def stream(self, speech: SpeechService) -> Outcome:
        """Send the speech as it is made."""
        try:
            async with aclosing(speech.say(self._call, self._text)) as spoken:
                async for chunk in spoken:
                    self._first_s = self._first_s or time.monotonic() - self._started
                    await self._stream.send(chunk)
        except HearthError:
            if self._stream.chunks:
                await self._stream.end()
            raise
        await self._stream.end()
        await self._reply.finish(
            status_message(self._session_id, COMPLETED), subject_for(SPEECH_STATUS, session_id=self._session_id)
        )
        return self.outcome()

    async def whole(self, speech: SpeechService) -> Outcome:
        """Send the speech in one message when all of it is made."""
        room = self._reply.sender.room - ENVELOPE_BYTES - len(self._session_id.encode())
        pcm = bytearray()
        rate = 0
        async with aclosing(speech.say(self._call, self._text)) as spoken:
            async for chunk in spoken:
                self._first_s = self._first_s or time.monotonic() - self._started
                pcm += chunk.pcm
                rate = chunk.rate
                if len(pcm) > room:
                    # What is made beyond that reaches nobody.
                    break
        sound = fitting_sound(bytes(pcm), room)
        response = messages_pb2.TTSFullResponse(
            session_id=self._session_id,
            audio=wav_file(sound, rate),
            timestamp=int(time.time()),
            sample_rate=rate,
        )
        self._stream.note(sound, rate)
        await self._reply.finish(response, subject_for(SPEECH_AUDIO, session_id=self._session_id))
        self._whole_bytes = response.ByteSize()
        if len(pcm) > len(sound):
            await tell_status(self._reply.sender, self._session_id, ERROR, CUT)
            return self.outcome(PayloadTooLargeError.kind)
        await tell_status(self._reply.sender, self._session_id, COMPLETED)
        return self.outcome()

    async def stop(self) -> None:
        """End the stream where it is, because its listener interrupted it."""
        if self._stream.chunks:
            await self._stream.end(interrupted=True)
        await tell_status(self._reply.sender, self._session_id, ERROR, INTERRUPTED)
        if self._reply.reply_subject:
            await self._reply.refuse(RequestEndedError(INTERRUPTED))

    def outcome(self, error_kind: str = "") -> Outcome:
        """Return what became of it."""
        total = time.monotonic() - self._started
        stages = {"first_audio": self._first_s, "total": total, "audio": self._stream.seconds}
        size = self._stream.sound_bytes + self._whole_bytes
        return Outcome(error_kind, self._session_id, self._stream.chunks, size, stages, {"text": self._text.text})


class VoicesHandler:
    """Lists the voices, or looks for them again.

    Args:
        speech: Knows them.
        rescan: Whether to look for custom voices again first.
    """

    def __init__(self, speech: SpeechService, *, rescan: bool) -> None:
        self._speech = speech
        self._rescan = rescan

    async def handle(self, call: Call, request: None, reply: Reply) -> Outcome:
        """List the voices; see `Handler`."""
        del request
        voices = await self._speech.voices(call, self._rescan)
        custom = [_voice_info(voice) for voice in voices.custom if reply.names.has(NameKind.VOICE, voice.name)]
        built_in = [_voice_info(voice) for voice in voices.built_in if reply.names.has(NameKind.VOICE, voice.name)]
        # They name voices, too.
        faults = () if reply.names.is_limited(NameKind.VOICE) else voices.faults
        now = int(time.time())
        response: messages_pb2.TTSVoiceListResponse | messages_pb2.TTSVoiceRefreshResponse
        if self._rescan:
            response = messages_pb2.TTSVoiceRefreshResponse(
                count=len(custom), custom_voices=custom, timestamp=now, faults=faults
            )
        else:
            response = messages_pb2.TTSVoiceListResponse(
                default_speaker=voices.default,
                custom_voices=custom,
                last_refresh=voices.scanned_at,
                timestamp=now,
                built_in_voices=built_in,
                faults=faults,
            )
        await reply.finish(response)
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: None, error: HearthError, reply: Reply) -> None:
        """Answer that the voices are not known."""
        del request
        await reply.refuse(error)


def _reference(request: messages_pb2.TTSRequest) -> bytes:
    try:
        return base64.b64decode(request.speaker_wav_b64, validate=True)
    except ValueError as error:
        raise InvalidRequestError("speaker_wav_b64 is not base64 text", field="speaker_wav_b64") from error


def _voice_info(voice: VoiceInfo) -> messages_pb2.TTSVoiceInfo:
    return messages_pb2.TTSVoiceInfo(
        name=voice.name, language=voice.language, model_type=voice.kind, created_at=voice.created_at
    )
