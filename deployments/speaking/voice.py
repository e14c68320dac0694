"""Voice: a question in, spoken or written, and an answer out that is heard while it is still being written."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from deployments.call import Call
from deployments.component_status import replica_status
from deployments.errors import HearthError, InvalidRequestError
from deployments.services import ChatService, SpeechService, TranscriptionService
from deployments.speaking.spoken_pieces import SpokenPieces
from deployments.values.chat import AnswerEnd, ChatQuestion, Preparation
from deployments.values.speech import Recording, SpeechText, SpokenChunk
from deployments.values.status import ComponentStatus
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem, SpokenQuestion

NOBODY_SPOKE = "nobody speaks in the recording"
_ITEMS_AHEAD = 32
"""How many tokens, and how many pieces of sound, may wait for their listener before no more are made."""


class Voice:
    """Answers questions aloud: sentences are spoken while the next ones are being written.

    `deployments.services.VoiceService` says what its methods do. It holds nothing between calls. Each part
    that fails leaves the parts before it in the answer, and the answer's end says what failed.

    Args:
        transcription: Understands spoken questions.
        chat: Writes the answers.
        speech: Says them.
    """

    name = "Voice"

    def __init__(self, transcription: TranscriptionService, chat: ChatService, speech: SpeechService) -> None:
        self._transcription = transcription
        self._chat = chat
        self._speech = speech

    async def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[SpokenAnswerItem]:
        heard = replace(question, question=replace(question.question, spoken=True))
        async with aclosing(_Answer(self._chat, self._speech, call, heard).items()) as items:
            async for item in items:
                yield item

    async def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> AsyncGenerator[SpokenAnswerItem]:
        started = time.monotonic()
        try:
            heard = await self._transcription.transcribe(call, recording)
        except HearthError as error:
            yield _not_understood(error)
            return
        if not heard.text:
            yield _not_understood(InvalidRequestError(NOBODY_SPOKE))
            return
        yield heard
        transcribed = time.monotonic() - started
        asked = replace(question, question=replace(question.question, text=heard.text))
        async with aclosing(self.answer(call, asked)) as items:
            async for item in items:
                yield _later(item, transcribed) if isinstance(item, SpokenAnswerEnd) else item

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        return await self._chat.prepare(call, replace(question, spoken=True))

    async def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        async with aclosing(self._chat.read(call, replace(question, spoken=True))) as counts:
            async for tokens in counts:
                yield tokens

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        del call
        return (replica_status(self.name, "answers aloud", required=False),)


@dataclass(slots=True)
class _Answer:
    """One answer while it is being written and spoken."""

    chat: ChatService
    speech: SpeechService
    call: Call
    question: SpokenQuestion
    started: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict[str, float])
    pieces: SpokenPieces = field(default_factory=SpokenPieces)
    text: asyncio.Queue[SpokenAnswerItem | Exception] = field(default_factory=lambda: asyncio.Queue(_ITEMS_AHEAD))
    sound: asyncio.Queue[SpokenChunk] = field(default_factory=lambda: asyncio.Queue(_ITEMS_AHEAD))
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    written: asyncio.Event = field(default_factory=asyncio.Event)
    answer_end: AnswerEnd | None = None

    async def items(self) -> AsyncGenerator[SpokenAnswerItem]:
        """Write and speak side by side, and yield what comes."""
        tasks = [asyncio.create_task(self._guarded(work)) for work in (self._write(), self._speak())]
        try:
            while True:
                item = await self._next()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, SpokenAnswerEnd):
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _next(self) -> SpokenAnswerItem | Exception:
        """Return what is passed on next: sound before text that waits, which may be a whole quotation."""
        while self.sound.empty() and self.text.empty():
            self.ready.clear()
            await self.ready.wait()
        return self.text.get_nowait() if self.sound.empty() else self.sound.get_nowait()

    async def _put(self, item: SpokenAnswerItem | Exception) -> None:
        """Have an item passed on."""
        await (self.sound.put(item) if isinstance(item, SpokenChunk) else self.text.put(item))
        self.ready.set()

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - raised again where the items are taken
            await self._put(error)

    async def _write(self) -> None:
        async with aclosing(self.chat.answer(self.call, self.question.question)) as items:
            async for item in items:
                if isinstance(item, AnswerEnd):
                    self.answer_end = item
                    self._stamp("generated")
                else:
                    self._stamp("first_token")
                    self.pieces.add(item.text)
                self.written.set()
                await self._put(item)
        if self.answer_end is None:
            raise RuntimeError("the chat ended without an end")

    async def _speak(self) -> None:
        speech_error = ""
        while piece := await self._next_piece():
            if speech_error:
                continue
            try:
                await self._say(piece)
            except HearthError as error:
                speech_error = error.message
        self._stamp("spoken")
        if self.answer_end is not None:
            await self._put(SpokenAnswerEnd(self.answer_end, speech_error=speech_error, stages=self.stages))

    async def _next_piece(self) -> str:
        """Return what is to be said next, as soon as it is whole enough; empty when all was said."""
        while True:
            self.written.clear()
            if piece := self.pieces.take() or self._rest():
                self._stamp("first_sentence")
                return piece
            if self.answer_end:
                return ""
            await self.written.wait()

    def _rest(self) -> str:
        """Return what is left to be said when all is written, up to a sentence that was broken off."""
        if self.answer_end is None:
            return ""
        return self.pieces.rest(self.answer_end.unfinished)

    async def _say(self, piece: str) -> None:
        goes_on = "first_audio" in self.stages
        text = SpeechText(piece, self.question.voice, self.question.language, goes_on=goes_on, is_speakable=True)
        async with aclosing(self.speech.say(self.call, text)) as chunks:
            async for chunk in chunks:
                self._stamp("first_audio")
                await self._put(chunk)

    def _stamp(self, name: str) -> None:
        self.stages.setdefault(name, time.monotonic() - self.started)


def _not_understood(error: HearthError) -> SpokenAnswerEnd:
    return SpokenAnswerEnd(AnswerEnd(error_kind=error.kind), transcription_error=error.message)


def _later(end: SpokenAnswerEnd, seconds: float) -> SpokenAnswerEnd:
    """Return an end whose times count from the recording, and not from its transcript."""
    stages = {name: at + seconds for name, at in end.stages.items()}
    return replace(end, stages={"transcribed": seconds, **stages})
