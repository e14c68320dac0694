"""Speech to text by any other deployment of the cluster, called by its handle."""

from deployments.call import Call
from deployments.engines.adapter_protocols import SpeechToTextAdapter
from deployments.engines.binding import Binding, text_by
from deployments.values.sound import SPEECH_RATE, Samples
from deployments.values.speech import Transcript, TranscriptQuality


class DeployedTranscription:
    """A speech recognizer."""

    is_remote = True

    def __init__(self, binding: Binding, adapter: SpeechToTextAdapter) -> None:
        self._binding = binding
        self._adapter = adapter

    @property
    def description(self) -> str:
        return self._binding.description

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        """Return what is said in samples at 16 kHz."""
        del effort, urgent
        arguments = self._binding.arguments(self._adapter.request, samples, language)
        text = await self._binding.answer(call, arguments, text_by(self._adapter.text))
        return Transcript(text.strip(), language, len(samples) / SPEECH_RATE)

    async def check(self) -> None:
        await self._binding.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""
