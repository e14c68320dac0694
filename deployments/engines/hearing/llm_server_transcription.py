"""Speech to text by a `ray.serve.llm` deployment, called by its handle."""

from typing import Any

from deployments.call import Call
from deployments.engines.hearing.refusals import named_refusal, primary_language
from deployments.engines.llm_server import LLMRequest, LLMServerModel, Upload
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, wav_file
from deployments.values.speech import Transcript, TranscriptQuality


class LLMServerTranscription:
    """A speech model of an `LLMServer`.

    Args:
        server: The model there. It makes final and partial transcripts.
    """

    def __init__(self, server: LLMServerModel) -> None:
        self._server = server

    is_remote = True

    @property
    def description(self) -> str:
        return self._server.description

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        """Return what is said in samples at 16 kHz.

        Raises:
            InvalidRequestError: The server does not know the language.
        """
        del effort, urgent
        language = primary_language(language)
        fields: dict[str, Any] = {"language": language} if language else {}
        request = LLMRequest(
            "TranscriptionRequest",
            model=self._server.model,
            file=Upload(wav_file(pcm_of(samples), SPEECH_RATE)),
            response_format="json",
            temperature=0.0,
            **fields,
        )
        refused = named_refusal(language, self._server.errors)
        answer = await self._server.answer(call, "transcriptions", request, refused)
        text = getattr(answer, "text", None)
        if not isinstance(text, str):
            raise self._server.errors.nonsense("something that is not a transcript")
        return Transcript(text.strip(), language, len(samples) / SPEECH_RATE)

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""
