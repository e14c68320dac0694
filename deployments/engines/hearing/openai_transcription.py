"""Speech to text behind the OpenAI transcription API: faster-whisper servers, vLLM and others."""

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.shapes import ShapeError, transcript_of
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, wav_file
from deployments.values.speech import Transcript, TranscriptQuality


class OpenAITranscription:
    """A model of an OpenAI-compatible server.

    Args:
        server: The server.
        model: The model's name there; empty where the server has only one.
        partial_model: The same for partial transcripts; empty for the same model.
    """

    def __init__(self, server: HttpBackEnd, *, model: str, partial_model: str = "") -> None:
        self._server = server
        self._models = {TranscriptQuality.FINAL: model, TranscriptQuality.PARTIAL: partial_model or model}

    is_remote = True

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._models[TranscriptQuality.FINAL]}".rstrip(", ")

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        """Return what is said in samples at 16 kHz."""
        del urgent
        wav = wav_file(pcm_of(samples), SPEECH_RATE)
        fields = {"model": self._models[effort], "language": language, "response_format": "json"}
        response = await self._server.fetch(
            call,
            "POST",
            "/v1/audio/transcriptions",
            data={name: value for name, value in fields.items() if value},
            files={"file": ("utterance.wav", wav, "audio/wav")},
        )
        answer = self._server.json_of(response)
        try:
            text = transcript_of(answer)
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error
        return Transcript(text, language, len(samples) / SPEECH_RATE)

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()
