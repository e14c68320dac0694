"""How far an answer is: what was written, what was sent, and what of it was heard. No task, no message."""

from dataclasses import dataclass, field

from bridges.sessions.turn_log import AnswerTimes
from deployments.speaking.playback import Playback
from deployments.values.chat import AnswerEnd
from deployments.values.speech import SpokenChunk
from deployments.values.voice import SpokenAnswerEnd


@dataclass(slots=True, eq=False)
class AnswerProgress:
    """How far one answer is. Times are on the loop's clock, and 0 for what has not happened.

    Attributes:
        playback: Its sound.
        written: Its text, by tokens.
        text_end: The end of its text.
        end: The end of its text and its sound.
        failure: What kept it from being made.
        epoch: Of the session when it began.
        asked_at: When it was begun.
        first_token_at: When its first token came.
        last_token_at: When its last token came.
        last_sound_at: When the last of its sound was sent.
        reported: What the client says it has played, in seconds, and when it said so.
        stopped_at: When it was interrupted, or closed before its end.
    """

    playback: Playback = field(default_factory=Playback)
    written: list[str] = field(default_factory=list[str])
    text_end: AnswerEnd | None = None
    end: SpokenAnswerEnd | None = None
    failure: str = ""
    epoch: int = 0
    asked_at: float = 0.0
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    last_sound_at: float = 0.0
    reported: tuple[float, float] | None = None
    stopped_at: float = 0.0

    @property
    def error(self) -> str:
        """What was wrong with it; empty where nothing was."""
        return self.end.error if self.end else self.failure

    @property
    def has_failed(self) -> bool:
        """Whether it was not made, or not to its end. One that was cut at the model's limit stands, and says so."""
        if self.end is None:
            return bool(self.failure)
        return bool(self.end.answer.error_kind or self.end.transcription_error or self.end.speech_error)

    @property
    def ends_at(self) -> float:
        """When all of its sound that was sent will have been heard."""
        if self.reported is None:
            return self.playback.ends_at
        seconds, at = self.reported
        return at + self.playback.seconds - seconds

    @property
    def heard_s(self) -> float:
        """How much of its sound was heard when it was stopped, or at its end, in seconds."""
        if not self.stopped_at:
            return self.playback.seconds
        if self.reported is None:
            return self.playback.position_s(self.stopped_at)
        seconds, at = self.reported
        return min(seconds + max(0.0, self.stopped_at - at), self.playback.seconds)

    @property
    def heard(self) -> str:
        """What of its text was heard."""
        if self.stopped_at:
            return self.playback.heard(self.heard_s)
        unfinished = self.text_end.unfinished if self.text_end else ""
        return "".join(self.written).rstrip().removesuffix(unfinished).rstrip()

    @property
    def awaits_report(self) -> bool:
        """Whether its client has not said yet what it had played when it was stopped."""
        if not self.stopped_at or not self.playback.seconds:
            return False
        return self.reported is None or self.reported[1] < self.stopped_at

    def stop(self, at: float) -> None:
        """Take note that it was stopped; only the first time counts."""
        self.stopped_at = self.stopped_at or at

    def report(self, milliseconds: int, at: float) -> None:
        """Take the client's word on how much of the sound it has played."""
        self.reported = (min(milliseconds / 1000, self.playback.seconds), max(at, self.stopped_at))

    def token(self, text: str, at: float) -> None:
        """Take a piece of its text."""
        self.written.append(text)
        self.first_token_at = self.first_token_at or at
        self.last_token_at = at

    def sound(self, chunk: SpokenChunk, at: float) -> None:
        """Take a piece of its sound that is sent now."""
        self.playback.add(chunk, at)

    def times(self) -> AnswerTimes:
        """Return when it came."""
        end = self.text_end or AnswerEnd()
        return AnswerTimes(
            asked_at=self.asked_at,
            retrieve_s=end.stages.get("retrieve"),
            passages=len(end.passages),
            first_token_at=self.first_token_at,
            last_token_at=self.last_token_at,
            tokens=len(self.written),
            thought_tokens=end.thought_tokens,
            first_sound_at=self.playback.begins_at,
            last_sound_at=self.last_sound_at,
            sound_s=self.playback.seconds,
        )
