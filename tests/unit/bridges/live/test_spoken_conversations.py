"""Conversations from their clients' point of view, on a virtual clock: what is said is answered aloud."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.sender import Sender
from bridges.sessions.turn_log import TurnRecords
from deployments.errors import UnavailableError
from deployments.settings.orchestration import TurnRecordSettings
from deployments.values.chat import PreparationUse
from tests.conversation.scene import ReadingTranscription, Scene, ScriptedVoice, Wire, scene, square_voice
from tests.conversation.script import (
    Noise,
    Says,
    Script,
    Step,
    asks_for_answers,
    changes_state,
    ends,
    has_played,
    play,
    starts,
)
from tests.conversation.virtual_clock import run_virtually

QUESTION = "how long do you keep the monthly snapshots"
ANSWER = "It is kept for five years. Then it is deleted."
LONG = "One two three four five six seven eight nine ten eleven twelve. Thirteen fourteen fifteen sixteen."
ANSWERED_S = 5.0
"""When the answer to a QUESTION asked at 0.5 s has begun, with some seconds to go."""


def converse(
    *steps: Step,
    voice: ScriptedVoice | None = None,
    transcription: ReadingTranscription | None = None,
    after_s: float = 10.0,
    turns_file: str = "",
    **settings: Any,
) -> Scene:
    """Play a script in session "s" and return the scene."""

    async def run() -> Scene:
        async with scene(transcription, voice=voice or ScriptedVoice(), turns_file=turns_file, **settings) as stage:
            await play(Script(steps), stage.wire, "s", square_voice)
            await asyncio.sleep(after_s)
            return stage

    return run_virtually(run())


class TestAnswers:
    def test_a_final_transcript_is_answered_in_text_and_in_sound(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION))
        assert stage.finals("s") == [QUESTION]
        assert stage.answers("s") == ANSWER
        sounds = stage.sounds("s")
        assert [chunk.chunk_index for chunk in sounds] == list(range(len(sounds)))
        assert [chunk.text for chunk in sounds] == ["It is kept for five years.", "Then it is deleted.", ""]
        assert [word.word for word in sounds[1].words] == ["Then", "it", "is", "deleted."]
        assert (sounds[-1].is_last, sounds[-1].total_chunks) == (True, len(sounds))
        assert {chunk.turn for chunk in sounds} == {1}

    def test_the_first_sentence_is_heard_before_the_last_is_written(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), voice=ScriptedVoice(token_s=0.3))
        first_sound = stage.wire.on("ai.voice.tts.audio.s")[0].at_s
        assert first_sound < stage.wire.on("hearth.conversation.text.s")[-2].at_s

    def test_each_part_of_an_answer_ends(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION))
        texts = [one.read(messages_pb2.ChatStreamChunk) for one in stage.wire.on("hearth.conversation.text.s")]
        statuses = [one.read(messages_pb2.TTSStatus).status for one in stage.wire.on("ai.voice.tts.status.s")]
        assert [chunk.done for chunk in texts] == [False] * (len(texts) - 1) + [True]
        assert statuses == ["processing", "completed"]

    def test_a_session_that_does_not_ask_is_not_answered(self) -> None:
        voice = ScriptedVoice()
        stage = converse(starts(), Says(0.5, QUESTION), voice=voice)
        assert stage.finals("s") == [QUESTION]
        assert (voice.asked, voice.prepared, stage.sounds("s")) == ([], [], [])

    def test_where_nothing_is_answered_a_client_that_asks_is_told(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", reply="_INBOX.x", type="start", conversation={})
                return stage

        (refusal,) = run_virtually(run()).wire.on("_INBOX.x")
        assert refusal.read(messages_pb2.ErrorResponse).type == "invalid_request"

    def test_the_start_says_how_to_answer(self) -> None:
        voice = ScriptedVoice()
        request: dict[str, Any] = {
            "collection": "house",
            "voice": "joe",
            "system_prompt": "Be brief.",
            "without_documents": True,
        }
        converse(asks_for_answers(0.0, **request), Says(0.5, QUESTION), voice=voice)
        asked = voice.asked[0]
        assert (asked.voice, asked.question.collection, asked.question.retrieve) == ("joe", "house", False)
        assert (asked.question.system_prompt, asked.question.user_id) == ("Be brief.", "ada")

    def test_the_session_responds_while_the_answer_is_heard_and_then_listens(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), Says(9.0, "thank you"))
        assert stage.finals("s") == [QUESTION, "thank you"]
        assert {one.state for one in stage.transcripts("s")} == {"listening"}
        assert stage.interrupts("s") == []

    def test_an_end_right_behind_the_question_waits_for_its_answer(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), ends(3.6))
        assert stage.answers("s") == ANSWER
        assert stage.sounds("s")[-1].is_last
        assert stage.turns("s")[0].heard == ANSWER

    def test_a_start_right_behind_the_end_opens_a_conversation_that_is_answered(self) -> None:
        voice = ScriptedVoice(answers=(ANSWER, "It is noon."))
        steps = (
            asks_for_answers(),
            Says(0.5, QUESTION),
            ends(3.6),
            asks_for_answers(3.61),
            Says(6.0, "what time is it"),
        )
        stage = converse(*steps, voice=voice)
        assert [asked.question.text for asked in voice.asked] == [QUESTION, "what time is it"]
        assert stage.answers("s") == f"{ANSWER}It is noon."
        assert [turn.outcome for turn in stage.turns("s")] == ["played", "played"]

    def test_a_model_that_fails_ends_the_turn_with_its_error_and_the_session_goes_on(self) -> None:
        voice = ScriptedVoice(raised=UnavailableError("the model is away"))
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), Says(7.0, "thank you"), voice=voice)
        status = stage.wire.on("ai.voice.tts.status.s")[1].read(messages_pb2.TTSStatus)
        assert (status.status, status.message) == ("error", "the model is away")
        assert [turn.outcome for turn in stage.turns("s")] == ["failed", "failed"]
        assert stage.finals("s") == [QUESTION, "thank you"]

    def test_speech_that_fails_leaves_the_text(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), voice=ScriptedVoice(speech_error="no voice"))
        assert stage.answers("s") == ANSWER
        assert stage.sounds("s") == []
        (turn,) = stage.turns("s")
        assert (turn.outcome, turn.error, turn.heard) == ("played", "no voice", ANSWER)

    def test_a_final_transcript_that_is_not_whole_is_not_answered(self) -> None:
        voice = ScriptedVoice()
        failing = ReadingTranscription(error=UnavailableError("the model is away"))
        converse(asks_for_answers(), Says(0.5, QUESTION), voice=voice, transcription=failing)
        assert voice.asked == []

    def test_a_reset_ends_the_answer(self) -> None:
        voice = ScriptedVoice(answers=(LONG,), token_s=0.5)
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), asks_for_answers(ANSWERED_S), voice=voice)
        assert voice.closed == 1
        assert not stage.sounds("s")[-1:] or stage.wire.on("ai.voice.tts.audio.s")[-1].at_s < ANSWERED_S

    def test_two_sessions_do_not_hear_each_other(self) -> None:
        async def run() -> Scene:
            async with scene(voice=ScriptedVoice(answers=("For ada.", "For bob."))) as stage:
                first = Script([asks_for_answers(), Says(0.5, QUESTION)])
                second = Script([asks_for_answers(), Says(2.5, "what time is it")])
                async with asyncio.TaskGroup() as group:
                    group.create_task(play(first, stage.wire, "a", square_voice))
                    group.create_task(play(second, stage.wire, "b", square_voice))
                await asyncio.sleep(5)
                return stage

        stage = run_virtually(run())
        assert (stage.answers("a"), stage.answers("b")) == ("For ada.", "For bob.")


class TestBargeIn:
    def interrupted(self, *more: Step, voice: ScriptedVoice | None = None) -> Scene:
        steps = (asks_for_answers(), Says(0.5, QUESTION), Says(6.0, "no wait stop that"), *more)
        return converse(*steps, voice=voice or ScriptedVoice(answers=(LONG, ANSWER)), after_s=20.0)

    def test_speech_stops_the_answer_and_begins_the_next_turn(self) -> None:
        stage = self.interrupted()
        assert len(stage.interrupts("s")) == 1
        assert stage.finals("s") == [QUESTION, "no wait stop that"]
        assert [turn.outcome for turn in stage.turns("s")] == ["interrupted", "played"]
        assert [turn.turn for turn in stage.turns("s")] == [1, 2]

    def test_nothing_of_the_answer_comes_behind_the_interruption(self) -> None:
        stage = self.interrupted(voice=ScriptedVoice(answers=(LONG, ANSWER), token_s=0.4))
        (interrupted_at,) = stage.interrupts("s")
        late = [one for one in stage.wire.sent if one.at_s > interrupted_at]
        sounds = [one.read(messages_pb2.TTSAudioChunk) for one in late if ".tts.audio." in one.subject]
        texts = [one.read(messages_pb2.ChatStreamChunk) for one in late if ".text." in one.subject]
        assert {chunk.epoch for chunk in sounds} == {1}
        assert {chunk.epoch for chunk in texts} == {1}

    def test_an_interrupted_answer_is_closed(self) -> None:
        stage = self.interrupted(voice=ScriptedVoice(answers=(LONG, ANSWER), token_s=0.4))
        first = [chunk for chunk in stage.sounds("s") if chunk.turn == 1]
        assert first[-1].is_last
        statuses = [one.read(messages_pb2.TTSStatus) for one in stage.wire.on("ai.voice.tts.status.s")]
        assert [status.status for status in statuses] == ["processing", "error", "processing", "completed"]

    def test_memory_keeps_what_was_played_by_the_pace_of_time(self) -> None:
        voice = ScriptedVoice(answers=(LONG, ANSWER))
        stage = self.interrupted(voice=voice)
        begins = stage.wire.on("ai.voice.tts.audio.s")[0].at_s
        played = int((stage.interrupts("s")[0] - begins) / 0.25 + 0.5)
        (turn,) = voice.asked[1].question.history
        assert (turn.question, turn.answer) == (QUESTION, " ".join(LONG.split()[:played]))
        assert stage.turns("s")[0].heard == turn.answer

    def test_memory_keeps_what_the_client_says_it_has_played(self) -> None:
        voice = ScriptedVoice(answers=(LONG, ANSWER))
        self.interrupted(has_played(6.4, 1, 1000), voice=voice)
        assert voice.asked[1].question.history[0].answer == "One two three four"

    def test_a_report_on_another_turn_counts_for_nothing(self) -> None:
        voice = ScriptedVoice(answers=(LONG, ANSWER))
        self.interrupted(has_played(6.4, 7, 1000), voice=voice)
        assert voice.asked[1].question.history[0].answer != "One two three four"

    def test_an_answer_that_was_heard_to_its_end_is_remembered_as_it_was_written(self) -> None:
        voice = ScriptedVoice()
        converse(asks_for_answers(), Says(0.5, QUESTION), Says(9.0, "and then"), voice=voice)
        assert [turn.answer for turn in voice.asked[1].question.history] == [ANSWER]

    def test_a_cough_does_not_stop_the_answer(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), Noise(ANSWERED_S, 0.15))
        assert stage.interrupts("s") == []
        assert [turn.outcome for turn in stage.turns("s")] == ["played"]

    def test_a_client_that_turns_to_listening_ends_an_answer_by_its_next_question(self) -> None:
        voice = ScriptedVoice(answers=(LONG, ANSWER))
        steps = (asks_for_answers(), Says(0.5, QUESTION), changes_state(5.5, "listening"), Says(5.6, "what time is it"))
        stage = converse(*steps, voice=voice)
        assert [turn.outcome for turn in stage.turns("s")] == ["interrupted", "played"]


class TestTurnRevision:
    def test_a_pause_in_the_middle_does_not_split_a_question(self) -> None:
        quick = ReadingTranscription(completion=0.95, final_s=(0.05,))
        voice = ScriptedVoice(think_s=0.2)
        steps = (asks_for_answers(), Says(0.5, "how long do you keep"), Says(3.0, "the monthly snapshots"))
        stage = converse(*steps, voice=voice, transcription=quick)
        assert stage.finals("s") == ["how long do you keep", QUESTION]
        finals = [one for one in stage.transcripts("s") if one.is_final]
        assert [(one.turn, one.revision) for one in finals] == [(1, 0), (1, 1)]
        assert [asked.question.text for asked in voice.asked] == ["how long do you keep", QUESTION]
        assert [turn.outcome for turn in stage.turns("s")] == ["reopened", "played"]

    def test_what_was_answered_too_soon_is_not_remembered(self) -> None:
        quick = ReadingTranscription(completion=0.95, final_s=(0.05,))
        voice = ScriptedVoice(think_s=0.2)
        steps = (asks_for_answers(), Says(0.5, "how long do you keep"), Says(3.0, "the monthly snapshots"))
        converse(*steps, Says(12.0, "and then"), voice=voice, transcription=quick)
        assert [turn.question for turn in voice.asked[2].question.history] == [QUESTION]

    def test_speech_before_anything_was_heard_goes_on_with_the_question(self) -> None:
        voice = ScriptedVoice(think_s=5.0)
        steps = (asks_for_answers(), Says(0.5, "how long do you keep"), Says(5.0, "the monthly snapshots"))
        stage = converse(*steps, voice=voice, after_s=20.0)
        assert stage.finals("s")[-1] == QUESTION

    def test_a_question_too_long_to_be_transcribed_again_is_put_before_what_follows(self) -> None:
        quick = ReadingTranscription(completion=0.95, final_s=(0.05,))
        long = " ".join(f"word{at}" for at in range(29))
        steps = (asks_for_answers(), Says(0.5, long), Says(11.5, "the monthly snapshots"))
        voice = ScriptedVoice(think_s=1.0)
        stage = converse(*steps, voice=voice, transcription=quick)
        assert stage.finals("s")[-1] == f"{long} the monthly snapshots"


class TestPreparation:
    def test_it_begins_while_the_question_is_being_asked(self) -> None:
        voice = ScriptedVoice()
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), voice=voice)
        first = voice.prepared[0].text
        assert QUESTION.startswith(first)
        assert 4 <= len(first.split()) < len(QUESTION.split())
        stages = stage.turns("s")[0].stages
        assert [one.start_ms < 0 for one in stages if one.name in {"find", "read ahead"}][:3] == [True] * 3

    def test_the_answer_is_given_the_last_preparation(self) -> None:
        voice = ScriptedVoice()
        converse(asks_for_answers(), Says(0.5, QUESTION), voice=voice)
        preparation = voice.asked[0].question.preparation
        assert preparation is not None
        assert preparation.question == QUESTION
        assert voice.read_texts[0] == ""
        assert preparation.tokens_read == 10 * len(voice.read_texts[1:])

    def test_it_is_bounded_in_number(self) -> None:
        voice = ScriptedVoice()
        long = " ".join(f"w{at}" for at in range(20))
        settings = {"preparation": {"max_per_question": 2}}
        converse(asks_for_answers(), Says(0.5, long), voice=voice, conversation=settings)
        # Two while it is being said, one when it may have ended.
        assert len(voice.prepared) == 3

    def test_a_slow_reading_goes_on_until_other_passages_are_found(self) -> None:
        voice = ScriptedVoice(read_s=60.0)
        settings = {"preparation": {"max_answers": 0}}
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), voice=voice, after_s=90.0, conversation=settings)
        assert len(voice.read_texts) == len(voice.prepared) + 1 > 2
        readings = [one.detail for one in stage.turns("s")[0].stages if one.name == "read ahead"]
        assert readings == ["4 tokens, broken off"] * (len(readings) - 1) + ["10 tokens"]

    def test_it_can_be_turned_off(self) -> None:
        voice = ScriptedVoice()
        settings = {"preparation": {"enabled": False}}
        converse(asks_for_answers(), Says(0.5, QUESTION), voice=voice, conversation=settings)
        assert voice.prepared == []
        assert voice.asked[0].question.preparation is None

    def test_the_record_counts_it(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION))
        decisions = stage.turns("s")[0].decisions
        assert int(decisions["prepared_tokens"]) > 0
        assert decisions["preparation"] == PreparationUse.NONE


class TestAnswerAhead:
    PAUSING = "tell me, how long you keep the snapshots"

    def pausing(self, voice: ScriptedVoice, **settings: Any) -> Scene:
        """Ask with a pause in the middle that is long enough to be taken for an end, and is none."""
        hearing = ReadingTranscription(completion=0.1, final_s=(0.05,))
        conversation = {"preparation": settings}
        return converse(
            asks_for_answers(), Says(0.5, self.PAUSING), voice=voice, transcription=hearing, conversation=conversation
        )

    def test_the_answer_is_ready_when_the_turn_has_ended(self) -> None:
        quick, voice = ReadingTranscription(final_s=(0.05,)), ScriptedVoice(think_s=0.3, token_s=0.0)
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), voice=voice, transcription=quick)
        final_at = stage.wire.on("ai.voice.transcription.s")[-1].at_s
        assert stage.wire.on("ai.voice.tts.audio.s")[0].at_s - final_at < 0.01
        (turn,) = stage.turns("s")
        assert (turn.decisions["answers_ahead"], turn.decisions["answers_in_vain"]) == ("1", "0")
        assert (turn.answer, turn.outcome) == (ANSWER, "played")

    def test_nothing_of_it_is_sent_before_the_final_transcript(self) -> None:
        stage = converse(asks_for_answers(), Says(0.5, QUESTION), voice=ScriptedVoice(think_s=0.0))
        final_at = stage.wire.on("ai.voice.transcription.s")[-1].at_s
        answer = [sent for sent in stage.wire.sent if ".text." in sent.subject or ".tts." in sent.subject]
        assert min(sent.at_s for sent in answer) >= final_at

    def test_speech_that_goes_on_ends_it_unheard(self) -> None:
        voice = ScriptedVoice(answers=("You pause.", ANSWER))
        stage = self.pausing(voice)
        asked = [asked.question.text for asked in voice.asked]
        assert asked == ["tell me", self.PAUSING.replace(",", "")]
        assert stage.answers("s") == ANSWER
        assert voice.closed == 2
        (turn,) = stage.turns("s")
        assert (turn.decisions["answers_ahead"], turn.decisions["answers_in_vain"]) == ("2", "1")
        details = [one.detail for one in turn.stages if one.name == "answer ahead"]
        assert details == ["in vain", ""]

    @pytest.mark.parametrize(("most", "ahead", "asked"), [(0, "0", 1), (1, "1", 2)])
    def test_it_is_bounded_in_number(self, most: int, ahead: str, asked: int) -> None:
        voice = ScriptedVoice(answers=("You pause.", ANSWER) if most else (ANSWER,))
        stage = self.pausing(voice, max_answers=most)
        assert stage.turns("s")[0].decisions["answers_ahead"] == ahead
        assert (len(voice.asked), stage.answers("s")) == (asked, ANSWER)

    def test_a_session_that_ends_in_the_pause_leaves_none_behind(self) -> None:
        voice = ScriptedVoice(think_s=60.0)
        converse(asks_for_answers(), Says(0.5, QUESTION), asks_for_answers(3.9), voice=voice)
        assert (len(voice.asked), voice.closed) == (1, 1)

    def test_one_that_fails_in_vain_is_logged_and_the_question_is_answered(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage = self.pausing(ScriptedVoice(answers=("You pause.", ANSWER), raised_first=RuntimeError("a mistake")))
        assert "a mistake" in caplog.text
        assert stage.answers("s") == ANSWER

    def test_it_does_not_begin_while_the_answer_before_it_is_heard(self) -> None:
        voice = ScriptedVoice(answers=(LONG, ANSWER))
        steps = (asks_for_answers(), Says(0.5, QUESTION), changes_state(5.5, "listening"), Says(5.6, "what time is it"))
        second = converse(*steps, voice=voice).turns("s")[1]
        assert second.decisions["answers_ahead"] == "0"
        assert [turn.question for turn in voice.asked[1].question.history] == [QUESTION]


class TestRecords:
    def test_a_turn_leaves_one_record_with_its_stages_in_order(self) -> None:
        (turn,) = converse(asks_for_answers(), Says(0.5, QUESTION)).turns("s")
        names = [stage.name for stage in turn.stages]
        assert {"question", "transcribe", "wait for more", "think", "write", "first audio", "playback"} <= set(names)
        starts_ms = [stage.start_ms for stage in turn.stages]
        assert starts_ms == sorted(starts_ms)
        assert (turn.question, turn.answer, turn.heard, turn.outcome) == (QUESTION, ANSWER, ANSWER, "played")

    @pytest.mark.parametrize("with_text", [True, False])
    async def test_a_line_of_json_holds_what_was_said_only_where_that_is_asked_for(
        self, tmp_path: Path, *, with_text: bool
    ) -> None:
        file = tmp_path / "logs" / "turns.jsonl"
        records = TurnRecords(TurnRecordSettings(file=str(file)), with_text=with_text)
        await records.write(
            Sender(Wire()), conversation_pb2.TurnRecord(session_id="s", question=QUESTION, outcome="played")
        )
        (line,) = file.read_text().splitlines()
        record = json.loads(line)
        assert (record["session_id"], record["outcome"], record["turn"]) == ("s", "played", 0)
        assert record.get("question") == (QUESTION if with_text else None)

    async def test_a_full_file_makes_room_for_a_new_one(self, tmp_path: Path) -> None:
        file = tmp_path / "turns.jsonl"
        records = TurnRecords(TurnRecordSettings(file=str(file), max_bytes=1000), with_text=True)
        for number in range(10):
            await records.write(Sender(Wire()), conversation_pb2.TurnRecord(session_id="s", turn=number))
        kept = file.with_name("turns.jsonl.1").read_text().splitlines() + file.read_text().splitlines()
        assert json.loads(kept[-1])["turn"] == 9
        assert file.stat().st_size <= 1000

    async def test_a_file_that_cannot_be_written_costs_nobody_an_answer(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("no folder")
        wire = Wire()
        records = TurnRecords(TurnRecordSettings(file=str(tmp_path / "taken" / "turns.jsonl")), with_text=True)
        await records.write(Sender(wire), conversation_pb2.TurnRecord(session_id="s"))
        assert len(wire.on("hearth.conversation.turn.s")) == 1


def test_a_conversation_goes_on_at_another_replica_with_its_next_turn() -> None:
    async def run() -> tuple[Wire, ScriptedVoice]:
        wire, second = Wire(), ScriptedVoice()
        async with AsyncExitStack() as leaving:
            first = await leaving.enter_async_context(scene(wire=wire, replica="a", voice=ScriptedVoice()))
            await play(Script([asks_for_answers(), Says(0.5, QUESTION)]), wire, "s", square_voice)
            await asyncio.sleep(5)
            async with scene(wire=wire, replica="b", voice=second):
                await asyncio.sleep(2)
                first.ingress.stop()
                await asyncio.sleep(1)
                await play(Script([Says(0.5, "thank you")]), wire, "s", square_voice)
                await asyncio.sleep(5)
        return wire, second

    wire, second = run_virtually(run())
    assert [asked.question.text for asked in second.asked] == ["thank you"]
    assert second.asked[0].question.user_id == "ada"
    turns = [one.read(messages_pb2.TTSAudioChunk).turn for one in wire.on("ai.voice.tts.audio.s")]
    assert sorted(set(turns)) == [1, 2]


@pytest.mark.parametrize("milliseconds", [-5, 1_000_000_000])
def test_a_report_that_cannot_be_true_does_no_harm(milliseconds: int) -> None:
    voice = ScriptedVoice(answers=(LONG, ANSWER))
    steps = (asks_for_answers(), Says(0.5, QUESTION), has_played(ANSWERED_S, 1, milliseconds), Says(9.0, "thank you"))
    stage = converse(*steps, voice=voice)
    assert stage.finals("s")[0] == QUESTION
