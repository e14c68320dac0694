"""A turn of a conversation: a question, how far its answer is, and the record of both."""

from dataclasses import dataclass, field

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.live.answer_progress import AnswerProgress
from bridges.sessions.turn_log import TurnStages, unix_ms
from deployments.values.chat import AnswerEnd, Preparation


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
        answer: How far its answer is.
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
    answer: AnswerProgress = field(default_factory=AnswerProgress)
    is_reopened: bool = False

    @property
    def outcome(self) -> str:
        """What became of it, as its record says."""
        if self.is_reopened:
            return "reopened"
        if self.answer.stopped_at:
            return "interrupted"
        return "played" if self.answer.written else "failed"

    def prepared(self, preparation: Preparation | None, count: int) -> None:
        """Take note of what was done before the question was whole."""
        self.decisions["preparations"] = str(count)
        if preparation is None:
            return
        end = self.answer.text_end or AnswerEnd()
        self.decisions["preparation"] = end.preparation
        self.decisions["prepared_tokens"] = str(preparation.tokens_read)
        self.decisions["wasted_tokens"] = str(preparation.wasted_unless_kept(end.preparation_kept))

    def begun_ahead(self, count: int, *, is_kept: bool) -> None:
        """Take note of answers that were begun before the question was known to be over."""
        self.decisions["answers_ahead"] = str(count)
        self.decisions["answers_in_vain"] = str(count - is_kept)

    def record(self, session_id: str, user_id: str) -> conversation_pb2.TurnRecord:
        """Return the record of it, complete once it is over."""
        self._complete()
        answer = self.answer
        return conversation_pb2.TurnRecord(
            session_id=session_id,
            turn=self.number,
            revision=self.revision,
            epoch=answer.epoch,
            user_id=user_id,
            speech_ended_at_ms=unix_ms(self.speech_ended_at),
            question=self.question,
            answer="".join(answer.written),
            heard="" if self.is_reopened else answer.heard,
            outcome=self.outcome,
            error=answer.error,
            stages=self.stages.messages(self.speech_ended_at),
            decisions=self.decisions,
        )

    def _complete(self) -> None:
        answer, playback = self.answer, self.answer.playback
        self.stages.answered(answer.times())
        if playback.seconds:
            ends_at = answer.stopped_at or max(answer.ends_at, playback.begins_at)
            self.stages.add("playback", playback.begins_at, ends_at)
        if answer.stopped_at:
            self.stages.moment(self.outcome, answer.stopped_at)
            self.decisions["played_ms"] = str(round(answer.heard_s * 1000))
            self.decisions["played_by"] = "pace" if answer.reported is None else "client"
