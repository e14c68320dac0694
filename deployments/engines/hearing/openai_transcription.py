"""Speech to text behind the OpenAI transcription API: faster-whisper servers, vLLM and others."""

import httpx

from deployments.call import Call
from deployments.engines.hearing.refusals import named_refusal, primary_language
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.shapes import ShapeError, transcript_of
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, wav_file
from deployments.values.speech import Transcript, TranscriptQuality

_PATH = "/v1/audio/transcriptions"
_PLAIN_TEXT = "text/plain"
"""What a server answers with that does not know of `response_format`."""


class OpenAITranscription:
    """A model of an OpenAI-compatible server.

    Args:
        server: The server.
        model: The model's name there; empty where the server has only one.
        partial_model: The same for partial transcripts; empty for the same model.
        language: ISO 639-1 code that it is told where a request names none; empty to let it find out.
    """

    def __init__(self, server: HttpBackEnd, *, model: str, partial_model: str = "", language: str = "") -> None:
        self._server = server
        self._language = language
        self._models = {TranscriptQuality.FINAL: model, TranscriptQuality.PARTIAL: partial_model or model}

    is_remote = True

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._models[TranscriptQuality.FINAL]}".rstrip(", ")

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        """Return what is said in samples at 16 kHz.

        Raises:
            InvalidRequestError: The server does not know the language.
        """
        del urgent
        language = primary_language(language or self._language)
        wav = wav_file(pcm_of(samples), SPEECH_RATE)
        fields = {"model": self._models[effort], "language": language, "response_format": "json"}
        response = await self._server.fetch(
            call,
            "POST",
            _PATH,
            data={name: value for name, value in fields.items() if value},
            files={"file": ("utterance.wav", wav, "audio/wav")},
            refused=named_refusal(language, self._server.errors),
        )
        return Transcript(self._text_of(response), language, len(samples) / SPEECH_RATE)

    def _text_of(self, response: httpx.Response) -> str:
        if response.headers.get("Content-Type", "").startswith(_PLAIN_TEXT):
            return response.text.strip()
        try:
            return transcript_of(self._server.json_of(response))
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error

    async def check(self) -> None:
        await self._server.check(_PATH)

    async def close(self) -> None:
        await self._server.close()
