"""Several replicas that share the live sessions, from their clients' point of view, on a virtual clock."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import pytest

from bridges.generated.hearth.v1 import audio_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.live.ingress import AudioIngress
from bridges.nats.connection import Unwanted
from bridges.sessions.epochs import SessionWork
from bridges.subjects import AUDIO_INTERRUPT, AUDIO_REPLICAS
from deployments.settings.audio import AudioSettings
from tests.conversation.scene import (
    Counted,
    LoudnessActivity,
    ReadingTranscription,
    Scene,
    ScriptedVoice,
    SlowSpeech,
    Subscription,
    TimedActivity,
    Wire,
    scene,
    square_voice,
)
from tests.conversation.script import Says, Script, changes_state, play, starts
from tests.conversation.virtual_clock import run_virtually

PROMPT = "x" * 8000
SILENCE = bytes(6400)
SESSIONS = [f"s{number}" for number in range(20)]


async def start(wire: Wire, session_id: str, **conversation: Any) -> None:
    message = messages_pb2.STTStreamMessage(type="start", user_id="ada", conversation=conversation)
    await wire.publish(f"ai.voice.stream.{session_id}", message.SerializeToString())


async def speak_silence(wire: Wire, seconds: float) -> None:
    """Keep the sessions open, as clients with an open microphone do."""
    for _ in range(round(seconds / 0.5)):
        for session_id in SESSIONS:
            chunk = messages_pb2.STTStreamMessage(type="chunk", audio=SILENCE)
            await wire.publish(f"ai.voice.stream.{session_id}", chunk.SerializeToString())
        await asyncio.sleep(0.5)


@asynccontextmanager
async def two_replicas(wire: Wire) -> AsyncGenerator[tuple[Scene, Scene]]:
    async with AsyncExitStack() as leaving:
        one = await leaving.enter_async_context(scene(wire=wire, replica="a", voice=ScriptedVoice()))
        two = await leaving.enter_async_context(scene(wire=wire, replica="b", voice=ScriptedVoice()))
        yield one, two


class TestWhatIsTold:
    def test_sessions_with_long_prompts_stay_where_they_are(self) -> None:
        async def run() -> tuple[int, int, int]:
            wire = Wire(max_payload=32_768)
            async with two_replicas(wire) as (one, two):
                for session_id in SESSIONS:
                    await start(wire, session_id, system_prompt=PROMPT)
                before = one.ingress.session_count, two.ingress.session_count
                await speak_silence(wire, 8)
                after = one.ingress.session_count, two.ingress.session_count
                largest = max(len(sent.data) for sent in wire.on(AUDIO_REPLICAS.pattern))
                return sum(before), sum(after), largest

        before, after, largest = run_virtually(run())
        assert (before, after) == (20, 20)
        assert largest <= 32_768

    def test_a_new_replica_is_told_all_sessions_in_pieces_and_takes_none(self) -> None:
        async def run() -> tuple[int, int]:
            wire = Wire(max_payload=32_768)
            async with scene(wire=wire, replica="a", voice=ScriptedVoice()) as one:
                for session_id in SESSIONS:
                    await start(wire, session_id, system_prompt=PROMPT)
                await speak_silence(wire, 2)
                async with scene(wire=wire, replica="b", voice=ScriptedVoice()) as two:
                    await speak_silence(wire, 8)
                    return one.ingress.session_count, two.ingress.session_count

        assert run_virtually(run()) == (20, 0)

    def test_while_nothing_changes_hardly_anything_is_told(self) -> None:
        async def run() -> float:
            wire = Wire()
            async with two_replicas(wire):
                for session_id in SESSIONS:
                    await start(wire, session_id, system_prompt=PROMPT)
                await asyncio.sleep(2)
                told = len(wire.on(AUDIO_REPLICAS.pattern))
                await asyncio.sleep(10)
                return sum(len(sent.data) for sent in wire.on(AUDIO_REPLICAS.pattern)[told:]) / 10

        assert run_virtually(run()) < 100

    @pytest.mark.parametrize("seed", range(5))
    def test_a_replica_that_lost_messages_goes_on_with_every_session_where_it_was(self, seed: int) -> None:
        random = Random(seed)

        async def run() -> list[messages_pb2.STTTranscription]:
            wire = Wire(is_lost=lambda subject, payload: subject == AUDIO_REPLICAS.pattern and random.random() < 0.3)
            async with scene(wire=wire, replica="b", voice=ScriptedVoice()) as two:
                async with scene(wire=wire, replica="a", voice=ScriptedVoice()) as one:
                    for _ in range(4):
                        for session_id in SESSIONS:
                            await one.send(session_id, type="chunk", audio=square_voice("good morning") + bytes(64_000))
                        await asyncio.sleep(2)
                    wire.is_lost = lambda subject, payload: False
                    await asyncio.sleep(3)
                assert two.ingress.session_count < 20
                for session_id in SESSIONS:
                    await two.send(session_id, type="chunk", audio=square_voice("good night") + bytes(64_000))
                await asyncio.sleep(2)
                assert two.ingress.session_count == 20
                return [one for name in SESSIONS for one in two.transcripts(name) if one.transcript == "good night"]

        assert {final.sequence >= 4 for final in run_virtually(run()) if final.is_final} == {True}

    def test_while_the_server_is_away_no_replica_takes_a_session_of_another(self) -> None:
        async def run() -> tuple[int, int]:
            wire = Wire()
            async with two_replicas(wire) as (one, two):
                for session_id in SESSIONS:
                    await start(wire, session_id)
                await speak_silence(wire, 2)
                wire.is_lost = lambda subject, payload: True
                await asyncio.sleep(10)
                wire.is_lost = lambda subject, payload: False
                await speak_silence(wire, 0.5)
                return one.ingress.session_count + two.ingress.session_count, two.ingress.session_count

        both, second = run_virtually(run())
        assert both == 20
        assert 0 < second < 20

    def test_a_replica_that_is_not_heard_any_more_is_succeeded(self) -> None:
        def of_the_first(subject: str, payload: bytes) -> bool:
            return subject == AUDIO_REPLICAS.pattern and audio_pb2.AudioReplica.FromString(payload).replica == "a"

        async def run() -> tuple[int, int]:
            wire = Wire()
            async with two_replicas(wire) as (_, two):
                for session_id in SESSIONS:
                    await start(wire, session_id)
                await asyncio.sleep(1)
                before = two.ingress.session_count
                wire.is_lost = of_the_first
                await asyncio.sleep(5)
                for session_id in SESSIONS:
                    await two.send(session_id, type="chunk", audio=SILENCE)
                return before, two.ingress.session_count

        before, after = run_virtually(run())
        assert 0 < before < 20
        assert after == 20

    def test_a_message_that_is_none_of_a_replica_changes_nothing(self) -> None:
        async def run() -> Scene:
            wire = Wire()
            async with two_replicas(wire) as (one, two):
                broken = audio_pb2.AudioReplica(replica="b", version=1, changed=[{"state": "dancing", "terms": {}}])
                for payload in (b"\xff\xff\xff", broken.SerializeToString()):
                    await wire.publish(AUDIO_REPLICAS.pattern, payload)
                await wire.publish(AUDIO_INTERRUPT.pattern, b"\xff\xff\xff", "_INBOX.x")
                holder = await holder_of("s", one, two)
                await play(Script([Says(0.3, "good morning")]), wire, "s", square_voice)
                return holder

        assert run_virtually(run()).finals("s") == ["good morning"]


async def holder_of(session_id: str, one: Scene, two: Scene) -> Scene:
    """Start a session, and return the replica that listens to it."""
    before = one.ingress.session_count
    await one.send(session_id, type="start")
    return one if one.ingress.session_count > before else two


async def be_silent(wire: Wire) -> None:
    """Be a replica that is there, and never answers."""
    await wire.publish(AUDIO_REPLICAS.pattern, audio_pb2.AudioReplica(replica="silent").SerializeToString())


async def open_session(stage: Scene) -> str:
    """Start a session that is this replica's and not the silent one's, and return its id."""
    before = stage.ingress.session_count
    for number in range(100):
        name = f"session-{before}-{number}"
        await stage.send(name, type="start")
        if stage.ingress.session_count > before:
            return name
    raise AssertionError("the silent replica has more right to all of them")


class TestDraining:
    def test_a_drained_replica_hands_its_sessions_over_and_takes_none_again(self) -> None:
        async def run() -> tuple[int, dict[str, int], dict[str, int], list[int]]:
            wire = Wire()
            async with two_replicas(wire) as (one, two):
                for session_id in SESSIONS:
                    await start(wire, session_id)
                await speak_silence(wire, 2)
                before, held = one.ingress.session_count, one.ingress.held()
                await one.ingress.drain()
                drained = one.ingress.held()
                # Long after a replica that falls silent would have been taken for lost.
                await speak_silence(wire, 8)
                await one.ingress.drain()
                return before, held, drained, [one.ingress.session_count, two.ingress.session_count]

        before, held, drained, after = run_virtually(run())
        assert before
        assert (held, drained) == ({"ai.voice.stream.{session_id}": before}, {})
        assert after == [0, 20]

    def test_what_is_being_said_is_transcribed_before_the_drain_is_over(self) -> None:
        async def run() -> list[str]:
            async with scene() as one:
                await one.send("s", type="chunk", audio=square_voice("good morning"))
                await asyncio.sleep(1)
                await one.ingress.drain()
                return one.finals("s")

        assert run_virtually(run()) == ["good morning"]

    def test_one_that_is_drained_while_it_joins_takes_no_session_and_leaves_none_alone(self) -> None:
        async def run() -> tuple[int, int]:
            wire = Wire()
            async with scene(wire=wire, replica="a", voice=ScriptedVoice()) as one:
                joins = AudioIngress(
                    AudioSettings(), ReadingTranscription(), LoudnessActivity(), SessionWork(), Counted(), replica="b"
                )
                running = asyncio.create_task(joins.run())
                connecting = asyncio.create_task(joins.connect(wire))
                await asyncio.sleep(0.1)
                await joins.drain()
                await connecting
                for session_id in SESSIONS:
                    await start(wire, session_id)
                await speak_silence(wire, 2)
                counts = one.ingress.session_count, joins.session_count
                joins.stop()
                await running
                return counts

        assert run_virtually(run()) == (20, 0)


class TestWhatMayBeAskedFor:
    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            (
                {"conversation": {"system_prompt": "ü" * 8193}},
                "conversation.system_prompt takes 16386 bytes: at most 16384",
            ),
            ({"conversation": {"collection": "c" * 257}}, "conversation.collection takes 257 bytes: at most 256"),
            ({"conversation": {"voice": "v" * 257}}, "conversation.voice takes 257 bytes: at most 256"),
            ({"user_id": "u" * 257}, "user_id takes 257 bytes: at most 256"),
            ({"speaker_id": "s" * 257}, "speaker_id takes 257 bytes: at most 256"),
            ({"language": "e" * 65}, "language takes 65 bytes: at most 64"),
        ],
    )
    def test_a_text_that_is_too_long_is_refused_by_name(self, fields: dict[str, Any], error: str) -> None:
        async def run() -> tuple[messages_pb2.ErrorResponse, int]:
            async with scene(voice=ScriptedVoice()) as stage:
                await stage.send("s", reply="_INBOX.x", type="start", **fields)
                return stage.wire.on("_INBOX.x")[0].read(messages_pb2.ErrorResponse), stage.ingress.session_count

        refused, sessions = run_virtually(run())
        assert (refused.type, sessions) == ("invalid_request", 0)
        assert error in refused.message

    def test_an_id_of_a_session_that_is_too_long_is_refused(self) -> None:
        async def run() -> messages_pb2.ErrorResponse:
            async with scene() as stage:
                await stage.send("s" * 257, reply="_INBOX.x", type="start")
                return stage.wire.on("_INBOX.x")[0].read(messages_pb2.ErrorResponse)

        assert "session_id takes 257 bytes" in run_virtually(run()).message

    def test_what_is_just_short_enough_is_taken(self) -> None:
        async def run() -> int:
            async with scene(voice=ScriptedVoice()) as stage:
                await stage.send(
                    "s" * 256, type="start", user_id="u" * 256, conversation={"system_prompt": "p" * 16_384}
                )
                return stage.ingress.session_count

        assert run_virtually(run()) == 1


class TestInterruptions:
    def test_telling_other_replicas_holds_up_no_other_session(self) -> None:
        activity = TimedActivity()

        async def run() -> Scene:
            async with scene(activity=activity) as stage:
                await be_silent(stage.wire)
                names.extend([await open_session(stage), await open_session(stage)])
                steps = [changes_state(0.2, "responding"), Says(1.0, "stop that")]
                async with asyncio.TaskGroup() as group:
                    group.create_task(play(Script(steps, seconds=2.4), stage.wire, names[0], square_voice))
                    group.create_task(
                        play(
                            Script([Says(3.0, "late")], seconds=2.4, chunk_s=0.032), stage.wire, names[1], square_voice
                        )
                    )
                return stage

        names: list[str] = []
        stage = run_virtually(run())
        (told_at,) = stage.interrupts(names[0])
        chunk_times = [0.3 + 0.032 * number for number in range(1, 75)]
        heard_at = activity.heard_at[id(activity.streams[1])]
        late = [heard - sent for heard, sent in zip(heard_at, chunk_times, strict=False)]
        assert told_at > 1.5
        assert max(late) < 0.02

    def test_a_session_hears_of_its_interruption_before_anything_that_it_says_later(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await be_silent(stage.wire)
                name = await open_session(stage)
                names.append(name)
                await stage.send(name, type="state_change", state="responding")
                await stage.send(name, type="chunk", audio=square_voice("stop that right now please") + bytes(64_000))
                await asyncio.sleep(3)
                return stage

        names: list[str] = []
        stage = run_virtually(run())
        sent = stage.wire.on(f"ai.voice.transcription.{names[0]}")
        assert sent[0].read(messages_pb2.STTInterrupt).type == "interrupt"
        assert stage.finals(names[0]) == ["stop that right now please"]

    def test_an_interruption_is_told_although_the_other_replicas_cannot_be(self) -> None:
        async def run() -> Scene:
            async with scene() as stage:
                await be_silent(stage.wire)
                stage.wire.fails(AUDIO_INTERRUPT.pattern, times=1)
                name = await open_session(stage)
                names.append(name)
                await stage.send(name, type="state_change", state="responding")
                await stage.send(name, type="chunk", audio=square_voice("stop that right now please") + bytes(64_000))
                await asyncio.sleep(3)
                return stage

        names: list[str] = []
        stage = run_virtually(run())
        assert len(stage.interrupts(names[0])) == 1
        assert stage.finals(names[0]) == ["stop that right now please"]

    def test_an_interruption_that_a_replica_told_of_right_before_it_died_is_not_forgotten(self) -> None:
        async def run() -> Scene:
            async with scene(replica="b") as two:
                session = audio_pb2.AudioSession(session_id="s", state="listening", terms={})
                told = audio_pb2.AudioReplica(replica="a", version=1, changed=[session])
                await two.wire.publish(AUDIO_REPLICAS.pattern, told.SerializeToString())
                interruption = audio_pb2.AudioInterruption(session_id="s", replica="a", epoch=3)
                await two.wire.publish(AUDIO_INTERRUPT.pattern, interruption.SerializeToString(), "_INBOX.x")
                await asyncio.sleep(5)
                await two.send("s", type="chunk", audio=square_voice("good night") + bytes(64_000))
                await asyncio.sleep(3)
                return two

        assert {one.epoch for one in run_virtually(run()).transcripts("s")} == {3}

    @pytest.mark.parametrize(
        ("reply", "answers"),
        [
            *(("_INBOX_HEARTH.x.1", 1), ("_INBOX.x", 1)),
            *(("ai.chat.request", 0), ("$JS.API.STREAM.DELETE.X", 0), ("_INBOX_HEARTH.*", 0), ("", 0)),
        ],
    )
    def test_who_told_of_an_interruption_is_answered_in_an_inbox_alone(self, reply: str, answers: int) -> None:
        async def run() -> Scene:
            async with scene(replica="b") as two:
                interruption = audio_pb2.AudioInterruption(session_id="s", replica="a", epoch=3)
                await two.wire.publish(AUDIO_INTERRUPT.pattern, interruption.SerializeToString(), reply)
                await asyncio.sleep(1)
                return two

        assert len(run_virtually(run()).wire.on(reply)) == answers

    def test_an_epoch_goes_on_at_the_replica_that_takes_a_session_over(self) -> None:
        async def run() -> list[int]:
            wire = Wire()
            async with scene(wire=wire, replica="a") as one:
                script = Script([starts(), changes_state(0.2, "responding"), Says(1.0, "stop that")], seconds=4)
                await play(script, wire, "s", square_voice)
                async with scene(wire=wire, replica="b") as two:
                    one.ingress.stop()
                    await asyncio.sleep(1)
                    await play(Script([Says(0.3, "good night")]), wire, "s", square_voice)
                    await two.say("s", "well then", SlowSpeech())
                    chunks = wire.on("ai.voice.tts.audio.s")
                    epochs = {chunk.read(messages_pb2.TTSAudioChunk).epoch for chunk in chunks}
                    return [*epochs, *(one.epoch for one in two.transcripts("s") if one.transcript == "good night")]

        assert set(run_virtually(run())) == {1}


class LateConnection:
    """A connection to the wire whose commands are read a while after they were given, in order.

    Args:
        wire: Where it leads.
        delay_s: After which each command is read.
    """

    def __init__(self, wire: Wire, delay_s: float) -> None:
        self._wire = wire
        self._delay_s = delay_s
        self._commands: asyncio.Queue[tuple[float, Callable[[], Awaitable[Any]]]] = asyncio.Queue()

    @property
    def max_payload(self) -> int:
        return self._wire.max_payload

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self._give(lambda: self._wire.publish(subject, payload, reply, headers))

    async def subscribe(
        self, subject: str, *, cb: Callable[[Any], Awaitable[None]], unless: Unwanted | None = None
    ) -> Subscription:
        subscription = Subscription(self._wire, subject, cb, unless)

        async def begin() -> None:
            self._wire.subscriptions.append(subscription)

        self._give(begin)
        return subscription

    def new_inbox(self) -> str:
        return self._wire.new_inbox()

    async def flush(self) -> None:
        read = asyncio.Event()

        async def answer() -> None:
            read.set()

        self._give(answer)
        await read.wait()

    async def run(self) -> None:
        """Read the commands, until cancelled."""
        while True:
            due, read = await self._commands.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await read()

    def _give(self, command: Callable[[], Awaitable[Any]]) -> None:
        self._commands.put_nowait((asyncio.get_running_loop().time() + self._delay_s, command))


@asynccontextmanager
async def late(wire: Wire, delay_s: float) -> AsyncGenerator[LateConnection]:
    connection = LateConnection(wire, delay_s)
    reading = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def entered(leaving: AsyncExitStack, *replicas: AbstractAsyncContextManager[Scene]) -> list[Scene]:
    """Run replicas that join at the same time."""
    return await asyncio.gather(*(leaving.enter_async_context(replica) for replica in replicas))


class TestJoining:
    def test_a_replica_that_has_joined_misses_nothing_that_is_sent_from_then_on(self) -> None:
        async def run() -> int:
            wire = Wire()
            async with (
                late(wire, 1.0) as connection,
                scene(wire=wire, connection=connection, voice=ScriptedVoice()) as one,
            ):
                for session_id in SESSIONS:
                    await start(wire, session_id)
                return one.ingress.session_count

        assert run_virtually(run()) == 20

    @pytest.mark.parametrize("sent_at_s", [0.1, 0.299, 0.3, 0.301, 0.5])
    def test_a_session_that_begins_while_a_replica_joins_is_opened_by_one_of_both(self, sent_at_s: float) -> None:
        async def run() -> tuple[int, int, list[str]]:
            wire = Wire()
            async with AsyncExitStack() as leaving:
                one = await leaving.enter_async_context(scene(wire=wire, replica="a", voice=ScriptedVoice()))
                joining = asyncio.create_task(entered(leaving, scene(wire=wire, replica="b", voice=ScriptedVoice())))
                await asyncio.sleep(sent_at_s)
                for session_id in SESSIONS:
                    await one.send(session_id, type="start", speaker_id="ada")
                    await one.send(session_id, type="chunk", audio=square_voice("good morning") + bytes(64_000))
                (two,) = await joining
                await asyncio.sleep(2)
                speakers = [
                    transcript.speaker_id
                    for session_id in SESSIONS
                    for transcript in one.transcripts(session_id)
                    if transcript.is_final and transcript.transcript == "good morning"
                ]
                return one.ingress.session_count, two.ingress.session_count, speakers

        first, second, speakers = run_virtually(run())
        assert first + second == 20
        assert second > 0
        assert speakers == ["ada"] * 20

    def test_a_session_that_ends_while_a_replica_joins_is_not_heard_there_again(self) -> None:
        async def run() -> list[int]:
            wire = Wire()
            async with scene(wire=wire, replica="a") as one, AsyncExitStack() as leaving:
                for session_id in SESSIONS:
                    await one.send(session_id, type="start")
                joining = asyncio.create_task(entered(leaving, scene(wire=wire, replica="b")))
                await asyncio.sleep(0.1)
                # The new one waits for it, and learns meanwhile that the sessions have ended.
                await be_silent(wire)
                for session_id in SESSIONS:
                    await one.send(session_id, type="chunk", audio=SILENCE)
                    await one.send(session_id, type="end")
                await joining
                await asyncio.sleep(1)
                return [len(one.finals(session_id)) for session_id in SESSIONS]

        assert run_virtually(run()) == [1] * 20

    def test_replicas_that_join_at_the_same_time_do_not_wait_for_each_other(self) -> None:
        async def run() -> float:
            wire = Wire()
            async with AsyncExitStack() as leaving:
                await entered(leaving, *(scene(wire=wire, replica=name) for name in ("a", "b", "c")))
                return asyncio.get_running_loop().time()

        assert run_virtually(run()) < 0.5
