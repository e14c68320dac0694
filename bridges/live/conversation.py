"""A conversation over one live session: every final transcript is answered aloud, and the answer can be interrupted.

The listening (`bridges.live.ingress`) tells it what is said; it has the answer made, sends sound and text as they
come, and keeps in memory what was heard. A turn whose speaker goes on is reopened: its answer is dropped, and the
question that is transcribed then holds both parts.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.live.session import AudioSession, SessionState
from bridges.live.speculation import Speculation
from bridges.live.speculative_answer import Spawn
from bridges.live.turn import Turn
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.sender import Sender
from bridges.sessions.epochs import SessionWork
from bridges.sessions.speech_status import COMPLETED, ERROR, INTERRUPTED, PROCESSING, tell_status
from bridges.sessions.spoken_stream import SpokenStream
from bridges.sessions.turn_log import TurnRecords
from bridges.subjects import CONVERSATION_TEXT, subject_for
from deployments.call import Call
from deployments.errors import HearthError
from deployments.services import VoiceService
from deployments.settings.audio import ConversationSettings
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, Preparation
from deployments.values.language import Exchange
from deployments.values.speech import SpokenChunk, Transcript
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem, SpokenQuestion

logger = logging.getLogger(__name__)


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
        session: The session.
        request: How it is to be answered.
        parts: What it shares with others.
        spawn: Starts a task that the ingress owns.
        sender: Sends.
        turns: Turns before it, where another replica began it.
    """

    def __init__(
        self,
        session: AudioSession,
        request: conversation_pb2.ConversationRequest,
        parts: ConversationParts,
        spawn: Spawn,
        sender: Sender,
        turns: int = 0,
    ) -> None:
        self._session = session
        self.request = request
        self._parts = parts
        self._spawn = spawn
        self._sender = sender
        self._memory_key = session.user_id or f"session:{session.id}"
        self._history: tuple[Exchange, ...] | None = None
        self._preparing = self._new_preparing()
        self._turn: Turn | None = None
        self._answering: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self.turns = turns
        """How many there were."""

    @property
    def is_answering(self) -> bool:
        """Whether an answer is being made or heard."""
        return self._answering is not None and not self._answering.done()

    # What is said.

    def begins(self) -> None:
        """Learn that something is being said."""
        self._preparing.begins()

    def hears(self, likely_text: str) -> None:
        """Take the words of a question that are likely to stay, while it is being asked."""
        self._preparing.partly_known(likely_text)

    def pauses(self, text: str) -> None:
        """Take a question as it is, should it end here."""
        # What is still being said to its speaker is not in memory yet, so the answer might not know of it.
        self._preparing.perhaps_whole(text, may_answer=not self.is_answering)

    def goes_on(self) -> None:
        """Learn that speech goes on after a pause."""
        self._preparing.goes_on()

    def next_turn(self, speech_ended_at: float, reopened: Turn | None) -> Turn:
        """Return the turn of a question that was taken as ended now: a new one, or the one that it goes on with."""
        if reopened is None:
            self.turns += 1
        revision = reopened.revision + 1 if reopened else 0
        return Turn(self.turns, revision, speech_ended_at, self._now())

    def ask(self, turn: Turn, question: str) -> None:
        """Have a question answered."""
        turn.question = question
        before, self._turn = self._answering, turn
        preparing, self._preparing = self._preparing, self._new_preparing()
        self._session.state = SessionState.RESPONDING
        self._answering = self._spawn(self._answer(turn, preparing, before))

    def reopens(self, onset: float) -> Turn | None:
        """Return the turn that speech, which interrupts its answer, goes on with; None where it begins another one.

        Args:
            onset: When the speech began.
        """
        turn = self._turn
        if turn is None or not self.is_answering:
            return None
        turn.stopped_at = self._now()
        soon = onset - turn.ended_at <= self._parts.settings.reopen_ms / 1000
        if not soon and turn.playback.seconds and turn.heard_s > 0:
            return None
        turn.is_reopened = True
        return turn

    def played(self, report: conversation_pb2.PlaybackReport) -> None:
        """Take the client's word on how much of an answer's sound was heard."""
        turn = self._turn
        if turn is not None and report.turn == turn.number and report.milliseconds >= 0:
            turn.report(report.milliseconds, self._now())

    async def finished(self) -> None:
        """Return when the answer on its way, if there is one, was sent."""
        if self._turn is not None and self._answering is not None and not self._answering.done():
            sent = asyncio.ensure_future(self._turn.sent.wait())
            await asyncio.wait((sent, self._answering), return_when=asyncio.FIRST_COMPLETED)
            sent.cancel()

    def close(self) -> None:
        """End the conversation: an answer that was sent counts as heard, another one is stopped."""
        self._preparing.cancel()
        turn, task = self._turn, self._answering
        if turn is None or task is None or task.done():
            return
        if turn.sent.is_set():
            turn.report(round(turn.playback.seconds * 1000) + 1, self._now())
        else:
            turn.stopped_at = self._now()
            task.cancel()

    # The answer.

    async def _answer(self, turn: Turn, preparing: Speculation, before: asyncio.Task[None] | None) -> None:
        task = asyncio.current_task()
        if turn.stopped_at or task is None:
            # Spoken into before it began.
            preparing.cancel()
            return
        if before is not None and not before.done():
            # Its client says that it listens, so what is still being said to it is over.
            await self._parts.work.interrupt(self._session.id)
        stream = SpokenStream(self._sender, self._session.id, self._parts.chunk_bytes, self._parts.work, turn.number)

        async def stop() -> None:
            await self._stop(turn, stream)

        try:
            with self._parts.work.under(self._session.id, stop, task) as work:
                stream.work, turn.epoch = work, work.epoch
                try:
                    await self._speak(turn, stream, preparing)
                except asyncio.CancelledError:
                    if not work.interrupted:
                        raise
                except HearthError as error:
                    turn.error = error.message
                    await self._end_of_stream(turn, stream)
        finally:
            preparing.cancel()
            turn.stages.extend(preparing.stages)
            turn.pcm = b"" if not turn.is_reopened else turn.pcm
            if self._turn is turn and not turn.stopped_at and not self._session.is_closed:
                self._session.state = SessionState.LISTENING
            self._settling = self._spawn(self._settle(turn, self._settling))

    async def _speak(self, turn: Turn, stream: SpokenStream, preparing: Speculation) -> None:
        prepared = await preparing.taken(turn.question)
        turn.asked_at = self._now()
        turn.begun_ahead(preparing.answers, is_kept=prepared.answer is not None)
        await tell_status(self._sender, self._session.id, PROCESSING)
        if prepared.answer:
            answer = prepared.answer.items()
        else:
            answer = self._spoken(turn.number, turn.question, prepared.preparation)
        async with aclosing(answer) as items:
            async for item in items:
                match item:
                    case AnswerToken():
                        turn.token(item.text, self._now())
                        await self._send_text(turn, item.text)
                    case SpokenChunk():
                        await self._send_sound(turn, stream, item)
                    case AnswerEnd():
                        turn.text_end = item
                        await self._send_text(turn, "", is_done=True)
                    case SpokenAnswerEnd():
                        turn.end = item
                    case Transcript():
                        pass
        turn.prepared(prepared.preparation, preparing.count)
        await self._end_of_stream(turn, stream)
        await self._until_played(turn)

    async def _send_text(self, turn: Turn, text: str, *, is_done: bool = False) -> None:
        chunk = messages_pb2.ChatStreamChunk(
            request_id=f"{self._session.id}-{turn.number}",
            type="done" if is_done else "chunk",
            content=text,
            done=is_done,
            timestamp=int(time.time()),
            turn=turn.number,
            epoch=turn.epoch,
        )
        if not turn.stopped_at or is_done:
            await self._sender.send(subject_for(CONVERSATION_TEXT, session_id=self._session.id), chunk)

    async def _send_sound(self, turn: Turn, stream: SpokenStream, chunk: SpokenChunk) -> None:
        turn.playback.add(chunk, self._now())
        await stream.send(chunk)
        turn.last_sound_at = self._now()

    async def _end_of_stream(self, turn: Turn, stream: SpokenStream) -> None:
        error = turn.end.error if turn.end else turn.error
        if stream.chunks:
            await stream.end()
        if turn.text_end is None:
            await self._send_text(turn, "", is_done=True)
        await tell_status(self._sender, self._session.id, ERROR if error else COMPLETED, error)
        turn.sent.set()

    async def _stop(self, turn: Turn, stream: SpokenStream) -> None:
        """End the answer where it is; see `Work.stop`."""
        turn.stopped_at = turn.stopped_at or self._now()
        if turn.sent.is_set():
            return
        if stream.chunks:
            await stream.end(interrupted=True)
        if turn.text_end is None:
            await self._send_text(turn, "", is_done=True)
        await tell_status(self._sender, self._session.id, ERROR, INTERRUPTED)

    async def _until_played(self, turn: Turn) -> None:
        """Wait until the answer's sound was heard, by the client's word or by the pace of time."""
        while (left := turn.ends_at - self._now()) > 0:
            turn.report_came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await turn.report_came.wait()

    # Afterwards.

    async def _settle(self, turn: Turn, before: asyncio.Task[None] | None) -> None:
        """Remember what was heard, and write the turn's record."""
        if before is not None:
            await asyncio.wait([before])
        if turn.stopped_at and turn.playback.seconds and not turn.is_reopened:
            await self._last_report(turn)
        heard = "" if turn.is_reopened else turn.heard
        if heard or (turn.stopped_at and not turn.is_reopened):
            exchange = Exchange(turn.question, heard)
            self._history = (*(await self._recalled()), exchange)[-self._parts.memory.turns :]
            await self._parts.memory.remember(self._memory_key, exchange)
        record = turn.record(self._session.id, self._session.user_id)
        await self._parts.records.write(self._sender, record)

    async def _last_report(self, turn: Turn) -> None:
        """Give the client the time to say what it had played when it was interrupted."""
        if turn.reported is not None and turn.reported[1] >= turn.stopped_at:
            return
        turn.report_came.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._parts.settings.report_wait_ms / 1000):
                await turn.report_came.wait()

    async def _recalled(self) -> tuple[Exchange, ...]:
        if self._history is None:
            self._history = await self._parts.memory.recall(self._memory_key)
        return self._history

    def _question(self, text: str, history: tuple[Exchange, ...], preparation: Preparation | None) -> ChatQuestion:
        return ChatQuestion(
            text=text,
            user_id=self._session.user_id,
            retrieve=not self.request.without_documents,
            rerank=True,
            collection=self.request.collection,
            system_prompt=self.request.system_prompt,
            history=history,
            preparation=preparation,
        )

    # Before it is known that a question is over; see `Preparer`.

    async def find(self, text: str, before: Preparation | None) -> Preparation:
        """Find passages for a question that is being asked."""
        question = self._question(text, await self._recalled(), before)
        return await self._parts.voice.prepare(self._call(self._coming_turn()), question)

    async def read(self, text: str, found: Preparation) -> AsyncGenerator[int]:
        """Have the model read them."""
        question = self._question(text, await self._recalled(), found)
        async with aclosing(self._parts.voice.read(self._call(self._coming_turn()), question)) as counts:
            async for tokens in counts:
                yield tokens

    def answer(self, text: str, found: Preparation) -> AsyncGenerator[SpokenAnswerItem]:
        """Answer it from them."""
        return self._spoken(self._coming_turn(), text, found)

    async def _spoken(self, turn: int, text: str, found: Preparation | None) -> AsyncGenerator[SpokenAnswerItem]:
        """Yield the answer to a question, which begins once it is in memory what was heard of the one before."""
        if self._settling is not None:
            await asyncio.wait([self._settling])
        question = SpokenQuestion(
            self._question(text, await self._recalled(), found), self.request.voice, self._session.language
        )
        async with aclosing(self._parts.voice.answer(self._call(turn), question)) as items:
            async for item in items:
                yield item

    def _coming_turn(self) -> int:
        """Return the number of the turn whose question is being asked."""
        utterance = self._session.utterance
        return utterance.reopened.number if utterance and utterance.reopened else self.turns + 1

    def _new_preparing(self) -> Speculation:
        return Speculation(self._parts.settings.preparation, self, self._spawn)

    def _call(self, turn: int) -> Call:
        return Call.within(self._parts.settings.answer_timeout_s, f"{self._session.id}-{turn}")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
