"""Spoken questions on the wire: VoiceRequest to a recording, and all that led to its spoken answer to VoiceResponse."""

import asyncio
from contextlib import aclosing

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.citations import citation_message
from bridges.handlers.collected_answer import SPEECH_CUT, TEXT_CUT, CollectedAnswer, joined, with_another_replica
from bridges.nats.reply import Reply
from bridges.nats.sender import cut_to_fit
from bridges.operations.outcome import Outcome
from bridges.sessions.spoken_stream import ENVELOPE_BYTES
from bridges.sessions.turn_log import AnswerTimes, TurnRecords, TurnStages, unix_ms
from bridges.subjects import VOICE_RESPONSE, own_subjects, subject_for
from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, UnavailableError
from deployments.services import VoiceService
from deployments.values.chat import ChatQuestion
from deployments.values.speech import Recording
from deployments.values.voice import SpokenQuestion

SOURCES_CUT = "sources were left out: they do not fit into one message"


class VoiceHandler:
    """Answers VoiceRequests with the voice of the graph, always from documents and reranked.

    Args:
        voice: Understands and answers; None where nothing is heard and spoken.
        records: Where the records of turns go.
    """

    def __init__(self, voice: VoiceService | None, records: TurnRecords) -> None:
        self._voice = voice
        self._records = records

    async def handle(self, call: Call, request: messages_pb2.VoiceRequest, reply: Reply) -> Outcome:
        """Answer one request; see `Handler`."""
        subject = _subject(request)
        voice = self._voice
        if voice is None:
            raise UnavailableError("nothing is heard and spoken here: `audio.enabled` is off", retryable=False)
        if not request.audio:
            raise InvalidRequestError(
                "audio is empty: expected an audio file, such as WAV, FLAC, Ogg, MP3 or AIFF", field="audio"
            )
        began_at = asyncio.get_running_loop().time()

        async def attempt() -> CollectedAnswer:
            answer = CollectedAnswer(reply.sender.room)
            try:
                await _collect(voice, call, request, answer)
            except HearthError as error:
                answer.broke_off(error)
            return answer

        answer = await with_another_replica(call, attempt, lambda _: reply.may_begin_again(is_told=False))
        response = _response(request, answer, reply.sender.room)
        await reply.finish(response, subject)
        await self._records.write(reply.sender, _record(call, request, answer, began_at))
        said = {"question": answer.heard, "answer": answer.text}
        return answer.outcome(request.request_id, response.ByteSize(), said)

    async def fail(self, request: messages_pb2.VoiceRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that could not be begun, or that ran out of time."""
        response = messages_pb2.VoiceResponse(request_id=request.request_id, error=error.message)
        usable = own_subjects((VOICE_RESPONSE,), {"request_id": request.request_id})
        await reply.finish(response, next(iter(usable), ""))


async def _collect(
    voice: VoiceService, call: Call, request: messages_pb2.VoiceRequest, answer: CollectedAnswer
) -> None:
    """Take the answer to a request as it comes."""
    question = SpokenQuestion(
        ChatQuestion("", retrieve=True, rerank=True, collection=request.collection), language=request.language
    )
    recording = Recording(request.audio, request.language)
    async with aclosing(voice.answer_recording(call, recording, question)) as items:
        async for item in items:
            answer.take(item)


def _subject(request: messages_pb2.VoiceRequest) -> str:
    return subject_for(VOICE_RESPONSE, request_id=request.request_id) if request.request_id else ""


def _response(request: messages_pb2.VoiceRequest, answer: CollectedAnswer, limit: int) -> messages_pb2.VoiceResponse:
    """Return everything that fits: the transcript and the text first, then the sources, best first, then the sound."""
    errors = [answer.error]
    response = _text(request, answer, limit - ENVELOPE_BYTES)
    if response.response != answer.text:
        errors.append(TEXT_CUT)
    for passage in answer.end.passages:
        cited = citation_message(passage.citation)
        source = messages_pb2.DocumentSource(text=passage.text, score=passage.score, citation=cited)
        if response.ByteSize() + source.ByteSize() + ENVELOPE_BYTES > limit:
            errors.append(SOURCES_CUT)
            break
        response.sources.append(source)
    response.audio, is_whole = answer.wav(limit - response.ByteSize() - ENVELOPE_BYTES)
    if not is_whole:
        errors.append(SPEECH_CUT)
    # Room for so much was left.
    response.error = joined(*errors).encode()[:ENVELOPE_BYTES].decode(errors="ignore")
    return response


def _text(request: messages_pb2.VoiceRequest, answer: CollectedAnswer, limit: int) -> messages_pb2.VoiceResponse:
    def build(characters: int) -> messages_pb2.VoiceResponse:
        return messages_pb2.VoiceResponse(
            request_id=request.request_id, response=answer.text[:characters], transcription=answer.heard
        )

    return cut_to_fit(limit, len(answer.text), build)


def _record(
    call: Call, request: messages_pb2.VoiceRequest, answer: CollectedAnswer, began_at: float
) -> conversation_pb2.TurnRecord:
    """Return the record of a turn whose question came as a whole: its times count from the request."""
    stages = TurnStages()
    spoken_stages = answer.spoken_end.stages.items() if answer.spoken_end else ()
    times = {name: began_at + at for name, at in spoken_stages}
    if "transcribed" in times:
        stages.add("transcribe", began_at, times["transcribed"])
    stages.answered(
        AnswerTimes(
            asked_at=times.get("transcribed", began_at),
            retrieve_s=answer.end.stages.get("retrieve"),
            passages=len(answer.end.passages),
            first_token_at=times.get("first_token", 0.0),
            last_token_at=times.get("generated", 0.0),
            tokens=len(answer.tokens),
            thought_tokens=answer.end.thought_tokens,
            first_sound_at=times.get("first_audio", 0.0),
            last_sound_at=times.get("spoken", 0.0),
            sound_s=answer.sound_s,
        )
    )
    return conversation_pb2.TurnRecord(
        session_id=request.request_id,
        speech_ended_at_ms=unix_ms(began_at),
        question=answer.heard,
        answer=answer.text,
        outcome="answered" if answer.tokens else "failed",
        error=answer.error,
        trace_id=call.request_id,
        stages=stages.messages(began_at),
    )
