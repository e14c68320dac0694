"""The client's side of a conversation: recordings as a microphone, playing by the clock, the waterfall."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from click.testing import CliRunner

from bridges.command_line.commands import voice_commands
from bridges.command_line.console import as_json
from bridges.command_line.main import cli
from bridges.command_line.sound import playing, sound_device, talking
from bridges.command_line.sound.playing import Player
from bridges.command_line.sound.talk_printer import TalkPrinter
from bridges.command_line.sound.talking import CHUNK_S, Cues, recordings
from bridges.command_line.sound.transcribe_client import open_source
from bridges.command_line.sound.waterfall import last_turns, show_turn
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.sessions.turn_log import record_as_dict
from deployments.errors import DeadlineExceededError, NotFoundError, UnavailableError, UpstreamFailedError
from deployments.values.sound import samples_of
from tests.sound_files import as_a_browser_records, tone, written

RATE = 8000
CHUNK_BYTES = int(RATE * CHUNK_S) * 2


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(playing, "time", made)
    return made


class TestPlayer:
    def test_what_was_heard_is_known_by_the_clock(self, clock: Clock) -> None:
        player = Player()
        player.play(bytes(2 * RATE), RATE)
        clock.now += 0.25
        assert (player.played_s, player.is_playing) == (0.25, True)
        assert len(player.stop()) == RATE // 4 * 2
        assert (player.played_s, player.is_playing) == (0.0, False)

    def test_what_comes_late_is_played_late(self, clock: Clock) -> None:
        player = Player()
        player.play(bytes(2 * RATE), RATE)
        clock.now += 5
        assert (player.played_s, player.is_playing) == (1.0, False)
        player.play(bytes(2 * RATE), RATE)
        clock.now += 0.5
        assert player.played_s == 1.5

    def test_a_loudspeaker_is_given_the_sound_and_told_to_stop(self, clock: Clock) -> None:
        class Speaker:
            latency_s = 0.1
            given = b""

            def write(self, pcm: bytes) -> None:
                self.given += pcm

            def clear(self) -> None:
                self.given = b""

        speaker = Speaker()
        player = Player(speaker)
        player.play(bytes(2 * RATE), RATE)
        clock.now += 0.3
        assert player.played_s == pytest.approx(0.2)
        assert len(speaker.given) == 2 * RATE
        player.stop()
        assert speaker.given == b""


class TestRecordings:
    async def spoken(self, cues: Cues, count: int, **options: float) -> list[bytes]:
        """Return the first pieces of two recordings, at no pace."""
        microphone = recordings([b"\1" * CHUNK_BYTES, b"\2" * CHUNK_BYTES], RATE, **options)
        pieces: list[bytes] = []
        async with aclosing(microphone.pieces(cues)) as spoken:
            async for piece in spoken:
                pieces.append(piece[:1])
                if len(pieces) == count:
                    break
        return pieces

    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the pace away from these recordings, and from nothing else that runs in this process."""

        def unpaced(pieces: AsyncGenerator[bytes], seconds: float) -> AsyncGenerator[bytes]:
            del seconds
            return pieces

        monkeypatch.setattr(talking, "_paced", unpaced)

    async def test_the_next_one_waits_for_the_answer(self) -> None:
        cues = Cues()
        assert await self.spoken(cues, 5) == [b"\1", *[b"\0"] * 4]

    async def test_or_is_spoken_into_it(self) -> None:
        cues = Cues()
        microphone = recordings([b"\1" * CHUNK_BYTES, b"\2" * CHUNK_BYTES], RATE, barge_in_s=2 * CHUNK_S)
        heard: list[bytes] = []
        async with aclosing(microphone.pieces(cues)) as spoken:
            async for piece in spoken:
                heard.append(piece[:1])
                cues.answer_begins.set()
                if len(heard) == 5:
                    break
        assert heard == [b"\1", b"\0", b"\0", b"\2", b"\0"]

    async def test_an_answer_that_never_comes_is_an_error(self) -> None:
        with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.2 s"):
            await self.spoken(Cues(), 100, timeout_s=0.2)


def record() -> conversation_pb2.TurnRecord:
    stages = [("question", -1800, 0, ""), ("find", -700, -600, "5 words"), ("first audio", 800, 800, "")]
    return conversation_pb2.TurnRecord(
        session_id="s",
        turn=2,
        outcome="interrupted",
        question="Why?",
        answer="Because of it.",
        heard="Because",
        stages=[
            conversation_pb2.TurnStage(name=name, start_ms=start, end_ms=end, detail=detail)
            for name, start, end, detail in stages
        ],
        decisions={"preparation": "kept"},
    )


class TestWaterfall:
    def test_every_stage_is_a_bar_with_its_times(self, capsys: pytest.CaptureFixture[str]) -> None:
        show_turn(record())
        lines = capsys.readouterr().out.splitlines()
        assert "Turn 2 of s: interrupted" in lines[0]
        assert [line.split()[0] for line in lines[4:7]] == ["question", "find", "first"]
        assert "-1800 to +0 ms" in lines[4]
        assert "+800 ms" in lines[6]
        assert "preparation kept" in lines[7]

    @pytest.mark.parametrize("columns", ["40", "60", "80", "200"])
    def test_it_fits_the_terminal(
        self, columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        show_turn(record())
        printed = capsys.readouterr().out
        assert max(len(line) for line in printed.splitlines()) <= int(columns)
        for stage in record().stages:
            assert stage.name in printed
            assert f"{stage.start_ms:+d}" in printed
            assert stage.detail in printed

    def test_the_last_turns_are_read_from_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "turns.jsonl"
        file.write_text(
            "".join(f"{as_json(record_as_dict(conversation_pb2.TurnRecord(turn=at)))}\n" for at in range(5))
        )
        assert [turn.turn for turn in last_turns(file, 2)] == [3, 4]
        result = CliRunner().invoke(cli, ["turn", "--file", str(file), "--json"])
        assert json.loads(result.output)["turn"] == 4

    def test_no_turn_is_told_with_what_makes_one(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="hearth talk"):
            last_turns(tmp_path / "none.jsonl", 1)

    def test_a_file_of_something_else_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "other").write_text("no record\n")
        with pytest.raises(UpstreamFailedError, match="not a turn's record"):
            last_turns(tmp_path / "other", 1)


class TestPrinter:
    def test_a_conversation_is_printed_as_it_goes_on(self, capsys: pytest.CaptureFixture[str]) -> None:
        with TalkPrinter(as_json=False) as printer:
            printer.transcribed(messages_pb2.STTTranscription(transcript="Why", is_partial=True))
            printer.transcribed(messages_pb2.STTTranscription(transcript="Why?", is_final=True))
            for content in ("Because", " of"):
                printer.wrote(messages_pb2.ChatStreamChunk(content=content, turn=1))
            printer.wrote(messages_pb2.ChatStreamChunk(done=True, turn=1))
            printer.interrupted(0.5)
            printer.turn_over(record())
        printed = capsys.readouterr().out
        assert [line.strip() for line in printed.splitlines()] == [
            "You     Why?",
            "Hearth  Because of",
            "■ interrupted after 0.5 s",
            "heard   Because",
        ]

    def test_as_json_every_event_is_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with TalkPrinter(as_json=True) as printer:
            printer.transcribed(messages_pb2.STTTranscription(transcript="Why?", is_final=True))
            printer.wrote(messages_pb2.ChatStreamChunk(content="Because", turn=1))
            printer.interrupted(0.5)
            printer.turn_over(record())
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [event["event"] for event in events] == ["transcript", "interrupted", "turn"]


class FakeStream:
    """A stream of a sound device that a test moves on by hand."""

    latency = 0.1

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...


class FakeDevice:
    """Stands for sounddevice, which needs a sound card."""

    def __init__(self, error: Exception | None = None) -> None:
        self.streams: list[FakeStream] = []
        self._error = error

    def _open(self, **options: Any) -> FakeStream:
        if self._error:
            raise self._error
        self.streams.append(FakeStream(**options))
        return self.streams[-1]

    RawInputStream = RawOutputStream = _open


class TestSoundDevice:
    @pytest.fixture
    def device(self, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
        made = FakeDevice()
        monkeypatch.setattr(sound_device, "_sounddevice", lambda: made)
        return made

    def test_the_speaker_plays_what_it_is_given_and_silence_behind_it(self, device: FakeDevice) -> None:
        with sound_device.speaker(RATE) as speaker:
            assert speaker.latency_s == 0.1
            speaker.write(b"\1\1\2\2")
            wanted = bytearray(6)
            device.streams[0].options["callback"](wanted, 3, None, None)
            assert bytes(wanted) == b"\1\1\2\2\0\0"

    def test_what_was_not_played_can_be_taken_back(self, device: FakeDevice) -> None:
        with sound_device.speaker(RATE) as speaker:
            speaker.write(b"\1" * 100)
            speaker.clear()
            wanted = bytearray(4)
            device.streams[0].options["callback"](wanted, 2, None, None)
            assert bytes(wanted) == bytes(4)

    async def test_the_microphone_gives_what_it_hears(self, device: FakeDevice) -> None:
        with sound_device.microphone(RATE, CHUNK_S) as heard:
            options = device.streams[0].options
            assert options["blocksize"] == int(RATE * CHUNK_S)
            options["callback"](b"\1\2", 1, None, None)
            assert await anext(heard) == b"\1\2"

    async def test_a_device_that_cannot_be_opened_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = FakeDevice(RuntimeError("device busy"))
        monkeypatch.setattr(sound_device, "_sounddevice", lambda: broken)
        for opened in (sound_device.speaker(RATE), sound_device.microphone(RATE, CHUNK_S)):
            with pytest.raises(UnavailableError, match="device busy"), opened:
                pass


def test_without_sound_devices_talk_asks_for_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_commands, "has_microphone", lambda: False)
    result = CliRunner().invoke(cli, ["talk"])
    assert result.exit_code == 1
    assert "name recordings" in result.output


def test_recordings_of_any_kind_and_rate_are_spoken_alike(tmp_path: Path) -> None:
    files = {
        "telephone.wav": written(tone(1.0, 8000), "WAV", "ULAW", 8000),
        "studio.wav": written(np.repeat(tone(1.0, 48_000)[:, None], 2, axis=1), "WAV", "FLOAT", 48_000),
        "browser.webm": as_a_browser_records(tone(1.0, 48_000)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for spoken in voice_commands.read_recordings(tuple(tmp_path / name for name in files)):
        assert len(spoken) / 32_000 == pytest.approx(1.0, abs=0.05)
        assert 0.3 < float(np.abs(samples_of(spoken)).max()) < 0.7


async def test_a_file_of_floating_point_is_listened_to_as_it_sounds(tmp_path: Path) -> None:
    file = tmp_path / "floats.wav"
    file.write_bytes(written(tone(1.0), "WAV", "FLOAT"))
    with open_source(str(file), RATE, 1) as source:
        pieces = [piece async for piece in source.pieces]
    assert (source.rate, source.channels, len(b"".join(pieces))) == (16_000, 1, 32_000)
    assert float(np.abs(samples_of(b"".join(pieces))).max()) == pytest.approx(0.5, abs=0.01)


async def test_time_passes_between_pieces() -> None:
    microphone = recordings([bytes(CHUNK_BYTES * 3)], RATE)
    began = time.monotonic()
    async with aclosing(microphone.pieces(Cues())) as spoken:
        await anext(spoken)
        await anext(spoken)
    assert time.monotonic() - began >= 2 * CHUNK_S - 0.01
