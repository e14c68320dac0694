"""What the deployments say to each other about spoken questions and spoken answers: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion
from deployments.values.speech import SpokenChunk, Transcript


@dataclass(frozen=True, slots=True)
class SpokenQuestion:
    """A question whose answer is to be heard.

    Attributes:
        question: What is asked; its text is empty where a recording says it.
        voice: Name of the voice that answers; empty for the default.
        language: ISO 639-1 code that the answer is spoken in; empty for the voice's own.
    """

    question: ChatQuestion
    voice: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class SpokenAnswerEnd:
    """The end of a spoken answer: the last item of its stream, and the only one of its kind.

    Attributes:
        answer: The end of the text.
        transcription_error: Why the question was not understood; empty where it was.
        speech_error: Why the answer was not spoken, or not to its end; empty where it was.
        stages: Seconds from the beginning of the answer to each point of it, by name: "transcribed", "first_token",
            "first_sentence" (whole enough to be spoken), "first_audio", "generated", "spoken".
    """

    answer: AnswerEnd
    transcription_error: str = ""
    speech_error: str = ""
    stages: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def error(self) -> str:
        """Everything that went wrong, for the client."""
        return "; ".join(filter(None, (self.transcription_error, self.answer.error, self.speech_error)))


SpokenAnswerItem = Transcript | AnswerToken | SpokenChunk | AnswerEnd | SpokenAnswerEnd
