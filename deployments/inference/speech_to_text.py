"""Speech to text: sound in, words out, and no words where nobody spoke."""

import asyncio

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import AudioDecoder, EndOfTurnEngine, SpeechToTextEngine
from deployments.errors import InvalidRequestError, Limit, PayloadTooLargeError
from deployments.listening.voice_activity import (
    WINDOW_S,
    WINDOW_SAMPLES,
    Thresholds,
    VoiceActivityEngine,
    group_regions,
    speech_regions,
)
from deployments.sound.level import LevelControl, levelled
from deployments.values.sound import SPEECH_RATE, Samples, samples_of
from deployments.values.speech import Recording, Transcript, TranscriptQuality, Utterance
from deployments.values.status import ComponentStatus

_UTTERANCE_S = 30.0
_PIECE_WINDOWS = int(10.0 / WINDOW_S)
"""A recording is transcribed in pieces of at most 10 s, cut at pauses, so that a live utterance waits for one alone. Of
two minutes of recordings 8.2 % of the words are wrong then, 9.2 % with 15 s, 8.6 % with 20 s and 10.3 % with 28 s."""
_MIN_UTTERANCE_SAMPLES = SPEECH_RATE // 20


class SpeechToText:
    """Transcribes with one engine.

    `deployments.services.SpeechToTextService` says what its methods do.

    Args:
        engine: Hears the words.
        activity: Finds speech in recordings.
        end_of_turn: Judges whether a speaker has finished; None where nobody does.
        decode: Turns an audio file into samples at 16 kHz.
        max_recording_s: Longer recordings are refused.
    """

    name = "SpeechToText"

    def __init__(
        self,
        engine: SpeechToTextEngine,
        activity: VoiceActivityEngine,
        end_of_turn: EndOfTurnEngine | None,
        decode: AudioDecoder,
        max_recording_s: float,
    ) -> None:
        self._engine = engine
        self._activity = activity
        self._end_of_turn = end_of_turn
        self._decode = decode
        self._max_recording_s = max_recording_s

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        samples = _checked_samples(utterance.pcm)
        if len(samples) < _MIN_UTTERANCE_SAMPLES:
            return Transcript("", utterance.language, len(samples) / SPEECH_RATE)
        return await self._engine.transcribe(call, levelled(samples), utterance.language, effort)

    async def transcribe_recording(self, call: Call, recording: Recording) -> Transcript:
        samples = await asyncio.to_thread(self._decode, recording.data, self._max_recording_s)
        pieces = await asyncio.to_thread(self._speech, samples)
        texts: list[str] = []
        language = recording.language
        for piece in pieces:
            heard = await self._engine.transcribe(call, piece, language, TranscriptQuality.FINAL, urgent=False)
            if heard.text:
                texts.append(heard.text)
                language = language or heard.language
        return Transcript(" ".join(texts), language, len(samples) / SPEECH_RATE)

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        if self._end_of_turn is None or not utterance.pcm:
            return None
        return await self._end_of_turn.completion(call, _checked_samples(utterance.pcm))

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return await engine_status(self.name, self._engine.description, self._engine.check(), required=False)

    def _speech(self, samples: Samples) -> list[Samples]:
        """Return the pieces of a recording in which somebody speaks."""
        stream, level = self._activity.new_stream(), LevelControl()
        probabilities: list[float] = []
        for start in range(0, len(samples) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES):
            window = level.raised(level.centred(samples[start : start + WINDOW_SAMPLES]))
            probabilities += self._activity.probabilities([stream], [window])
        groups = group_regions(speech_regions(probabilities, Thresholds()), probabilities, _PIECE_WINDOWS)
        return [levelled(samples[group.start * WINDOW_SAMPLES : group.end * WINDOW_SAMPLES]) for group in groups]


def _checked_samples(pcm: bytes) -> Samples:
    if len(pcm) % 2:
        raise InvalidRequestError(f"16-bit sound has an even number of bytes, this has {len(pcm)}", field="audio")
    samples = samples_of(pcm)
    if (seconds := len(samples) / SPEECH_RATE) > _UTTERANCE_S:
        raise PayloadTooLargeError(
            f"an utterance lasts at most {_UTTERANCE_S:g} s, this {seconds:.0f} s",
            field="audio",
            limit=Limit("utterance_s", _UTTERANCE_S, seconds),
        )
    return samples
