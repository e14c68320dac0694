"""Transcription: what is said, while it is being said and when it has been said."""

import asyncio
import logging

from deployments.call import Call
from deployments.component_status import replica_status, status_or_error
from deployments.errors import HearthError
from deployments.listening.agreement import agree
from deployments.services import SpeechToTextService
from deployments.text.scripts import may_be_written_in
from deployments.values.speech import (
    Agreement,
    PartialTranscript,
    Recording,
    Transcript,
    TranscriptQuality,
    TurnEnding,
    Utterance,
)
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)


class Transcription:
    """Transcribes utterances that grow, and decides on their words.

    `deployments.services.TranscriptionService` says what its methods do. Nothing is kept between calls, so any replica
    will do.

    Args:
        speech_to_text: Hears the words.
    """

    name = "Transcription"

    def __init__(self, speech_to_text: SpeechToTextService) -> None:
        self._speech_to_text = speech_to_text

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        transcript = await self._speech_to_text.transcribe(call, utterance, TranscriptQuality.PARTIAL)
        language = utterance.language or transcript.language
        # Of half a word, models make words of any language, in its script.
        text = transcript.text if may_be_written_in(transcript.text, language) else ""
        return PartialTranscript(agree(agreement, text), language)

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        transcript, completion = await asyncio.gather(
            self._speech_to_text.transcribe(call, utterance, TranscriptQuality.FINAL),
            self._completion(call, utterance) if judge_turn else _unjudged(),
        )
        return TurnEnding(transcript.text, utterance.language or transcript.language, completion)

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        return await self._speech_to_text.transcribe_recording(call, recording)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        below = await status_or_error("SpeechToText", self._speech_to_text.status(call), required=False)
        return (replica_status(self.name, "transcribes", required=False), below)

    async def _completion(self, call: Call, utterance: Utterance) -> float | None:
        try:
            return await self._speech_to_text.completion(call, utterance)
        except HearthError as error:
            # Without a judgement, the turn ends after the usual silence.
            logger.info("the end of a turn was not judged: %s", error.message)
            return None


async def _unjudged() -> None:
    return None
