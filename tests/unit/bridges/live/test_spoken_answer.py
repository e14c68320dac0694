"""An answer that is being spoken, as an object: await it, interrupt it, ask what of it was heard."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.live.handover import SessionTerms
from bridges.live.questions import ComingQuestion, ConversationQuestions, QuestionParts
from bridges.live.speculation import Speculation
from bridges.live.spoken_answer import AnswerOutlet, SpokenAnswer
from bridges.live.tasks import SessionTasks
from bridges.live.turn import Turn
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.sender import Sender
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork
from deployments.errors import UnavailableError
from deployments.settings.audio import PreparationSettings
from deployments.settings.orchestration import MemorySettings
from tests.conversation.scene import ScriptedVoice, Wire
from tests.conversation.virtual_clock import run_virtually

ANSWER = "One two three four. Five six seven eight."


class Stage:
    """A session that answers are spoken in."""

    def __init__(self, tasks: SessionTasks, voice: ScriptedVoice) -> None:
        self.wire, self.work = Wire(), SessionWork()
        self._tasks = tasks
        sender = Sender(self.wire)
        self._outlet = AnswerOutlet("s", sender, self.work, 32_768, report_wait_s=0.3)
        parts = QuestionParts(voice, ConversationMemory(MemorySettings(enabled=False)), 60.0)
        request = conversation_pb2.ConversationRequest()
        self._questions = ConversationQuestions("s", SessionTerms(), request, parts)

    def answer(self, number: int = 1, before: SpokenAnswer | None = None) -> SpokenAnswer:
        turn = Turn(number, 0, now(), now(), question="What is next?")
        coming = ComingQuestion(self._questions, number, None)
        speculation = Speculation(PreparationSettings(enabled=False), coming, self._tasks.spawn)
        return SpokenAnswer(
            turn,
            speculation,
            lambda found: coming.answer(turn.question, found),
            self._outlet,
            self._tasks.spawn,
            before=before,
        )

    @property
    def chunks(self) -> list[messages_pb2.TTSAudioChunk]:
        return [one.read(messages_pb2.TTSAudioChunk) for one in self.wire.on("ai.voice.tts.audio.s")]

    @property
    def statuses(self) -> list[str]:
        return [one.read(messages_pb2.TTSStatus).status for one in self.wire.on("ai.voice.tts.status.s")]


def on_stage(play: Callable[[Stage], Coroutine[Any, Any, None]], voice: ScriptedVoice | None = None) -> Stage:
    async def run() -> Stage:
        tasks = SessionTasks()
        async with tasks.running():
            stage = Stage(tasks, voice or ScriptedVoice(answers=(ANSWER,)))
            await play(stage)
        return stage

    return run_virtually(run())


def test_what_was_cut_at_the_model_s_limit_is_written_but_counts_as_neither_heard_nor_failed() -> None:
    heard: list[str] = []

    async def play(stage: Stage) -> None:
        heard.append(await stage.answer().heard())

    stage = on_stage(play, ScriptedVoice(answers=(ANSWER,), error="the answer was cut", unfinished=" Nine t"))
    assert heard == [ANSWER]
    assert stage.statuses == ["processing", "completed"]
    texts = [one.read(messages_pb2.ChatStreamChunk).content for one in stage.wire.on("hearth.conversation.text.s")]
    assert "".join(texts) == f"{ANSWER} Nine t"


def test_it_is_over_when_all_of_it_was_heard() -> None:
    async def play(stage: Stage) -> None:
        answer = stage.answer()
        began = now()
        await answer.sent()
        assert now() - began < 1
        assert not answer.is_over
        await answer
        assert answer.is_over
        # Eight words of a quarter of a second.
        assert now() - began > 2
        assert await answer.heard() == ANSWER

    assert on_stage(play).statuses == ["processing", "completed"]


def test_interrupted_it_is_closed_and_nothing_of_it_follows() -> None:
    async def play(stage: Stage) -> None:
        answer = stage.answer()
        await asyncio.sleep(0.7)
        await answer.interrupt()
        sent = len(stage.wire.sent)
        await answer
        assert await answer.heard() == "One"
        await asyncio.sleep(60)
        assert len(stage.wire.sent) == sent

    stage = on_stage(play, ScriptedVoice(answers=(ANSWER,), token_s=0.1))
    assert stage.chunks[-1].is_last
    assert stage.statuses == ["processing", "error"]


def test_what_the_client_says_it_has_played_counts_as_heard() -> None:
    async def play(stage: Stage) -> None:
        answer = stage.answer()
        await asyncio.sleep(1)
        await answer.interrupt()
        answer.report(500)
        assert await answer.heard() == "One two"

    on_stage(play)


def test_interrupted_before_it_was_begun_it_says_nothing() -> None:
    async def play(stage: Stage) -> None:
        answer = stage.answer()
        await answer.interrupt()
        await answer
        assert not answer.was_begun
        assert await answer.heard() == ""

    assert on_stage(play).wire.sent == []


def test_interrupting_one_that_is_over_changes_nothing() -> None:
    async def play(stage: Stage) -> None:
        answer = stage.answer()
        await answer
        await answer.interrupt()
        assert await answer.heard() == ANSWER

    on_stage(play)


def test_the_next_answer_stops_the_one_before() -> None:
    async def play(stage: Stage) -> None:
        first = stage.answer()
        await asyncio.sleep(1)
        second = stage.answer(2, before=first)
        await second
        assert first.is_over
        assert await first.heard() != ANSWER
        assert await second.heard() == ANSWER

    chunks = on_stage(play).chunks
    assert [chunk.turn for chunk in chunks] == sorted(chunk.turn for chunk in chunks)


def test_of_three_at_once_only_the_last_is_heard() -> None:
    async def play(stage: Stage) -> None:
        first = stage.answer()
        second = stage.answer(2, before=first)
        third = stage.answer(3, before=second)
        await third
        assert [await answer.heard() for answer in (first, second, third)] == ["", "", ANSWER]

    assert {chunk.turn for chunk in on_stage(play).chunks} == {3}


def test_one_that_fails_is_over_and_says_why() -> None:
    async def play(stage: Stage) -> None:
        answer = stage.answer()
        await answer
        assert answer.turn.answer.error == "the model is away"

    stage = on_stage(play, ScriptedVoice(raised=UnavailableError("the model is away")))
    assert stage.statuses == ["processing", "error"]
