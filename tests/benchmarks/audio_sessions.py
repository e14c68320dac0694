"""How many live sessions one core carries: Hearth's audio ingress and pipecat, on the same sound, in the same run.

    uv run python -m tests.benchmarks.audio_sessions

Each session is a microphone that sends 20 ms of sound at a time: speech, pauses and a little noise. Voice activity is
real on both sides, models cost nothing. Hearth's side is the audio ingress on a NATS connection of its own, fed by a
client through a real NATS server; pipecat's is a pipeline for each session in one process, fed in that process. Each
side has one core to itself; client and NATS server have another. A side carries as many sessions as it can decide on,
99 of 100 times, within two windows (64 ms) of the sound's arrival, with none of it lost.

pipecat is installed at a pinned version in an environment of its own (`tests/benchmarks/peers/pipecat.txt`), because it
wants an older protobuf.
"""

import argparse
import asyncio
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import numpy as np
import psutil
import soxr
import uvloop

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.ingress import AudioIngress
from bridges.nats.connection import NatsClient
from bridges.sessions.epochs import SessionWork
from deployments.call import Call
from deployments.engines.hearing.silero import SileroVoiceActivity
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.listening.voice_activity import WINDOW_SAMPLES, VoiceStream
from deployments.models.store import ModelStore
from deployments.settings.audio import AudioSettings
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, samples_of
from deployments.values.speech import (
    Agreement,
    PartialTranscript,
    Recording,
    SpeechText,
    Transcript,
    TurnEnding,
    Utterance,
)
from deployments.values.status import ComponentStatus
from tests import servers
from tests.speaking import spoken_by

CHUNK_S = 0.02
CHUNK_BYTES = int(SPEECH_RATE * CHUNK_S) * 2
LATEST_S = 0.064
TEXT = "How long does the remote site keep monthly snapshots? I would like to know it, please."
OURS, PEER = "hearth", "pipecat"
PEERS = Path(__file__).with_name("peers")
_LONG_S = 120


@dataclass
class FreeTranscription:
    """Hears nothing, at once."""

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        return PartialTranscript(agreement, "en")

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        return TurnEnding("words", "en")

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        return Transcript("")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


@dataclass
class Uncounted:
    """Counts nothing."""

    def sessions(self, count: int) -> None: ...

    def tasks(self, count: int) -> None: ...

    def utterance_ended(self, outcome: str, seconds_to_final: float) -> None: ...

    def interrupted(self) -> None: ...


class StampedActivity:
    """Silero, with a note of when each window was decided on, by stream in the order in which they were opened."""

    def __init__(self, model: Path) -> None:
        self._engine = SileroVoiceActivity(model)
        self._stamps: dict[int, tuple[VoiceStream, list[float]]] = {}

    @property
    def stamps(self) -> list[list[float]]:
        return [stamps for _, stamps in self._stamps.values()]

    def new_stream(self) -> VoiceStream:
        stream = self._engine.new_stream()
        self._stamps[id(stream)] = stream, []
        return stream

    def probabilities(self, streams: Sequence[VoiceStream], windows: Sequence[Samples]) -> list[float]:
        found = self._engine.probabilities(streams, windows)
        now = time.monotonic()
        for stream in streams:
            self._stamps[id(stream)][1].append(now)
        return found


async def serve(url: str) -> None:
    """Be Hearth's side: listen until told to stop, and report when asked on standard input."""
    activity = StampedActivity(ModelStore.from_environment().locate_file("silero-vad", "voice-activity", "model.onnx"))
    settings = AudioSettings(idle_s=3600)
    ingress = AudioIngress(settings, FreeTranscription(), activity, SessionWork(), Uncounted())
    client = NatsClient()
    await client.connect(url)
    running = asyncio.create_task(ingress.run())
    await ingress.connect(client)
    print(json.dumps({"ready": True}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        report = {
            "cpu_s": time.process_time(),
            "resident_bytes": psutil.Process().memory_info().rss,
            "tasks": len(asyncio.all_tasks()),
            "sessions": ingress.session_count,
            "stamps": activity.stamps,
        }
        print(json.dumps(report), flush=True)
    ingress.stop()
    await running
    await client.close()


@dataclass(frozen=True)
class Trial:
    """What one side did with some sessions.

    Attributes:
        sessions: How many.
        cpu_ms: Of one session for one second.
        late_s: How late each decision was, sorted.
        lost: Decisions that were not made.
    """

    sessions: int
    cpu_ms: float
    late_s: list[float]
    lost: int

    @property
    def p99_ms(self) -> float:
        return self.late_s[int(len(self.late_s) * 0.99)] * 1000 if self.late_s else math.inf

    @property
    def is_carried(self) -> bool:
        return not self.lost and self.p99_ms <= LATEST_S * 1000


class Ours:
    """Hearth's side, on one core; each trial has a process of its own."""

    def __init__(self, url: str, core: int, sound: bytes) -> None:
        self._url = url
        self._core = core
        self._sound = sound

    async def trial(self, sessions: int, seconds: float) -> Trial:
        async with self._listening() as report, await nats.connect(self._url) as client:
            await self._open(client, sessions)
            before = await report()
            began, phases = await self._speak(client, sessions, seconds)
            await client.flush()
            await asyncio.sleep(1.0)
            after = await report()
        late = [
            at - _due(window, began + phase)
            for stamps, phase in zip(after["stamps"], phases, strict=True)
            for window, at in enumerate(stamps)
        ]
        windows = int(seconds / CHUNK_S) * CHUNK_BYTES // (2 * WINDOW_SAMPLES)
        cpu_ms = (after["cpu_s"] - before["cpu_s"]) / sessions / seconds * 1000
        return Trial(sessions, cpu_ms, sorted(late), windows * sessions - len(late))

    async def idle(self, counts: tuple[int, int]) -> dict[str, float]:
        """Return the bytes and tasks of one idle session, from the difference between two numbers of them."""
        async with self._listening() as report, await nats.connect(self._url) as client:
            reports: list[dict[str, Any]] = []
            opened = 0
            for count in counts:
                await self._open(client, count - opened, opened)
                for number in range(opened, count):
                    chunk = messages_pb2.STTStreamMessage(type="chunk", audio=bytes(2 * SPEECH_RATE))
                    await client.publish(f"ai.voice.stream.{number}", chunk.SerializeToString())
                opened = count
                await client.flush()
                await asyncio.sleep(3.0)
                reports.append(await report())
        few, many = reports
        more = counts[1] - counts[0]
        return {
            "bytes": (many["resident_bytes"] - few["resident_bytes"]) / more,
            "tasks": (many["tasks"] - few["tasks"]) / more,
        }

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[Callable[[], Any]]:
        command = [sys.executable, "-m", "tests.benchmarks.audio_sessions", "--serve", self._url]
        process = await asyncio.create_subprocess_exec(
            *_pinned(self._core, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=1 << 28,
            cwd=servers.ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout
        await asyncio.wait_for(stdout.readline(), _LONG_S)

        async def report() -> dict[str, Any]:
            stdin.write(b"\n")
            await stdin.drain()
            return json.loads(await asyncio.wait_for(stdout.readline(), _LONG_S))

        yield report
        stdin.close()
        await process.wait()

    async def _open(self, client: Any, sessions: int, first: int = 0) -> None:
        start = messages_pb2.STTStreamMessage(type="start").SerializeToString()
        for number in range(first, first + sessions):
            await client.publish(f"ai.voice.stream.{number}", start)
        await client.flush()
        await asyncio.sleep(0.5)

    async def _speak(self, client: Any, sessions: int, seconds: float) -> tuple[float, list[float]]:
        phases = [number * CHUNK_S / sessions for number in range(sessions)]
        chunks = [
            messages_pb2.STTStreamMessage(type="chunk", audio=self._sound[at : at + CHUNK_BYTES]).SerializeToString()
            for at in range(0, len(self._sound) - CHUNK_BYTES + 1, CHUNK_BYTES)
        ]
        offsets = [number * 7919 % len(chunks) for number in range(sessions)]
        began = time.monotonic() + 0.5
        for chunk in range(int(seconds / CHUNK_S)):
            for number in range(sessions):
                wait = began + phases[number] + chunk * CHUNK_S - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                await client.publish(f"ai.voice.stream.{number}", chunks[(offsets[number] + chunk) % len(chunks)])
        return began, phases


class Peer:
    """pipecat's side, on one core; each trial has a process of its own."""

    def __init__(self, python: str, core: int, sound: Path) -> None:
        self._python = python
        self._core = core
        self._sound = sound

    async def trial(self, sessions: int, seconds: float) -> Trial:
        ready, ended = await self._run(sessions, seconds)
        del ready
        late = sorted(ended["late_s"])
        return Trial(sessions, ended["cpu_s"] / sessions / seconds * 1000, late, ended["expected"] - len(late))

    async def idle(self, counts: tuple[int, int]) -> dict[str, float]:
        """Return the bytes and tasks of one idle session, from the difference between two numbers of them."""
        few, many = [(await self._run(count, 0.1))[0] for count in counts]
        more = counts[1] - counts[0]
        return {
            "bytes": (many["resident_bytes"] - few["resident_bytes"]) / more,
            "tasks": (many["tasks"] - few["tasks"]) / more,
        }

    async def _run(self, sessions: int, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
        wanted = json.dumps({"sessions": sessions, "seconds": seconds, "sound": str(self._sound)})
        process = await asyncio.create_subprocess_exec(
            *_pinned(self._core, [self._python, str(PEERS / "pipecat_sessions.py"), wanted]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=1 << 28,
        )
        assert process.stdin
        assert process.stdout
        try:
            ready = json.loads(await asyncio.wait_for(process.stdout.readline(), _LONG_S))
            process.stdin.write(b"0.5\n")
            await process.stdin.drain()
            ended = json.loads(await asyncio.wait_for(process.stdout.readline(), _LONG_S))
        finally:
            process.kill()
            await process.wait()
        return ready, ended


def _due(window: int, began: float) -> float:
    """Return when the last chunk of a window was sent."""
    return began + (math.ceil(WINDOW_SAMPLES * (window + 1) / (CHUNK_BYTES // 2)) - 1) * CHUNK_S


def _pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


async def capacity(side: Ours | Peer, least: int, most: int, step: int, seconds: float) -> Trial:
    """Return the trial with the most sessions that a side carries, to the nearest `step`."""
    best = await side.trial(least, seconds)
    while most - best.sessions > step:
        middle = (best.sessions + most) // 2 // step * step
        if middle <= best.sessions:
            break
        trial = await side.trial(middle, seconds)
        print(f"  {middle} sessions: p99 {trial.p99_ms:.1f} ms, {trial.lost} lost", file=sys.stderr)
        if trial.is_carried:
            best = trial
        else:
            most = middle
    return best


async def sound() -> bytes:
    """Return ten seconds of a microphone: a question, a pause, a little noise."""
    spoken = await spoken_by(HibariSpeech(), SpeechText(TEXT))
    speech = soxr.resample(samples_of(spoken.pcm), spoken.rate, SPEECH_RATE)
    noise = np.random.default_rng(0).normal(0.0, 0.005, 10 * SPEECH_RATE).astype(np.float32)
    noise[: len(speech)] += speech
    return pcm_of(noise)


@contextmanager
def peer_python(requirements: str) -> Generator[str]:
    """Give the interpreter of an environment with the peer in it, by the name of its requirements file."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        # Not in the checkout, whose pins are not the peer's.
        install = ["uv", "pip", "install", "--quiet", "--python", python]
        subprocess.run([*install, "--requirement", str(PEERS / requirements)], check=True, cwd=folder)
        yield python


async def measure(rounds: int, seconds: float) -> dict[str, Any]:
    heard = await sound()
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.nats_server(Path(folder) / "nats") as url,
        peer_python("pipecat.txt") as python,
    ):
        path = Path(folder) / "sound.pcm"
        path.write_bytes(heard)
        os.sched_setaffinity(0, {1})
        for process in psutil.Process().children(recursive=True):
            process.cpu_affinity([1])
        ours, peer = Ours(url, 0, heard), Peer(python, 0, path)
        cpu: dict[str, list[float]] = {OURS: [], PEER: []}
        for at in range(rounds):
            cpu[OURS].append((await ours.trial(40, seconds)).cpu_ms)
            cpu[PEER].append((await peer.trial(8, seconds)).cpu_ms)
            print(f"  round {at + 1}: {cpu[OURS][-1]:.2f} and {cpu[PEER][-1]:.1f} ms", file=sys.stderr)
        carried = {
            PEER: await capacity(peer, 8, 48, 2, seconds),
            OURS: await capacity(ours, 40, 260, 5, seconds),
        }
        idle = {OURS: await ours.idle((30, 330)), PEER: await peer.idle((4, 12))}
    return {
        "cpu_ms_per_session_second": cpu,
        "sessions_carried": {side: trial.sessions for side, trial in carried.items()},
        "p99_ms": {side: trial.p99_ms for side, trial in carried.items()},
        "idle_session": idle,
    }


def show(found: dict[str, Any]) -> None:
    cpu, carried, idle = found["cpu_ms_per_session_second"], found["sessions_carried"], found["idle_session"]
    ratios = [peer / ours for ours, peer in zip(cpu[OURS], cpu[PEER], strict=True)]
    print(f"{'':<44}{OURS:>10}{PEER:>10}{'ratio':>8}")
    medians = [statistics.median(cpu[side]) for side in (OURS, PEER)]
    print(
        f"{'CPU of one session for one second, ms':<44}{medians[0]:>10.2f}{medians[1]:>10.1f}"
        f"{statistics.median(ratios):>8.1f}   {min(ratios):.1f} to {max(ratios):.1f}"
    )
    most = carried[OURS] / carried[PEER]
    print(f"{'sessions that one core carries':<44}{carried[OURS]:>10}{carried[PEER]:>10}{most:>8.1f}   at least 4")
    megabytes = [idle[side]["bytes"] / 1e6 for side in (OURS, PEER)]
    print(
        f"{'memory of an idle session, MB':<44}{megabytes[0]:>10.3f}{megabytes[1]:>10.1f}"
        f"{megabytes[1] / megabytes[0]:>8.0f}   at most 0.1"
    )
    print(
        f"{'tasks of an idle session':<44}{idle[OURS]['tasks']:>10.2f}{idle[PEER]['tasks']:>10.0f}{'':>8}   at most 1"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="of CPU, both sides in each")
    parser.add_argument("--seconds", type=float, default=6.0, help="that each trial lasts")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
        return
    found = asyncio.run(measure(options.rounds, options.seconds))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    show(found)


if __name__ == "__main__":
    main()
