"""A turn of a conversation: a question, its answer, and what of the answer was heard."""

import asyncio
from dataclasses import dataclass, field

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.sessions.turn_log import AnswerTimes, TurnStages, unix_ms
from deployments.speaking.playback import Playback
from deployments.values.chat import AnswerEnd, Preparation
from deployments.values.voice import SpokenAnswerEnd


@dataclass(slots=True, eq=False)
class Turn:
    """A question and its answer. Times are on the loop's clock.

    Attributes:
        number: From 1, in its session.
        revision: How often it was reopened.
        speech_ended_at: When the last of the question was heard.
        ended_at: When it was taken as ended.
        pcm: The last part of the question's sound, for when its speaker goes on.
        is_one_part: Whether that is all of it.
        question: Its final transcript.
        stages: What happened when.
        decisions: Why things went as they did.
        playback: The answer's sound.
        written: The answer's text.
        text_end: The end of its text.
        end: The end of the text and the sound.
        error: What kept it from being answered.
        epoch: Of the session when the answer began.
        asked_at: When the answer was begun.
        first_token_at: When its first token came.
        last_token_at: When its last token came.
        last_sound_at: When the last of its sound was sent.
        sent: Set when all of it was sent.
        reported: What the client says it has played, in seconds, and when it said so.
        report_came: Set with each report.
        stopped_at: When it was interrupted, or closed before its end.
        is_reopened: Whether its speaker went on with it.
    """

    number: int
    revision: int
    speech_ended_at: float
    ended_at: float
    pcm: bytes = b""
    is_one_part: bool = True
    question: str = ""
    stages: TurnStages = field(default_factory=TurnStages)
    decisions: dict[str, str] = field(default_factory=dict[str, str])
    playback: Playback = field(default_factory=Playback)
    written: list[str] = field(default_factory=list[str])
    text_end: AnswerEnd | None = None
    end: SpokenAnswerEnd | None = None
    error: str = ""
    epoch: int = 0
    asked_at: float = 0.0
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    last_sound_at: float = 0.0
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    reported: tuple[float, float] | None = None
    report_came: asyncio.Event = field(default_factory=asyncio.Event)
    stopped_at: float = 0.0
    is_reopened: bool = False

    @property
    def ends_at(self) -> float:
        """When the answer's sound will have been heard."""
        if self.reported is None:
            return self.playback.ends_at
        seconds, at = self.reported
        return at + self.playback.seconds - seconds

    @property
    def heard_s(self) -> float:
        """How much of the answer's sound was heard when it was stopped, or at its end."""
        if not self.stopped_at:
            return self.playback.seconds
        if self.reported is None:
            return self.playback.position_s(self.stopped_at)
        seconds, at = self.reported
        return min(seconds + max(0.0, self.stopped_at - at), self.playback.seconds)

    @property
    def heard(self) -> str:
        """What of the answer was heard."""
        return self.playback.heard(self.heard_s) if self.stopped_at else "".join(self.written)

    @property
    def outcome(self) -> str:
        """What became of it, as its record says."""
        if self.is_reopened:
            return "reopened"
        if self.stopped_at:
            return "interrupted"
        return "played" if self.written else "failed"

    def report(self, milliseconds: int, now: float) -> None:
        """Take the client's word on how much of the sound it has played."""
        self.reported = (min(milliseconds / 1000, self.playback.seconds), max(now, self.stopped_at))
        self.report_came.set()

    def token(self, text: str, now: float) -> None:
        """Take a piece of the answer's text."""
        self.written.append(text)
        self.first_token_at = self.first_token_at or now
        self.last_token_at = now

    def record(self, session_id: str, user_id: str) -> conversation_pb2.TurnRecord:
        """Return the record of it, complete once it is over."""
        self._complete()
        return conversation_pb2.TurnRecord(
            session_id=session_id,
            turn=self.number,
            revision=self.revision,
            epoch=self.epoch,
            user_id=user_id,
            speech_ended_at_ms=unix_ms(self.speech_ended_at),
            question=self.question,
            answer="".join(self.written),
            heard="" if self.is_reopened else self.heard,
            outcome=self.outcome,
            error=self.end.error if self.end else self.error,
            stages=self.stages.messages(self.speech_ended_at),
            decisions=self.decisions,
        )

    def prepared(self, preparation: Preparation | None, count: int) -> None:
        """Take note of what was done before the question was whole."""
        self.decisions["preparations"] = str(count)
        if preparation is None:
            return
        end = self.text_end or AnswerEnd()
        self.decisions["preparation"] = end.preparation
        self.decisions["prepared_tokens"] = str(preparation.tokens_read)
        self.decisions["wasted_tokens"] = str(preparation.wasted_unless_kept(end.preparation_kept))

    def begun_ahead(self, count: int, *, is_kept: bool) -> None:
        """Take note of answers that were begun before the question was known to be over."""
        self.decisions["answers_ahead"] = str(count)
        self.decisions["answers_in_vain"] = str(count - is_kept)

    def _complete(self) -> None:
        stages, playback = self.stages, self.playback
        end = self.text_end or AnswerEnd()
        stages.answered(
            AnswerTimes(
                asked_at=self.asked_at,
                retrieve_s=end.stages.get("retrieve"),
                passages=len(end.passages),
                first_token_at=self.first_token_at,
                last_token_at=self.last_token_at,
                tokens=len(self.written),
                first_sound_at=playback.begins_at,
                last_sound_at=self.last_sound_at,
                sound_s=playback.seconds,
            )
        )
        if playback.seconds:
            stages.add("playback", playback.begins_at, self.stopped_at or max(self.ends_at, playback.begins_at))
        if self.stopped_at:
            stages.moment(self.outcome, self.stopped_at)
            self.decisions["played_ms"] = str(round(self.heard_s * 1000))
            self.decisions["played_by"] = "pace" if self.reported is None else "client"
