"""An answer that is being spoken, as one object: await it, interrupt it, ask what of it was heard."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.speculation import Speculation
from bridges.live.tasks import Spawn
from bridges.live.turn import Turn
from bridges.nats.sender import Sender
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork, Work
from bridges.sessions.speech_status import BROKEN_OFF, COMPLETED, ERROR, INTERRUPTED, PROCESSING, tell_status
from bridges.sessions.spoken_stream import SpokenStream
from bridges.subjects import CONVERSATION_TEXT, subject_for
from deployments.errors import HearthError
from deployments.values.chat import AnswerEnd, AnswerToken, Preparation
from deployments.values.speech import SpokenChunk, Transcript
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem

MakeAnswer = Callable[[Preparation | None], AsyncGenerator[SpokenAnswerItem]]
"""Makes an answer from what is prepared for it."""


@dataclass(frozen=True, slots=True)
class AnswerOutlet:
    """Where the answers of one session go.

    Attributes:
        session_id: Whom to.
        sender: Sends.
        work: Where an interruption finds them.
        chunk_bytes: Sound in one message at most.
        report_wait_s: How long the client has to say what it had played when it interrupted.
    """

    session_id: str
    sender: Sender
    work: SessionWork
    chunk_bytes: int
    report_wait_s: float


class SpokenAnswer:
    """The answer to one question, from its first word to the last that is heard of it.

    It is made, sent as text and as sound, and followed while it is played. Awaiting it returns when it was heard to its
    end, or stopped; it never raises.

    Args:
        turn: The turn whose question it answers; how far the answer is is noted there.
        speculation: What was done for the question before it was whole.
        make: Makes the answer, where that was not begun before.
        outlet: Where it goes.
        spawn: Starts its task.
        before: The answer that its listener may still hear. It is stopped first.
    """

    def __init__(
        self,
        turn: Turn,
        speculation: Speculation,
        make: MakeAnswer,
        outlet: AnswerOutlet,
        spawn: Spawn,
        before: "SpokenAnswer | None" = None,
    ) -> None:
        self.turn = turn
        self._speculation = speculation
        self._make = make
        self._outlet = outlet
        self._progress = turn.answer
        self._stream = SpokenStream(outlet.sender, outlet.session_id, outlet.chunk_bytes, outlet.work, turn.number)
        self._work: Work | None = None
        self._sent = asyncio.Event()
        self._report_came = asyncio.Event()
        self._task = spawn(self._run(before))

    def __await__(self) -> Generator[Any, Any, None]:
        """Return when it was heard to its end, or stopped."""
        return self._over().__await__()

    @property
    def was_begun(self) -> bool:
        """Whether it was begun at all: one that is spoken into at once is not."""
        return self._work is not None

    @property
    def is_over(self) -> bool:
        """Whether it was heard to its end, or stopped."""
        return self._task.done()

    @property
    def is_sent(self) -> bool:
        """Whether all of it was sent."""
        return self._sent.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether it was, or is about to be, stopped before its end."""
        return bool(self._progress.stopped_at)

    async def sent(self) -> None:
        """Return when all of it was sent, or it was stopped."""
        sending = asyncio.ensure_future(self._sent.wait())
        try:
            await asyncio.wait((sending, self._task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()

    def is_spoken_into(self) -> None:
        """Take note that its listener speaks: nothing later counts as heard. `interrupt` follows."""
        self._progress.stopped_at = now()

    async def interrupt(self) -> None:
        """Stop it where it is and close what was begun of it; nothing of it is sent after this returns."""
        if self.is_over:
            return
        self._progress.stop(now())
        if self._work is not None:
            await self._work.interrupt()
        else:
            self._speculation.cancel()
            self._task.cancel()

    def close(self) -> None:
        """End it with its session: one of which all was sent counts as heard, another one is stopped without a word."""
        self._speculation.cancel()
        if self.is_over:
            return
        if self._sent.is_set():
            self.report(round(self._progress.playback.seconds * 1000) + 1)
        else:
            self._progress.stopped_at = now()
            self._task.cancel()

    def report(self, milliseconds: int) -> None:
        """Take the client's word on how much of the sound it has played."""
        self._progress.report(milliseconds, now())
        self._report_came.set()

    async def heard(self) -> str:
        """Return what of it was heard, once its client has had the time to say what it had played."""
        await self
        if self._progress.awaits_report:
            self._report_came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._outlet.report_wait_s):
                    await self._report_came.wait()
        return self._progress.heard

    # How it comes about.

    async def _over(self) -> None:
        await asyncio.wait([self._task])

    async def _run(self, before: "SpokenAnswer | None") -> None:
        try:
            if before is not None and not before.is_over and not self.is_stopped:
                # Its client says that it listens, so what is still being said to it is over.
                await self._outlet.work.interrupt(self._outlet.session_id)
                await before.interrupt()
            if not self.is_stopped:
                await self._run_as_work()
        finally:
            self._speculation.cancel()
            self.turn.stages.extend(self._speculation.stages)
            if not self.turn.is_reopened:
                self.turn.pcm = b""

    async def _run_as_work(self) -> None:
        with self._outlet.work.under(self._outlet.session_id, self._stop, self._task) as work:
            self._work = self._stream.work = work
            self._progress.epoch = work.epoch
            try:
                await self._speak()
            except asyncio.CancelledError:
                if not work.interrupted:
                    raise
            except HearthError as error:
                self._progress.failure = error.message
                await self._end_of_stream()

    async def _speak(self) -> None:
        prepared = await self._speculation.taken(self.turn.question)
        self._progress.asked_at = now()
        self.turn.begun_ahead(self._speculation.answers, is_kept=prepared.answer is not None)
        await self._tell(PROCESSING)
        answer = prepared.answer.items() if prepared.answer else self._make(prepared.preparation)
        async with aclosing(answer) as items:
            async for item in items:
                await self._send(item)
        self.turn.prepared(prepared.preparation, self._speculation.count)
        await self._end_of_stream()
        await self._until_played()

    async def _send(self, item: SpokenAnswerItem) -> None:
        match item:
            case AnswerToken():
                self._progress.token(item.text, now())
                await self._send_text(item.text)
            case SpokenChunk():
                self._progress.sound(item, now())
                await self._stream.send(item)
                self._progress.last_sound_at = now()
            case AnswerEnd():
                self._progress.text_end = item
                await self._send_text("", is_done=True)
            case SpokenAnswerEnd():
                self._progress.end = item
            case Transcript():
                pass

    async def _until_played(self) -> None:
        """Wait until its sound was heard, by the client's word or by the pace of time."""
        while (left := self._progress.ends_at - now()) > 0:
            self._report_came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._report_came.wait()

    # Its ends.

    async def _end_of_stream(self) -> None:
        if self._stream.chunks:
            await self._stream.end()
        if self._progress.text_end is None:
            await self._send_text("", is_done=True)
        await self._tell(ERROR if self._progress.has_failed else COMPLETED, self._progress.error)
        self._sent.set()

    async def _stop(self) -> None:
        """Say that it ends where it is; see `Work.stop`."""
        self._progress.stop(now())
        if self._sent.is_set():
            return
        if self._stream.chunks:
            await self._stream.end(interrupted=True)
        if self._progress.text_end is None:
            await self._send_text("", is_done=True)
        await self._tell(ERROR, INTERRUPTED)

    async def _send_text(self, text: str, *, is_done: bool = False) -> None:
        if self.is_stopped and not is_done:
            return
        await _send_text(self._outlet, self.turn.number, self._progress.epoch, text, is_done=is_done)

    async def _tell(self, status: str, message: str = "") -> None:
        await tell_status(self._outlet.sender, self._outlet.session_id, status, message)


async def tell_broken_off(outlet: AnswerOutlet, turn: int) -> None:
    """End the answer of a turn that another replica has begun, and that is gone."""
    await _send_text(outlet, turn, outlet.work.epoch(outlet.session_id), "", is_done=True)
    await tell_status(outlet.sender, outlet.session_id, ERROR, BROKEN_OFF)


async def _send_text(outlet: AnswerOutlet, turn: int, epoch: int, text: str, *, is_done: bool) -> None:
    chunk = messages_pb2.ChatStreamChunk(
        request_id=f"{outlet.session_id}-{turn}",
        type="done" if is_done else "chunk",
        content=text,
        done=is_done,
        timestamp=int(time.time()),
        turn=turn,
        epoch=epoch,
    )
    await outlet.sender.send(subject_for(CONVERSATION_TEXT, session_id=outlet.session_id), chunk)
