"""Live sessions from their clients' point of view, as conversations on a virtual clock."""

import asyncio
import struct
import tracemalloc
from collections.abc import Coroutine
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

import numpy as np
import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.sound_reader import SoundReader
from deployments.call import Call
from deployments.errors import InvalidRequestError, OverloadedError, PayloadTooLargeError, UnavailableError
from deployments.values.sound import samples_of, wav_header
from deployments.values.speech import TurnEnding, Utterance
from tests.conversation.scene import (
    Counted,
    FailingActivity,
    ReadingTranscription,
    Scene,
    SlowSpeech,
    TimedActivity,
    Wire,
    scene,
    square_voice,
)
from tests.conversation.script import Noise, Says, Script, Step, changes_state, ends, play, starts
from tests.conversation.virtual_clock import run_virtually
from tests.sound_files import as_a_browser_records, encoded, filled_up, tone, with_sizes, written

T = TypeVar("T")
QUESTION = "how long do you keep the monthly snapshots"


def virtually(work: Coroutine[Any, Any, T]) -> T:
    return run_virtually(work)


def converse(
    *steps: Step, transcription: ReadingTranscription | None = None, after_s: float = 5.0, **settings: Any
) -> Scene:
    """Play a script in session "s" and return the scene."""

    async def run() -> Scene:
        async with scene(transcription, **settings) as stage:
            await play(Script(steps), stage.wire, "s", square_voice)
            await asyncio.sleep(after_s)
            return stage

    return virtually(run())


class TestTranscripts:
    def test_what_is_said_ends_in_one_final_transcript(self) -> None:
        stage = converse(starts(), Says(0.5, QUESTION))
        assert stage.finals("s") == [QUESTION]

    def test_partial_transcripts_grow_and_never_repeat_themselves(self) -> None:
        partials = converse(starts(), Says(0.5, QUESTION)).partials("s")
        assert len(partials) >= 4
        assert all(len(later.split()) > len(earlier.split()) for earlier, later in pairwise(partials))

    def test_committed_words_are_never_taken_back(self) -> None:
        transcripts = converse(starts(), Says(0.5, QUESTION)).transcripts("s")
        partials = [one for one in transcripts if one.is_partial]
        for at, partial in enumerate(partials):
            stable = partial.transcript[: partial.stable_characters]
            assert all(later.transcript.startswith(stable) for later in partials[at:])
        assert partials[-1].stable_characters > 0

    def test_partial_transcripts_come_at_most_a_few_times_a_second(self) -> None:
        stage = converse(starts(), Says(0.5, QUESTION), transcription=ReadingTranscription(partial_s=0.0))
        times = [sent.at_s for sent in stage.wire.on("ai.voice.transcription.s")]
        assert min(later - earlier for earlier, later in pairwise(times[:-1])) >= 0.4

    def test_sequence_counts_up_from_zero_and_every_message_says_who_spoke(self) -> None:
        transcripts = converse(starts(speaker_id="ada"), Says(0.5, QUESTION), Says(6.0, "thank you")).transcripts("s")
        assert [one.sequence for one in transcripts] == list(range(len(transcripts)))
        assert {(one.session_id, one.speaker_id, one.state) for one in transcripts} == {("s", "ada", "listening")}
        assert all(one.has_voice_activity for one in transcripts)
        assert all(one.is_partial != one.is_final for one in transcripts)

    def test_every_utterance_has_its_own_final_transcript(self) -> None:
        stage = converse(starts(), Says(0.5, "good morning"), Says(3.0, "what time is it"), Says(7.0, "thank you"))
        assert stage.finals("s") == ["good morning", "what time is it", "thank you"]

    def test_a_slow_transcript_does_not_let_a_later_one_overtake_it(self) -> None:
        slow = ReadingTranscription(final_s=(4.0, 0.1))
        stage = converse(starts(), Says(0.5, "good morning"), Says(3.0, "what time is it"), transcription=slow)
        assert stage.finals("s") == ["good morning", "what time is it"]

    def test_end_finishes_what_is_being_said(self) -> None:
        stage = converse(starts(), Says(0.5, "one two three four"), ends(1.6))
        assert stage.finals("s") == ["one two three"]

    def test_a_click_is_no_utterance(self) -> None:
        stage = converse(starts(), Noise(0.5, 0.06), Says(2.0, "hello there"))
        assert stage.finals("s") == ["hello there"]

    def test_noise_that_holds_no_word_is_not_transcribed(self) -> None:
        stage = converse(starts(), Noise(0.5, 0.8), ends(4.0))
        assert [(one.transcript, one.is_final) for one in stage.transcripts("s")] == [("", True)]

    def test_silence_ends_with_one_empty_final_transcript(self) -> None:
        stage = converse(starts(), ends(3.0))
        (final,) = stage.transcripts("s")
        assert (final.transcript, final.is_final, final.has_voice_activity) == ("", True, False)

    def test_the_first_word_is_not_cut(self) -> None:
        stage = converse(starts(), Says(0.5, "yes"))
        assert stage.finals("s") == ["yes"]

    def test_a_model_that_fails_leaves_the_words_so_far_and_says_so(self) -> None:
        failing = ReadingTranscription(error=UnavailableError("the model is away"))
        transcripts = converse(starts(), Says(0.5, QUESTION), transcription=failing).transcripts("s")
        assert transcripts[-1].is_final
        assert (transcripts[-1].error, transcripts[-1].error_type) == ("the model is away", "unavailable")
        assert QUESTION.startswith(transcripts[-1].transcript)

    def test_a_mistake_of_ours_leaves_the_words_so_far_and_says_so(self) -> None:
        failing = ReadingTranscription(error=RuntimeError("a mistake"))
        transcripts = converse(starts(), Says(0.5, QUESTION), transcription=failing).transcripts("s")
        assert transcripts[-1].is_final
        assert transcripts[-1].error_type == "internal"
        assert QUESTION.startswith(transcripts[-1].transcript)

    def test_a_long_monologue_is_transcribed_in_parts(self) -> None:
        said = ", ".join(f"sentence number w{at} of a long story" for at in range(12))
        hearing = ReadingTranscription(completion=0.5)
        stage = converse(starts(), Says(0.5, said), transcription=hearing, after_s=40.0)
        assert stage.finals("s") == [said.replace(",", "")]
        assert hearing.longest_s < 15

    def test_a_monologue_without_a_pause_is_cut_and_whole(self) -> None:
        said = " ".join(f"w{at}" for at in range(130))
        hearing = ReadingTranscription()
        stage = converse(starts(), Says(0.5, said), transcription=hearing, after_s=60.0)
        (final,) = stage.finals("s")
        assert hearing.longest_s <= 29
        assert len(set(said.split()) - set(final.split())) <= 1


class TestTurns:
    def test_a_turn_that_sounds_finished_ends_sooner(self) -> None:
        def final_at(completion: float | None) -> float:
            quick = ReadingTranscription(completion=completion, final_s=(0.05,))
            stage = converse(starts(), Says(0.5, "what time is it"), transcription=quick)
            return stage.wire.on("ai.voice.transcription.s")[-1].at_s

        assert final_at(0.9) < final_at(None) < final_at(0.1)

    def test_a_pause_in_a_turn_that_sounds_unfinished_does_not_split_it(self) -> None:
        unfinished = ReadingTranscription(completion=0.1)
        stage = converse(starts(), Says(0.5, "tell me, what time it is"), transcription=unfinished)
        assert stage.finals("s") == ["tell me what time it is"]

    def test_a_transcript_begun_in_a_pause_is_thrown_away_when_speech_goes_on(self) -> None:
        hearing = ReadingTranscription(completion=0.1)
        stage = converse(starts(), Says(0.5, "tell me, what time it is"), transcription=hearing)
        assert stage.finals("s") == ["tell me what time it is"]
        assert (hearing.concluded, hearing.cancelled) == (2, 1)

    def test_the_final_transcript_is_made_while_the_end_of_the_turn_is_awaited(self) -> None:
        stage = converse(starts(), Says(0.5, "what time is it"), transcription=ReadingTranscription(final_s=(0.3,)))
        spoken_until = 0.3 + 0.5 + 4 * 0.352
        final_at = stage.wire.on("ai.voice.transcription.s")[-1].at_s
        assert final_at - spoken_until < 0.704 + 0.1


class TestSessions:
    def test_chunks_before_start_are_kept(self) -> None:
        stage = converse(Says(0.2, "good morning everybody"), starts(at_s=1.0, speaker_id="bob"))
        assert stage.finals("s") == ["good morning everybody"]
        assert stage.transcripts("s")[-1].speaker_id == "bob"

    def test_a_session_without_start_is_transcribed(self) -> None:
        assert converse(Says(0.2, "good morning"), ends(4.0)).finals("s") == ["good morning"]

    def test_a_doubled_start_changes_nothing(self) -> None:
        stage = converse(starts(), starts(at_s=0.02), Says(0.5, "good morning"))
        assert stage.finals("s") == ["good morning"]
        assert stage.transcripts("s")[0].sequence == 0

    def test_start_resets_a_session(self) -> None:
        stage = converse(starts(), Says(0.5, "one two three four five"), starts(at_s=1.5), Says(4.0, "six seven"))
        assert stage.finals("s") == ["four five", "six seven"]
        finals = [one for one in stage.transcripts("s") if one.is_final]
        assert finals[0].sequence < 4

    def test_a_doubled_end_is_answered_once(self) -> None:
        stage = converse(starts(), Says(0.5, "good morning"), ends(1.4), ends(1.5), ends(3.0))
        assert stage.finals("s") == ["good morning"]

    def test_what_comes_after_the_end_opens_nothing(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await play(Script([starts(), Says(0.2, "good morning"), ends(2.0)]), stage.wire, "s", square_voice)
                await asyncio.sleep(2)
                await stage.send("s", type="chunk", audio=square_voice("too late now"))
                assert stage.ingress.session_count == 0
                await stage.send("s", type="start")
                await stage.send("s", type="chunk", audio=square_voice("once more"))
                await stage.send("s", type="end")
                await asyncio.sleep(2)
                return stage

        assert virtually(run()).finals("s") == ["good morning", "once more"]

    def test_a_session_that_falls_silent_for_good_is_finished_and_dropped(self) -> None:
        async def run() -> Scene:
            async with scene(idle_s=30.0) as stage:
                await stage.send("s", type="start")
                await stage.send("s", type="chunk", audio=square_voice("good morning everybody"))
                await asyncio.sleep(4)
                assert stage.finals("s") == ["good morning everybody"]
                assert stage.ingress.session_count == 1
                await asyncio.sleep(28)
                assert stage.ingress.session_count == 0
                await stage.send("s", type="chunk", audio=square_voice("here again"))
                await asyncio.sleep(4)
                return stage

        assert virtually(run()).finals("s") == ["good morning everybody", "here again"]

    def test_an_idle_session_has_no_task_of_its_own(self) -> None:
        async def run() -> tuple[int, int]:
            async with scene() as stage:
                await asyncio.sleep(1)
                before = len(asyncio.all_tasks())
                for number in range(50):
                    await stage.send(f"s{number}", type="start")
                    await stage.send(f"s{number}", type="chunk", audio=bytes(6400))
                await asyncio.sleep(1)
                return before, len(asyncio.all_tasks())

        before, with_sessions = virtually(run())
        assert with_sessions == before

    def test_many_sessions_at_once_hear_only_their_own_words(self) -> None:
        async def run() -> Scene:
            async with scene() as stage, asyncio.TaskGroup() as group:
                for number in range(40):
                    said = f"session w{number} says this"
                    script = Script([starts(), Says(0.5 + number * 0.013, said), ends(4.0)])
                    group.create_task(play(script, stage.wire, f"s{number}", square_voice))
            return stage

        stage = virtually(run())
        assert all(stage.finals(f"s{number}") == [f"session w{number} says this"] for number in range(40))

    def test_sound_that_the_model_of_voice_activity_fails_over_costs_no_session_that_is_heard_with_it(self) -> None:
        async def run() -> Scene:
            async with scene(activity=activity) as stage:
                for name, said in (("first", "good morning"), ("poisoned", ""), ("later", "good evening")):
                    await stage.send(name, type="start")
                    await stage.send(
                        name, type="chunk", audio=square_voice(said) if said else b"\xff\x7f\1\x80" * 8_000
                    )
                await asyncio.sleep(4)
                return stage

        activity = FailingActivity(poison=0.9)
        stage = virtually(run())
        assert activity.failed == 3
        assert (stage.finals("first"), stage.finals("later")) == (["good morning"], ["good evening"])

    def test_a_model_of_voice_activity_that_fails_costs_no_other_session(self) -> None:
        async def run() -> Scene:
            async with scene(activity=activity) as stage:
                await stage.send("later", type="start")
                await stage.send("first", type="chunk", audio=square_voice("lost for ever"))
                await asyncio.sleep(0.1)
                assert stage.ingress.session_count == 1
                await stage.send("first", type="chunk", audio=square_voice("here again"))
                await stage.send("later", type="chunk", audio=square_voice("good morning"))
                await asyncio.sleep(4)
                return stage

        activity = FailingActivity()
        stage = virtually(run())
        assert activity.failed == 1
        assert (stage.finals("first"), stage.finals("later")) == (["here again"], ["good morning"])

    @pytest.mark.parametrize("event", ["stalls", "leaves"])
    def test_one_whose_end_fails_costs_no_other_session(self, event: str) -> None:
        async def run() -> Scene:
            async with scene(activity=activity) as stage:
                for name, said in (("first", "lost for ever"), ("later", "good morning")):
                    await stage.send(name, type="start")
                    # Not a whole number of windows, so that a rest is left to be heard at the end.
                    await stage.send(name, type="chunk", audio=square_voice(said) + bytes(100))
                await asyncio.sleep(0.2)
                activity.fails = True
                await asyncio.sleep(3 if event == "stalls" else 0)
            return stage

        activity = TimedActivity()
        stage = virtually(run())
        assert not activity.fails
        assert (stage.finals("first"), stage.finals("later")) == ([], ["good morning"])

    def test_one_whose_last_words_cannot_be_sent_is_forgotten_all_the_same(self) -> None:
        async def run() -> int:
            async with scene() as stage:
                await stage.send("s", type="start")
                stage.wire.fails("ai.voice.transcription.s", times=1)
                await stage.send("s", type="end")
                await asyncio.sleep(1)
                return stage.ingress.session_count

        assert virtually(run()) == 0

    @pytest.mark.parametrize("name", ["a*b", "a>", "a\x01b"])
    def test_a_session_that_nothing_can_be_published_to_is_refused(self, name: str) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await stage.send(name, type="start", reply="_INBOX.x")
                await stage.send(name, type="chunk", audio=square_voice("nobody hears it"))
                assert stage.ingress.session_count == 0
                return stage

        (refusal,) = virtually(run()).wire.on("_INBOX.x")
        assert refusal.read(messages_pb2.ErrorResponse).type == "invalid_request"

    def test_an_end_whose_sound_is_refused_ends_the_session(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start")
                await stage.send("s", type="end", audio=bytes(640), sample_rate=1, reply="_INBOX.x")
                await asyncio.sleep(2)
                assert stage.ingress.session_count == 0
                return stage

        (refusal,) = virtually(run()).wire.on("_INBOX.x")
        assert refusal.read(messages_pb2.ErrorResponse).type == "invalid_request"

    def test_a_session_whose_end_still_waits_when_its_replica_leaves_is_ended(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start")
                await stage.send("s", type="chunk", audio=square_voice("the last words"))
                await stage.send("s", type="end", reply="_INBOX.x")
            return stage

        stage = virtually(run())
        assert stage.ingress.session_count == 0
        assert len(stage.wire.on("_INBOX.x")) == 1

    @pytest.mark.parametrize("reply", ["hearth.audio.interrupt", "ai.chat.request", "$JS.API.STREAM.DELETE.X"])
    def test_a_message_makes_hearth_speak_nowhere_that_its_client_may_not(self, reply: str) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start")
                await stage.send("s", type="no such type", reply=reply)
                await stage.send("s", type="end", reply=reply)
                await asyncio.sleep(2)
                return stage

        assert virtually(run()).wire.on(reply) == []

    def test_a_message_that_fails_inside_is_answered_and_the_session_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*args: Any, **kwargs: Any) -> bytes:
            raise RuntimeError("a mistake")

        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start")
                with monkeypatch.context() as broken:
                    broken.setattr(SoundReader, "read", fails)
                    await stage.send("s", type="chunk", audio=bytes(640), reply="_INBOX.x")
                await stage.send("s", type="chunk", audio=square_voice("still here"))
                await stage.send("s", type="end")
                await asyncio.sleep(2)
                return stage

        stage = virtually(run())
        assert stage.wire.on("_INBOX.x")[0].read(messages_pb2.ErrorResponse).type == "internal"
        assert stage.finals("s") == ["still here"]

    def test_a_session_that_is_started_again_goes_on_with_its_epoch(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                script = Script([starts(), changes_state(0.2, "responding"), Says(1.0, "stop that"), ends(4.0)])
                await play(script, stage.wire, "s", square_voice)
                await asyncio.sleep(2)
                await play(Script([starts(), Says(0.3, "good morning")]), stage.wire, "s", square_voice)
                return stage

        stage = virtually(run())
        assert {final.epoch for final in stage.transcripts("s") if final.is_final} == {1}

    def test_more_sessions_than_may_be_are_refused(self) -> None:
        async def run() -> messages_pb2.ErrorResponse:
            async with scene(max_sessions=2) as stage:
                for name in ("a", "b", "c"):
                    await stage.send(name, type="start", reply=f"_INBOX.{name}")
                (refused,) = [sent for sent in stage.wire.sent if sent.subject.startswith("_INBOX")]
                return refused.read(messages_pb2.ErrorResponse)

        assert virtually(run()).type == "overloaded"

    def test_more_sessions_of_one_user_than_may_be_are_refused_and_others_are_not(self) -> None:
        async def run() -> dict[str, str]:
            async with scene(max_user_sessions=2) as stage:
                for name, user in (
                    ("a", "rude"),
                    ("b", "rude"),
                    ("c", "rude"),
                    ("d", "other"),
                    ("e", ""),
                    ("b", "rude"),
                ):
                    await stage.send(name, type="start", user_id=user, reply=f"_INBOX.{name}")
                refused = [sent for sent in stage.wire.sent if sent.subject.startswith("_INBOX")]
                return {sent.subject: sent.read(messages_pb2.ErrorResponse).message for sent in refused}

        assert virtually(run()) == {"_INBOX.c": "2 sessions of this user are open already"}

    def test_sound_of_sessions_that_nobody_starts_keeps_out_none_that_starts(self) -> None:
        async def run() -> tuple[list[str], Scene]:
            async with scene(max_sessions=3) as stage:
                for number in range(10):
                    await stage.send(f"never started {number}", type="chunk", audio=bytes(640), reply="_INBOX.rude")
                await asyncio.sleep(1)
                for name in ("a", "b", "c"):
                    await stage.send(name, type="start", reply="_INBOX.x")
                await stage.send("d", type="start", reply="_INBOX.d")
                refused = [sent.subject for sent in stage.wire.sent if sent.subject.startswith("_INBOX")]
                return refused, stage

        refused, stage = virtually(run())
        assert set(refused) == {"_INBOX.rude", "_INBOX.d"}
        assert stage.metrics.most_sessions == 3

    def test_a_long_speech_that_is_sent_at_once_is_transcribed_a_few_utterances_at_a_time(self) -> None:
        class Crowded(ReadingTranscription):
            open: int = 0
            most_open: int = 0

            async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                try:
                    return await super().conclude(call, utterance, judge_turn)
                finally:
                    self.open -= 1

        async def run() -> Scene:
            async with scene(transcription) as stage:
                said = square_voice("good morning") + bytes(64_000)
                await stage.send("s", type="start")
                for _ in range(3):
                    await stage.send("s", type="chunk", audio=said * 10)
                await stage.send("s", type="end")
                await asyncio.sleep(60)
                return stage

        transcription = Crowded(final_s=(2.0,))
        assert virtually(run()).finals("s") == ["good morning"] * 30
        assert transcription.most_open == 4

    def test_a_client_whose_sound_was_lost_is_told_by_its_next_final_transcript(self) -> None:
        async def run() -> Scene:
            async with scene(max_backlog_s=2.0) as stage:
                await stage.send("s", type="start")
                await stage.send("s", type="chunk", audio=square_voice(QUESTION)[:64_000])
                await stage.send("s", type="chunk", audio=bytes(64_000))
                await asyncio.sleep(3)
                await play(Script([Says(0.3, "good morning")]), stage.wire, "s", square_voice)
                await asyncio.sleep(3)
                return stage

        first, second = [final for final in virtually(run()).transcripts("s") if final.is_final]
        assert (first.error_type, first.error) == (
            "overloaded",
            "sound was lost: more than 2 s of sound wait in this session",
        )
        assert (second.transcript, second.error) == ("good morning", "")

    def test_no_flood_of_sessions_that_end_is_remembered_whole(self) -> None:
        async def run() -> int:
            async with scene(max_sessions=2) as stage:
                for number in range(100):
                    await stage.send(f"{number}", type="start")
                    await stage.send(f"{number}", type="end")
                    await asyncio.sleep(0.1)
                return sum(stage.ingress._registry.has_ended(f"{number}") for number in range(100))

        assert virtually(run()) == 8

    def test_a_metric_that_cannot_be_counted_ends_no_session(self) -> None:
        class Broken(Counted):
            def sessions(self, count: int) -> None:
                raise RuntimeError("no room for a metric")

            def tasks(self, count: int) -> None:
                raise RuntimeError("no room for a metric")

            def utterance_ended(self, outcome: str, seconds_to_final: float) -> None:
                raise RuntimeError("no room for a metric")

        async def run() -> Scene:
            async with scene(metrics=Broken()) as stage:
                await stage.send("another", type="start")
                await stage.send("another", type="end")
                await play(Script([starts(), Says(0.5, QUESTION)]), stage.wire, "s", square_voice)
                await asyncio.sleep(5)
                return stage

        assert virtually(run()).finals("s") == [QUESTION]

    def test_sound_far_ahead_of_what_is_listened_to_is_bounded(self) -> None:
        async def run() -> messages_pb2.ErrorResponse:
            async with scene(max_backlog_s=2.0) as stage:
                await stage.send("s", type="start")
                await stage.send("s", type="chunk", audio=bytes(64_000))
                await stage.send("s", type="chunk", audio=bytes(64_000), reply="_INBOX.x")
                return stage.wire.on("_INBOX.x")[0].read(messages_pb2.ErrorResponse)

        assert virtually(run()).type == "overloaded"

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"type": "begin"}, "invalid_request"),
            ({"type": "state_change", "state": "dancing"}, "invalid_request"),
            ({"type": "chunk", "audio": b"\0\0", "sample_rate": 3}, "invalid_request"),
            ({"type": "chunk", "audio": b"\0\0", "channels": 99}, "invalid_request"),
            ({"type": "chunk", "audio": b"\0\0", "bit_depth": 12}, "invalid_request"),
            ({"type": "end"}, "not_found"),
        ],
    )
    def test_messages_that_make_no_sense_are_refused(self, fields: dict[str, Any], kind: str) -> None:
        async def run() -> messages_pb2.ErrorResponse:
            async with scene() as stage:
                await stage.send("s", reply="_INBOX.x", **fields)
                return stage.wire.on("_INBOX.x")[0].read(messages_pb2.ErrorResponse)

        assert virtually(run()).type == kind

    def test_a_payload_that_is_no_message_is_refused_and_the_session_goes_on(self) -> None:
        async def run() -> tuple[messages_pb2.ErrorResponse, Scene]:
            async with scene() as stage:
                await stage.send("s", type="start")
                await stage.wire.publish("ai.voice.stream.s", b"\xff\xff\xff", "_INBOX.x")
                await stage.send("s", type="chunk", audio=square_voice("still here"))
                await stage.send("s", type="end")
                await asyncio.sleep(2)
                return stage.wire.on("_INBOX.x")[0].read(messages_pb2.ErrorResponse), stage

        error, stage = virtually(run())
        assert error.type == "invalid_request"
        assert stage.finals("s") == ["still here"]

    def test_mutated_messages_harm_nobody(self) -> None:
        random = Random(7)
        sound = square_voice("some words")
        seeds = [
            messages_pb2.STTStreamMessage(type=kind, audio=sound[:700], state="responding", sample_rate=rate)
            for kind in ("start", "chunk", "state_change", "end")
            for rate in (0, 8_000)
        ]

        def mutated() -> bytes:
            payload = bytearray(random.choice(seeds).SerializeToString())
            for _ in range(random.randrange(1, 6)):
                payload[random.randrange(len(payload))] = random.randrange(256)
            return bytes(payload[: random.randrange(1, len(payload) + 1)])

        async def run() -> Scene:
            async with scene() as stage:
                for number in range(5000):
                    await stage.wire.publish(f"ai.voice.stream.{number % 7}", mutated(), "_INBOX.x")
                    if number % 100 == 0:
                        await asyncio.sleep(0.1)
                await play(Script([starts(), Says(0.5, QUESTION), ends(5.0)]), stage.wire, "s", square_voice)
                await asyncio.sleep(2)
                return stage

        assert virtually(run()).finals("s") == [QUESTION]


class TestSound:
    @pytest.mark.parametrize("size", [1, 7, 639, 641, 4096, 100_000])
    def test_chunks_may_be_cut_anywhere(self, size: int) -> None:
        assert self.heard(square_voice("how long is a piece"), size) == ["how long is a piece"]

    @pytest.mark.parametrize("size", [1, 20, 45, 4096])
    def test_a_wav_header_in_the_stream_is_honoured(self, size: int) -> None:
        stereo = np.repeat(np.frombuffer(square_voice("how long is a piece"), "<i2"), 2)
        header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 2, 16_000, 64_000, 4, 16)
        wav = header + struct.pack("<4sI", b"data", 0xFFFFFFFF) + stereo.tobytes()
        assert self.heard(wav, size) == ["how long is a piece"]

    @pytest.mark.parametrize(
        "promise",
        [
            pytest.param(b"data" + struct.pack("<I", 0x7FFFFFFF), id="the format behind the sound"),
            pytest.param(b"JUNK" + struct.pack("<I", 0), id="one empty chunk after the other"),
        ],
    )
    def test_a_header_that_never_ends_is_refused(self, promise: bytes) -> None:
        reader = SoundReader()

        def read_all() -> None:
            reader.read(b"RIFF" + struct.pack("<I", 0xFFFFFFF0) + b"WAVE")
            for _ in range(64):
                reader.read(promise * 8192)

        with pytest.raises(InvalidRequestError, match="a WAV header without"):
            read_all()

    def test_our_own_streaming_header_is_understood(self) -> None:
        assert self.heard(wav_header(16_000) + square_voice("how long"), 1000) == ["how long"]

    @pytest.mark.parametrize("bits", [8, 24, 32])
    def test_other_sample_sizes_are_read(self, bits: int) -> None:
        samples = np.frombuffer(square_voice("hello"), "<i2").astype(np.int64)
        match bits:
            case 8:
                data = (samples // 256 + 128).astype(np.uint8).tobytes()
            case 24:
                data = (samples * 256).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
            case _:
                data = (samples * 65536).astype("<i4").tobytes()
        heights = self.levels(data, bit_depth=bits)
        assert heights == pytest.approx(float(np.abs(samples).max()), abs=256)

    @pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 48_000])
    def test_other_rates_last_as_long(self, rate: int) -> None:
        seconds = 3.0
        tone = (8000 * np.sin(2 * np.pi * 300 * np.arange(int(rate * seconds)) / rate)).astype("<i2").tobytes()

        async def run() -> float:
            hearing = ReadingTranscription()
            async with scene(hearing) as stage:
                await stage.send("s", type="start")
                for at in range(0, len(tone), 3000):
                    await stage.send("s", type="chunk", audio=tone[at : at + 3000], sample_rate=rate)
                await stage.send("s", type="end")
                await asyncio.sleep(2)
            return hearing.longest_s

        assert virtually(run()) == pytest.approx(seconds, abs=0.1)

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
    @pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
    @pytest.mark.parametrize("promised", [None, 0, 0xFFFFFFFF, 500])
    def test_a_wav_stream_of_any_form_is_read_as_the_same_file_is(
        self, container: str, subtype: str, promised: int | None
    ) -> None:
        file = written(tone(1.0), container, subtype)
        samples = samples_of(self.read(file if promised is None else with_sizes(file, promised), 333))
        assert len(samples) == pytest.approx(16_000, abs=20)
        assert float(np.abs(samples).max()) == pytest.approx(0.5, abs=0.03)

    @pytest.mark.parametrize("container", ["WAV", "RF64"])
    def test_a_header_is_looked_for_behind_a_start_that_tells_a_rate(self, container: str) -> None:
        reader = SoundReader()
        assert reader.read(b"", rate=44_100, channels=2) == b""
        pcm = reader.read(written(tone(1.0), container, "FLOAT"))
        assert len(pcm) == 32_000

    @pytest.mark.parametrize("size", [100, 333, 4096, 100_000])
    def test_what_stands_behind_the_sound_of_a_wav_file_is_not_heard(self, size: int) -> None:
        quiet = written(tone(1.0, peak=0.01), "WAV", "PCM_16")
        noise = struct.pack("<4sI", b"LIST", 9000) + b"\x7f" * 9000
        pcm = self.read(quiet + noise + quiet, size) if size > len(quiet) else self.read(quiet + noise, size)
        assert float(np.abs(samples_of(pcm)).max()) < 0.02

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
    @pytest.mark.parametrize("told", [{"rate": 16_000}, {"rate": 48_000}, {"channels": 2}, {"bits": 16}, {"bits": 64}])
    def test_a_wav_header_knows_better_than_what_each_message_tells(self, subtype: str, told: dict[str, int]) -> None:
        samples = samples_of(self.read(written(tone(1.0), "WAV", subtype), 333, **told))
        assert samples == pytest.approx(tone(1.0), abs=0.03)

    @pytest.mark.parametrize("size", [333, 4096, 32_046, 100_000])
    @pytest.mark.parametrize("second", ["PCM_16", "FLOAT"])
    def test_a_further_wav_file_begins_wherever_pieces_are_cut(self, size: int, second: str) -> None:
        samples = samples_of(self.read(written(tone(1.0), "WAV", "PCM_16") + written(tone(1.0), "WAV", second), size))
        assert samples == pytest.approx(np.concatenate([tone(1.0), tone(1.0)]), abs=1e-3)

    @pytest.mark.parametrize("files", [33, 20_000])
    def test_a_message_of_many_wav_files_is_refused_and_its_client_is_told(self, files: int) -> None:
        file = written(tone(1.0)[:1], "WAV", "PCM_16")

        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start")
                await stage.send("s", "_INBOX.x", type="chunk", audio=file * files)
                await stage.send("s", type="end")
                await asyncio.sleep(2)
                return stage

        stage = virtually(run())
        (refusal,) = [one.read(messages_pb2.ErrorResponse) for one in stage.wire.on("_INBOX.x")]
        (last,) = stage.transcripts("s")
        assert (refusal.type, last.error_type) == (InvalidRequestError.kind, InvalidRequestError.kind)
        assert refusal.message == "a message with more than 32 WAV files"

    def test_after_a_message_of_too_many_wav_files_the_next_file_is_read(self) -> None:
        file = written(tone(1.0), "WAV", "PCM_16")
        reader = SoundReader()
        with pytest.raises(InvalidRequestError):
            reader.read(written(tone(1.0)[:1], "WAV", "PCM_16") * 33)
        assert samples_of(reader.read(file)) == pytest.approx(tone(1.0), abs=1e-3)

    def test_a_message_may_change_the_format_a_few_times(self) -> None:
        files = [written(tone(0.1, rate), "WAV", "PCM_16", rate) for rate in (8000, 24_000, 44_100, 48_000, 32_000)]
        reader = SoundReader()
        assert len(reader.read(b"".join(files[:4])) + reader.finish()) == pytest.approx(4 * 3200, abs=16)
        with pytest.raises(InvalidRequestError, match="changes the format of its sound more than 4 times"):
            SoundReader().read(b"".join(files))
        assert len(reader.read(files[4]) + reader.finish()) == pytest.approx(3200, abs=16)

    def test_a_message_may_hold_several_wav_files(self) -> None:
        file = written(tone(1.0), "WAV", "PCM_16")
        assert len(SoundReader().read(file * 32)) == 32 * 32_000

    @pytest.mark.parametrize("size", [13, 4096, 100_000])
    @pytest.mark.parametrize("aside", [0, 1, 300_000], ids=["empty", "odd", "large"])
    def test_names_and_pictures_of_a_header_are_passed_over_wherever_it_is_cut(self, size: int, aside: int) -> None:
        file = written(tone(0.1), "RF64", "PCM_24")
        format_at = file.index(b"fmt ")
        # What is in the aside may look like anything.
        content = (b"RIFFdata" * (aside // 8 + 1))[:aside] + bytes(aside % 2)
        picture = struct.pack("<4sI", b"LIST", aside) + content
        with_pictures = file[:12] + picture + file[12:format_at] + picture + file[format_at:]
        assert samples_of(self.read(with_pictures, size)) == pytest.approx(tone(0.1), abs=1e-3)

    @pytest.mark.parametrize("size", [1000, 65_536, 1_030_000])
    def test_of_a_header_that_is_not_whole_only_what_matters_is_kept(self, size: int) -> None:
        head = written(tone(0.1), "WAV", "PCM_16")[:36]
        file = head + struct.pack("<4sI", b"LIST", 1_040_000) + b"x" * 1_030_000
        reader = SoundReader()
        tracemalloc.start()
        try:
            for at in range(0, len(file), size):
                assert reader.read(file[at : at + size]) == b""
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 8192
        assert reader.held_bytes == 0

    def test_a_stream_whose_format_comes_behind_much_sound_is_refused(self) -> None:
        reader = SoundReader()
        file = written(tone(0.1), "WAV", "PCM_16")[:12] + struct.pack("<4sI", b"data", 500_000) + bytes(500_000)
        reader.read(file[:60_000])
        assert reader.held_bytes == 60_000
        with pytest.raises(InvalidRequestError, match="a WAV header without a format in its first 65536 bytes"):
            reader.read(file[60_000:70_000])
        assert reader.held_bytes == 0

    def test_a_beginning_that_says_nothing_yet_counts_as_sound_that_waits(self) -> None:
        beginning = written(tone(0.1), "WAV", "PCM_16")[:12] + struct.pack("<4sI", b"data", 60_000) + bytes(50_000)

        async def run() -> tuple[Scene, int, int, int]:
            async with scene(max_total_backlog_s=16.0) as stage:
                for number in range(20):
                    for audio in (beginning, bytes(100)):
                        reply = f"_INBOX.{number}"
                        await stage.send(f"{number}", reply, type="chunk", audio=audio, sample_rate=16_000)
                sessions = list(stage.ingress._registry.sessions())
                held = sum(session.reader.held_bytes for session in sessions)
                counted = stage.ingress._registry._room.held_bytes
                for number in range(20):
                    await stage.send(f"{number}", type="end")
                await asyncio.sleep(2)
                return stage, held, counted, stage.ingress._registry._room.held_bytes

        stage, held, counted, left = virtually(run())
        assert held == counted <= 16 * 32_000
        kinds = [one.read(messages_pb2.ErrorResponse).type for one in stage.wire.on("_INBOX.19")]
        assert kinds == [OverloadedError.kind, InvalidRequestError.kind]
        assert not stage.wire.on("_INBOX.0")
        assert left == 0

    def test_a_message_of_more_sound_than_may_be_converted_is_lost_and_its_client_is_told(self) -> None:
        told = {"sample_rate": 4000, "bit_depth": 8}

        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start")
                await stage.send("s", "_INBOX.x", type="chunk", audio=b"\x80" * 480_001, **told)
                await stage.send("s", "_INBOX.y", type="chunk", audio=b"\x80" * 4000, **told)
                await stage.send("s", type="end")
                await asyncio.sleep(3)
                return stage

        stage = virtually(run())
        (refusal,) = [one.read(messages_pb2.ErrorResponse) for one in stage.wire.on("_INBOX.x")]
        assert refusal.type == PayloadTooLargeError.kind
        assert refusal.message == "a message with more than 120 s of sound that is not 16-bit mono PCM at 16 kHz"
        assert not stage.wire.on("_INBOX.y")
        last = stage.transcripts("s")[-1]
        assert (last.error_type, last.error) == (PayloadTooLargeError.kind, f"sound was lost: {refusal.message}")

    def test_two_minutes_may_be_converted_at_once_and_more_where_nothing_is_converted(self) -> None:
        assert len(SoundReader().read(b"\x80" * 480_000, rate=4000, bits=8)) == pytest.approx(120 * 32_000, abs=4000)
        assert len(SoundReader().read(bytes(130 * 32_000))) == 130 * 32_000

    @pytest.mark.parametrize("at_once", [True, False])
    def test_of_sound_that_is_too_much_at_once_what_follows_is_read_and_stays_whole(self, at_once: bool) -> None:
        long, short = (written(tone(seconds, 8000), "WAV", "PCM_24", 8000) for seconds in (70.0, 1.0))
        whole = long + long + short
        reader = SoundReader()
        cut = len(long) + len(long) + (100 if at_once else -1)
        with pytest.raises(PayloadTooLargeError):
            reader.read(whole[:cut])
        rest = samples_of(reader.read(whole[cut:]) + reader.finish())
        # A tenth of a second at most is what the resampler held of the sound before.
        assert 15_900 <= len(rest) <= 17_600
        assert rest[-15_000:-100] == pytest.approx(tone(1.0)[-15_000:-100], abs=0.01)

    @pytest.mark.parametrize(("bits", "room"), [(24, 32), (20, 24), (12, 16)])
    @pytest.mark.parametrize("is_extensible", [False, True], ids=["plain", "extensible"])
    def test_samples_that_do_not_fill_their_room_are_read(self, bits: int, room: int, is_extensible: bool) -> None:
        file = filled_up(tone(1.0), bits, room, is_extensible=is_extensible)
        assert samples_of(self.read(file, 333)) == pytest.approx(tone(1.0), abs=1e-3)

    @pytest.mark.parametrize("name", [b"LIST", b"_PMX", b"axml", b"cart", b"afsp", b"DISP"])
    @pytest.mark.parametrize("frames", [16_000, 15_999])
    @pytest.mark.parametrize("is_counted", [True, False], ids=["in the size of the file", "added later"])
    def test_no_chunk_behind_the_sound_is_heard_wherever_it_is_cut(
        self, name: bytes, frames: int, is_counted: bool
    ) -> None:
        quiet = written(tone(1.0, peak=0.01)[:frames], "WAV", "PCM_U8")
        file = quiet.ljust(len(quiet) + len(quiet) % 2, b"\0") + struct.pack("<4sI", name, 9000) + b"\xff\0\0" * 3000
        if is_counted:
            file = file[:4] + struct.pack("<I", len(file) - 8) + file[8:]
        for size in (len(quiet) - 1, len(quiet), len(quiet) + 1, len(quiet) + 3, 4096):
            samples = samples_of(self.read(file, size))
            assert len(samples) == frames
            assert float(np.abs(samples).max()) < 0.03

    @pytest.mark.parametrize(
        ("right", "peak"), [(1.0, 0.5), (-1.0, 0.5), (0.0, 0.5)], ids=["same", "mirrored", "right is dead"]
    )
    def test_two_channels_keep_the_level_of_the_voice(self, right: float, peak: float) -> None:
        file = written(np.stack([tone(1.0), right * tone(1.0)], axis=1), "WAV", "PCM_16")
        assert float(np.abs(samples_of(self.read(file, 640))).max()) == pytest.approx(peak, abs=0.03)

    @pytest.mark.parametrize("started", [{}, {"sample_rate": 48_000, "channels": 1}], ids=["as ever", "at a rate"])
    @pytest.mark.parametrize("told", [{}, {"sample_rate": 48_000}], ids=["chunks say nothing", "each tells its rate"])
    def test_a_stream_of_another_kind_of_file_is_refused_by_name_and_none_of_it_is_heard(
        self, started: dict[str, Any], told: dict[str, Any]
    ) -> None:
        file = as_a_browser_records(tone(2.0, 48_000))

        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start", **started)
                for at in range(0, len(file), 2000):
                    await stage.send("s", "_INBOX.x", type="chunk", audio=file[at : at + 2000], **told)
                await stage.send("s", type="end")
                await asyncio.sleep(2)
                return stage

        stage = virtually(run())
        refusals = [one.read(messages_pb2.ErrorResponse) for one in stage.wire.on("_INBOX.x")]
        assert len(refusals) == len(range(0, len(file), 2000))
        assert all("WebM (Opus)" in one.message for one in refusals)
        (last,) = stage.transcripts("s")
        assert (last.transcript, last.error_type) == ("", InvalidRequestError.kind)
        assert "WebM (Opus)" in last.error

    @pytest.mark.parametrize("kind", ["MP3", "AAC behind a tag", "AAC", "MP2", "AC-3", "MPEG-TS", "AVI", "Wave64"])
    @pytest.mark.parametrize("size", [100, 3200])
    def test_a_stream_without_a_mark_is_refused_by_name_and_none_of_it_is_heard(self, kind: str, size: int) -> None:
        sound = tone(2.0, 48_000)
        file = {
            "MP3": lambda: encoded(sound, "mp3", "libmp3lame", id3v2_version="0", write_xing="0"),
            "AAC behind a tag": lambda: b"ID3\4\0\0\0\0\1\0" + bytes(128) + encoded(sound, "adts", "aac"),
            "AAC": lambda: encoded(sound, "adts", "aac"),
            "MP2": lambda: encoded(sound, "mp2", "mp2"),
            "AC-3": lambda: encoded(sound, "ac3", "ac3"),
            "MPEG-TS": lambda: encoded(sound, "mpegts", "aac"),
            "AVI": lambda: encoded(sound, "avi", "pcm_s16le"),
            "Wave64": lambda: written(sound, "W64", "PCM_16"),
        }[kind]()
        reader, heard, refusals = SoundReader(), b"", []
        for at in range(0, len(file), size):
            try:
                heard += reader.read(file[at : at + size])
            except InvalidRequestError as error:
                refusals.append(error.message)
        assert not heard + reader.finish()
        assert all(f"this is {kind.split(maxsplit=1)[0]}" in one for one in refusals if "MP3 or AAC" not in one)
        assert len(refusals) > len(file) // size // 2

    @pytest.mark.parametrize("first", [-1, -1025, -3585, 0x4747, 0x770B, 0x4952])
    def test_raw_samples_may_begin_with_any_bytes(self, first: int) -> None:
        pcm = np.concatenate([[first], np.arange(700)]).astype("<i2").tobytes()
        for size in (1, 7, 4096):
            reader = SoundReader()
            heard = b"".join(reader.read(pcm[at : at + size]) for at in range(0, len(pcm), size))
            assert heard + reader.finish() == pcm

    @pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
    def test_nothing_is_lost_at_the_end_of_a_stream_at_another_rate(self, rate: int) -> None:
        reader = SoundReader()
        pcm = reader.read((tone(1.0, rate) * 32_000).astype("<i2").tobytes(), rate=rate)
        assert len(pcm + reader.finish()) == pytest.approx(32_000, abs=4)

    @pytest.mark.parametrize("codec", ["IMA_ADPCM", "MS_ADPCM"])
    def test_a_wav_stream_that_cannot_be_read_piece_by_piece_is_refused_by_name(self, codec: str) -> None:
        file = written(tone(1.0), "WAV", codec)
        reader = SoundReader()
        for at in range(0, len(file), 500):
            with pytest.raises(InvalidRequestError, match="ADPCM"):
                reader.read(file[at : at + 500])
        assert len(reader.read(written(tone(1.0), "WAV", "PCM_16"))) == 32_000

    @staticmethod
    def read(data: bytes, size: int, **told: int) -> bytes:
        reader = SoundReader()
        return b"".join(reader.read(data[at : at + size], **told) for at in range(0, len(data), size))

    @staticmethod
    def heard(data: bytes, size: int) -> list[str]:
        async def run() -> Scene:
            async with scene() as stage:
                await stage.send("s", type="start")
                for at in range(0, len(data), size):
                    await stage.send("s", type="chunk", audio=data[at : at + size])
                await stage.send("s", type="end")
                await asyncio.sleep(2)
                return stage

        return virtually(run()).finals("s")

    @staticmethod
    def levels(data: bytes, **fields: int) -> float:
        reader = SoundReader()
        pcm = reader.read(data, bits=fields["bit_depth"])
        return float(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)).max())


class TestBargeIn:
    def test_speech_while_responding_interrupts_exactly_once(self) -> None:
        stage = converse(starts(), changes_state(0.5, "Responding"), Says(2.0, "stop that right now please"))
        assert len(stage.interrupts("s")) == 1
        assert stage.finals("s") == ["stop that right now please"]

    def test_the_interruption_comes_a_window_after_the_shortest_speech_that_counts(self) -> None:
        stage = converse(starts(), changes_state(0.5, "responding"), Says(2.0, "stop that"))
        onset = 0.3 + 2.0
        (at,) = stage.interrupts("s")
        assert at - onset <= 0.192 + 0.032 + 0.02

    def test_the_state_is_listening_afterwards(self) -> None:
        stage = converse(starts(), changes_state(0.5, "responding"), Says(2.0, "stop that right now"))
        assert {one.state for one in stage.transcripts("s")} == {"listening"}
        assert {one.epoch for one in stage.transcripts("s")} == {1}

    def test_a_cough_interrupts_nothing_and_is_not_transcribed(self) -> None:
        stage = converse(starts(), changes_state(0.5, "responding"), Noise(2.0, 0.15), ends(5.0))
        assert stage.interrupts("s") == []

    def test_every_response_can_be_interrupted(self) -> None:
        stage = converse(
            starts(),
            changes_state(0.5, "responding"),
            Says(1.0, "wait a moment"),
            changes_state(4.0, "responding"),
            Says(5.0, "wait once more"),
        )
        assert len(stage.interrupts("s")) == 2

    def test_what_is_being_said_stops_and_nothing_of_it_comes_after_the_interruption(self) -> None:
        speech = SlowSpeech(word_s=0.3)

        async def run() -> tuple[Scene, str]:
            async with scene() as stage:
                script = Script([starts(), changes_state(0.4, "responding"), Says(2.0, "stop that"), ends(6.0)])
                playing = asyncio.create_task(play(script, stage.wire, "s", square_voice))
                await asyncio.sleep(0.5)
                outcome = await stage.say("s", "one two three four five six seven eight nine ten", speech)
                await playing
                await asyncio.sleep(2)
                return stage, outcome.error_kind

        stage, outcome = virtually(run())
        (interrupted_at,) = stage.interrupts("s")
        chunks = stage.wire.on("ai.voice.tts.audio.s")
        last = chunks[-1].read(messages_pb2.TTSAudioChunk)
        statuses = [sent.read(messages_pb2.TTSStatus) for sent in stage.wire.on("ai.voice.tts.status.s")]
        assert outcome == "cancelled"
        assert len(speech.said) < 10
        assert speech.closed_at[0] - interrupted_at < 0.001
        assert (last.is_last, last.total_chunks) == (True, len(chunks))
        assert (statuses[-1].status, statuses[-1].message) == ("error", "the listener interrupted it")
        order = [sent.subject for sent in stage.wire.sent]
        told = next(
            at
            for at, sent in enumerate(stage.wire.sent)
            if sent.subject == "ai.voice.transcription.s" and sent.read(messages_pb2.STTInterrupt).type == "interrupt"
        )
        assert not [subject for subject in order[told:] if subject.startswith("ai.voice.tts")]

    def test_the_next_answer_is_of_the_next_epoch(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                script = Script([starts(), changes_state(0.4, "responding"), Says(1.0, "stop that")], seconds=5)
                await play(script, stage.wire, "s", square_voice)
                await stage.say("s", "well then", SlowSpeech())
                return stage

        chunks = virtually(run()).wire.on("ai.voice.tts.audio.s")
        assert {chunk.read(messages_pb2.TTSAudioChunk).epoch for chunk in chunks} == {1}

    def test_the_echo_of_what_is_being_said_does_not_interrupt_it(self) -> None:
        async def run(ratio: float) -> list[float]:
            loud = SlowSpeech(word_s=0.01, level=32_000)
            async with scene(barge_in={"echo_ratio": ratio}) as stage:
                script = Script([starts(), changes_state(0.2, "responding"), Says(1.0, "an echo of it")], seconds=4)
                playing = asyncio.create_task(play(script, stage.wire, "s", square_voice))
                await asyncio.sleep(0.3)
                await stage.say("s", "a very long answer that goes on and on", loud)
                await playing
                return stage.interrupts("s")

        assert virtually(run(0.5)) == []
        assert len(virtually(run(0.1))) == 1


class TestReplicas:
    def test_a_session_belongs_to_exactly_one(self) -> None:
        async def run() -> tuple[list[int], list[list[str]]]:
            wire = Wire()
            async with scene(wire=wire, replica="a") as one, scene(wire=wire, replica="b") as two:
                async with asyncio.TaskGroup() as group:
                    for number in range(20):
                        script = Script([starts(), Says(0.3, f"session w{number}")], seconds=3)
                        group.create_task(play(script, wire, f"s{number}", square_voice))
                counts = [one.ingress.session_count, two.ingress.session_count]
                return counts, [one.finals(f"s{number}") for number in range(20)]

        counts, finals = virtually(run())
        assert sum(counts) == 20
        assert min(counts) > 3
        assert finals == [[f"session w{number}"] for number in range(20)]

    def test_a_replica_that_joins_takes_no_session_that_is_open(self) -> None:
        async def run() -> tuple[int, int]:
            wire = Wire()
            async with scene(wire=wire, replica="a") as one:
                for number in range(20):
                    await one.send(f"s{number}", type="start")
                async with scene(wire=wire, replica="b") as two:
                    for number in range(20):
                        await one.send(f"s{number}", type="chunk", audio=bytes(6400))
                    await asyncio.sleep(2)
                    return one.ingress.session_count, two.ingress.session_count

        assert virtually(run()) == (20, 0)

    def test_a_replica_that_leaves_hands_its_sessions_over(self) -> None:
        async def run() -> list[messages_pb2.STTTranscription]:
            wire = Wire()
            async with scene(wire=wire, replica="a") as one:
                await one.send("s", type="start", speaker_id="ada")
                await one.send("s", type="chunk", audio=square_voice("good morning") + bytes(64_000))
                await asyncio.sleep(2)
                async with scene(wire=wire, replica="b") as two:
                    one.ingress.stop()
                    await asyncio.sleep(1)
                    await two.send("s", type="chunk", audio=square_voice("good night") + bytes(64_000))
                    await asyncio.sleep(2)
                    return two.transcripts("s")

        finals = [one for one in virtually(run()) if one.is_final]
        assert [one.transcript for one in finals] == ["good morning", "good night"]
        assert finals[1].sequence > finals[0].sequence
        assert finals[1].speaker_id == "ada"

    def test_an_interruption_stops_what_another_replica_says(self) -> None:
        async def run() -> tuple[Scene, SlowSpeech, str]:
            wire = Wire()
            async with scene(wire=wire, replica="a") as one, scene(wire=wire, replica="b") as two:
                script = Script([starts(), changes_state(0.2, "responding"), Says(1.0, "stop that")], seconds=4)
                playing = asyncio.create_task(play(script, wire, "s", square_voice))
                await asyncio.sleep(0.3)
                elsewhere = two if one.ingress.session_count else one
                speech = SlowSpeech(word_s=0.3)
                outcome = await elsewhere.say("s", "one two three four five six seven eight", speech)
                await playing
                await asyncio.sleep(2)
                await elsewhere.say("s", "well then", SlowSpeech())
                return one, speech, outcome.error_kind

        stage, speech, outcome = virtually(run())
        (interrupted_at,) = stage.interrupts("s")
        assert outcome == "cancelled"
        assert speech.closed_at[0] <= interrupted_at
        chunks = stage.wire.on("ai.voice.tts.audio.s")
        epochs = [(chunk.at_s > interrupted_at, chunk.read(messages_pb2.TTSAudioChunk).epoch) for chunk in chunks]
        assert set(epochs) == {(False, 0), (True, 1)}


def test_a_hundred_conversations_take_no_time() -> None:
    async def run() -> int:
        finals = 0
        for number in range(100):
            async with scene() as stage:
                script = Script(
                    [
                        starts(),
                        Says(0.5, f"question w{number}"),
                        changes_state(2.5, "responding"),
                        Says(4.0, "no stop"),
                    ],
                    seconds=7,
                    chunk_s=0.1,
                )
                await play(script, stage.wire, "s", square_voice)
                finals += len(stage.finals("s"))
        return finals

    assert virtually(run()) == 200
