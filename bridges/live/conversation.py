"""A conversation over one live session: every final transcript is answered aloud, and the answer can be interrupted.

It is told what is said (by `bridges.live.transcripts`), has each question answered (`bridges.live.spoken_answer`), and
keeps in memory what was heard of the answers. A turn whose speaker goes on is reopened: its answer is dropped, and the
question that is transcribed then holds both parts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.live.client_messages import SessionState
from bridges.live.handover import SessionTerms
from bridges.live.questions import ComingQuestion, ConversationQuestions, QuestionParts
from bridges.live.speculation import Speculation
from bridges.live.spoken_answer import AnswerOutlet, SpokenAnswer, tell_broken_off
from bridges.live.tasks import Spawn
from bridges.live.turn import Turn
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.sender import Sender
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork
from bridges.sessions.turn_log import TurnRecords
from deployments.services import VoiceService
from deployments.settings.audio import ConversationSettings
from deployments.values.language import Exchange


@dataclass(frozen=True, slots=True)
class ConversationParts:
    """What all conversations of a replica share.

    Attributes:
        settings: How what is said is answered.
        chunk_bytes: Sound in one message at most.
        voice: Answers.
        work: Where an interruption finds the answers.
        memory: What was said before.
        records: Where the records of turns go.
    """

    settings: ConversationSettings
    chunk_bytes: int
    voice: VoiceService
    work: SessionWork
    memory: ConversationMemory
    records: TurnRecords


class Conversation:
    """The conversation of one session.

    Args:
        session_id: Whose.
        terms: What its "start" asked for.
        request: How it is to be answered.
        parts: What it shares with others.
        turn_to: Changes the state of the session.
        spawn: Starts a task that the ingress owns.
        sender: Sends.
        turns: Turns before it, where another replica began it.
    """

    def __init__(
        self,
        session_id: str,
        terms: SessionTerms,
        request: conversation_pb2.ConversationRequest,
        parts: ConversationParts,
        turn_to: Callable[[SessionState], None],
        spawn: Spawn,
        sender: Sender,
        turns: int = 0,
    ) -> None:
        settings = parts.settings
        self._session_id = session_id
        self._user_id = terms.user_id
        self._parts = parts
        self._turn_to = turn_to
        self._spawn = spawn
        self._outlet = AnswerOutlet(session_id, sender, parts.work, parts.chunk_bytes, settings.report_wait_ms / 1000)
        question_parts = QuestionParts(parts.voice, parts.memory, settings.answer_timeout_s)
        self._questions = ConversationQuestions(session_id, terms, request, question_parts)
        self._answer: SpokenAnswer | None = None
        self._settling: asyncio.Task[None] | None = None
        self.turns = turns
        """How many there were."""
        self._expect_question()

    @property
    def is_answering(self) -> bool:
        """Whether an answer is being made or heard."""
        return self._answer is not None and not self._answer.is_over

    @property
    def unsent_turn(self) -> int:
        """The turn whose answer was not sent to its end yet; 0 for none."""
        answer = self._answer
        return answer.turn.number if answer is not None and not (answer.is_over or answer.is_sent) else 0

    def broke_off(self, turn: int) -> None:
        """Tell that the answer of a turn ends where it is, because the replica that spoke it is gone."""
        self._spawn(tell_broken_off(self._outlet, turn))

    # What is said.

    def begins(self) -> None:
        """Learn that something is being said."""
        self._coming.turn = self.turns + 1
        self._speculation.begins()

    def hears(self, likely_text: str) -> None:
        """Take the words of a question that are likely to stay, while it is being asked."""
        self._speculation.partly_known(likely_text)

    def pauses(self, text: str) -> None:
        """Take a question as it is, should it end here."""
        # What is still being said to its speaker is not in memory yet, so the answer might not know of it.
        self._speculation.perhaps_whole(text, may_answer=not self.is_answering)

    def goes_on(self) -> None:
        """Learn that speech goes on after a pause."""
        self._speculation.goes_on()

    def goes_on_with(self, turn: Turn) -> None:
        """Learn that what is being said goes on with the question of a turn."""
        self._coming.turn = turn.number

    def next_turn(self, speech_ended_at: float, reopened: Turn | None) -> Turn:
        """Return the turn of a question that was taken as ended now: a new one, or the one that it goes on with."""
        if reopened is None:
            self.turns += 1
        revision = reopened.revision + 1 if reopened else 0
        return Turn(self.turns, revision, speech_ended_at, now())

    def ask(self, turn: Turn, question: str) -> None:
        """Have a question answered; the session is responding until the answer was heard."""
        turn.question = question
        coming = self._coming
        coming.turn = turn.number
        self._turn_to(SessionState.RESPONDING)
        self._answer = SpokenAnswer(
            turn,
            self._speculation,
            lambda found: coming.answer(question, found),
            self._outlet,
            self._spawn,
            before=self._answer,
        )
        self._settling = self._spawn(self._settle(self._answer, self._settling))
        self._expect_question()

    def reopens(self, onset: float) -> Turn | None:
        """Return the turn that speech, which interrupts its answer, goes on with; None where it begins another one.

        Args:
            onset: When the speech began.
        """
        answer = self._answer
        if answer is None or answer.is_over:
            return None
        answer.is_spoken_into()
        turn = answer.turn
        soon = onset - turn.ended_at <= self._parts.settings.reopen_ms / 1000
        if not soon and turn.answer.playback.seconds and turn.answer.heard_s > 0:
            return None
        turn.is_reopened = True
        return turn

    def played(self, report: conversation_pb2.PlaybackReport) -> None:
        """Take the client's word on how much of an answer's sound was heard."""
        answer = self._answer
        if answer is not None and report.turn == answer.turn.number and report.milliseconds >= 0:
            answer.report(report.milliseconds)

    # Its end.

    async def finish(self) -> None:
        """Return when the answer on its way, if there is one, was sent."""
        if self._answer is not None:
            await self._answer.sent()

    def close(self) -> None:
        """End the conversation: an answer that was sent counts as heard, another one is stopped."""
        self._speculation.cancel()
        if self._answer is not None:
            self._answer.close()

    async def _settle(self, answer: SpokenAnswer, before: asyncio.Task[None] | None) -> None:
        """Have the session listen when an answer is over, remember what was heard of it, and write its record."""
        await answer
        if answer is self._answer and not answer.is_stopped:
            self._turn_to(SessionState.LISTENING)
        if not answer.was_begun:
            return
        if before is not None:
            await asyncio.wait([before])
        turn = answer.turn
        if not turn.is_reopened:
            heard = await answer.heard()
            if heard or answer.is_stopped:
                await self._questions.remember(Exchange(turn.question, heard))
        record = turn.record(self._session_id, self._user_id)
        await self._parts.records.write(self._outlet.sender, record)

    def _expect_question(self) -> None:
        """Be ready for what is said next."""
        self._coming = ComingQuestion(self._questions, self.turns + 1, self._settling)
        self._speculation = Speculation(self._parts.settings.preparation, self._coming, self._spawn)
