"""How many live sessions one core carries: Hearth's audio ingress and pipecat, on the same sound, in the same run.

Each session is a microphone that sends 20 ms of sound at a time: speech, pauses and a little noise. Voice activity is
real on both sides, models cost nothing. Hearth's side is the audio ingress on a NATS connection of its own, fed by a
client through a real NATS server; pipecat's is a pipeline for each session in one process, fed in that process. Each
side has one core to itself; client and NATS server have another. A side carries as many sessions as it can decide on,
99 of 100 times, within two windows (64 ms) of the sound's arrival, with none of it lost.

Several replicas of the ingress share sessions, too, as many for each replica whatever their number: what a session
costs all of them together should hardly depend on that number. `--replicas 1,2,4 --only-shared` measures this alone.

pipecat is installed at a pinned version in an environment of its own (`tests/benchmarks/peers/pipecat.txt`), because it
wants an older protobuf.
"""

import asyncio
import gc
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soxr
import uvloop
from nats.aio.client import Client

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
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Bar, Figure, at_least, at_most, median, plain, ratio
from tests.benchmarks.peer import PEERS, peer_python
from tests.benchmarks.shipped import voice_activity_file
from tests.benchmarks.site import Site
from tests.nats_client import nats_connected
from tests.speaking import spoken_by

CHUNK_S = 0.02
CHUNK_BYTES = int(SPEECH_RATE * CHUNK_S) * 2
LATEST_S = 0.064
TEXT = "How long does the remote site keep monthly snapshots? I would like to know it, please."
OURS, PEER = "Hearth", "pipecat"
_SERVE = "serve"
_LONG_S = 120

Report = Callable[[], Awaitable[Mapping[str, Any]]]
Idle = Mapping[str, float]


@dataclass(frozen=True)
class Options:
    rounds: int = option(7, 1, "of CPU, all sides in each")
    seconds: float = option(6.0, 0.5, "that each trial lasts")
    sessions: int = option(40, 4, "of Hearth's in the rounds of CPU, and the fewest that are tried on one core")
    most: int = option(600, 4, "sessions of Hearth's that are tried on one core; of pipecat's a fifth")
    idle_sessions: int = option(300, 20, "that are opened to see what an idle one takes")
    settle: float = option(3.0, 0.2, "seconds before an idle session is looked at")
    replicas: str = option("1,2,4", "1,2", "numbers of replicas that share sessions; none where it is empty")
    shared_sessions: int = option(15, 3, "of each replica that shares them")
    settle_shared: float = option(5.0, 0.5, "seconds that replicas, then sessions, are given before that")
    only_shared: bool = option(False, False, "whether nothing but replicas that share sessions is measured")
    peer: bool = option(True, False, "whether pipecat is measured, too")


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
    activity = StampedActivity(voice_activity_file(ModelStore.from_environment()))
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


@dataclass(frozen=True)
class SharedTrial:
    """What several replicas did with the sessions that they share.

    Attributes:
        replicas: How many.
        cpu_ms: Of all replicas, for one session, for one second.
        lost: Decisions that were not made; up to one for each session may wait for the rest of its window.
        shares: The sessions of each replica.
    """

    replicas: int
    cpu_ms: float
    lost: int
    shares: list[int]


class Ours:
    """Hearth's side, on one core; each trial has a process of its own."""

    def __init__(self, url: str, core: int, sound: bytes) -> None:
        self._url = url
        self._core = core
        self._sound = sound

    async def shared(self, replicas: int, sessions: int, seconds: float, settle_s: float) -> SharedTrial:
        """Have several replicas, each a process, share the sessions of one NATS server."""
        async with AsyncExitStack() as running:
            reports = [await running.enter_async_context(self._listening()) for _ in range(replicas)]
            client = await running.enter_async_context(await nats_connected(self._url))
            await asyncio.sleep(settle_s)
            await self._open(client, sessions)
            await self._speak(client, sessions, settle_s)
            before = [await report() for report in reports]
            await self._speak(client, sessions, seconds)
            await client.flush()
            await asyncio.sleep(min(1.0, seconds))
            after = [await report() for report in reports]
        cpu_s = sum(one["cpu_s"] for one in after) - sum(one["cpu_s"] for one in before)
        decided = _decisions(after) - _decisions(before)
        windows = int(seconds / CHUNK_S) * CHUNK_BYTES // (2 * WINDOW_SAMPLES)
        shares = [one["sessions"] for one in after]
        return SharedTrial(replicas, cpu_s / sessions / seconds * 1000, windows * sessions - decided, shares)

    async def trial(self, sessions: int, seconds: float) -> Trial:
        async with self._listening() as report, await nats_connected(self._url) as client:
            await self._open(client, sessions)
            before = await report()
            began, phases = await self._speak(client, sessions, seconds)
            await client.flush()
            # What is late is waited for, and counted as late.
            await asyncio.sleep(min(1.0, seconds))
            after = await report()
        late = [
            at - _due(window, began + phase)
            for stamps, phase in zip(after["stamps"], phases, strict=True)
            for window, at in enumerate(stamps)
        ]
        windows = int(seconds / CHUNK_S) * CHUNK_BYTES // (2 * WINDOW_SAMPLES)
        cpu_ms = (after["cpu_s"] - before["cpu_s"]) / sessions / seconds * 1000
        return Trial(sessions, cpu_ms, sorted(late), windows * sessions - len(late))

    async def idle(self, counts: tuple[int, int], settle_s: float) -> Idle:
        """Return the bytes and tasks of one idle session, from the difference between two numbers of them."""
        async with self._listening() as report, await nats_connected(self._url) as client:
            reports: list[Mapping[str, Any]] = []
            opened = 0
            for count in counts:
                await self._open(client, count - opened, opened)
                for number in range(opened, count):
                    chunk = messages_pb2.STTStreamMessage(type="chunk", audio=bytes(2 * SPEECH_RATE))
                    await client.publish(f"ai.voice.stream.{number}", chunk.SerializeToString())
                opened = count
                await client.flush()
                await asyncio.sleep(settle_s)
                reports.append(await report())
        few, many = reports
        more = counts[1] - counts[0]
        return {
            "bytes": (many["resident_bytes"] - few["resident_bytes"]) / more,
            "tasks": (many["tasks"] - few["tasks"]) / more,
        }

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[Report]:
        command = [sys.executable, "-m", "tests.benchmarks.audio_sessions", _SERVE, self._url]
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

        try:
            yield report
        finally:
            stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _LONG_S)
            finally:
                end(process)

    async def _open(self, client: Client, sessions: int, first: int = 0) -> None:
        start = messages_pb2.STTStreamMessage(type="start").SerializeToString()
        for number in range(first, first + sessions):
            await client.publish(f"ai.voice.stream.{number}", start)
        await client.flush()
        await asyncio.sleep(0.5)

    async def _speak(self, client: Client, sessions: int, seconds: float) -> tuple[float, list[float]]:
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


def _decisions(reports: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(stamps) for report in reports for stamps in report["stamps"])


def end(process: asyncio.subprocess.Process) -> None:
    """End a process that has not ended."""
    if process.returncode is None:
        process.kill()


class PeerSide:
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

    async def idle(self, counts: tuple[int, int]) -> Idle:
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
            end(process)
            await process.wait()
        return ready, ended


def _due(window: int, began: float) -> float:
    """Return when the last chunk of a window was sent."""
    return began + (math.ceil(WINDOW_SAMPLES * (window + 1) / (CHUNK_BYTES // 2)) - 1) * CHUNK_S


def _pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


async def capacity(side: Ours | PeerSide, best: Trial, most: int, step: int, seconds: float) -> Trial:
    """Return the trial with the most sessions that a side carries, to the nearest `step`, from those of `best` on."""
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
    engine = HibariSpeech()
    spoken = await spoken_by(engine, SpeechText(TEXT))
    await engine.close()
    speech = soxr.resample(samples_of(spoken.pcm), spoken.rate, SPEECH_RATE)
    noise = np.random.default_rng(0).normal(0.0, 0.005, 10 * SPEECH_RATE).astype(np.float32)
    noise[: len(speech)] += speech
    return pcm_of(noise)


@contextmanager
def two_cores() -> Generator[int]:
    """Keep this process, and what it starts, on one core for as long as the block lasts; give the number of another.

    Raises:
        RuntimeError: This process may use one core alone.
    """
    allowed = os.sched_getaffinity(0)
    if len(allowed) == 1:
        raise RuntimeError("two cores are needed, and there is one")
    theirs, mine = sorted(allowed)[:2]
    os.sched_setaffinity(0, {mine})
    try:
        yield theirs
    finally:
        os.sched_setaffinity(0, allowed)


async def measure(options: Options) -> list[Figure]:
    heard = await sound()
    with ExitStack() as running:
        python = running.enter_context(peer_python("pipecat.txt")) if options.peer else ""
        core = running.enter_context(two_cores())
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        url = running.enter_context(servers.nats_server(folder / "nats"))
        (folder / "sound.pcm").write_bytes(heard)
        ours = Ours(url, core, heard)
        found = await by_replicas(ours, options)
        if options.only_shared:
            return found
        peer = PeerSide(python, core, folder / "sound.pcm") if python else None
        return [*await compare(ours, peer, options), *found]


async def by_replicas(ours: Ours, options: Options) -> list[Figure]:
    """Measure what a session costs by the number of replicas, each with as many sessions: all numbers in each round."""
    counts = [int(count) for count in options.replicas.split(",") if count.strip()]
    cpu_ms: dict[int, list[float]] = {count: [] for count in counts}
    lost = 0
    for at in range(options.rounds if counts else 0):
        for count in counts:
            sessions = count * options.shared_sessions
            trial = await ours.shared(count, sessions, options.seconds, options.settle_shared)
            cpu_ms[count].append(trial.cpu_ms)
            # The rest of a window may be decided in the next measurement.
            lost += max(trial.lost - sessions, 0)
        shown = ", ".join(f"{count}: {made[-1]:.2f} ms" for count, made in cpu_ms.items())
        print(f"  round {at + 1}, by replicas: {shown}", file=sys.stderr)
    found = [
        median(f"{OURS}: CPU of one session for one second, {count} replicas", made, "ms")
        for count, made in cpu_ms.items()
    ]
    found += [
        ratio(f"CPU of one session, {count} replicas to {counts[0]}", cpu_ms[count], cpu_ms[counts[0]], at_most(1.15))
        for count in counts[1:]
    ]
    return [*found, plain("decisions lost by replicas that share sessions", lost, "", at_most(0))] if counts else []


async def compare(ours: Ours, peer: PeerSide | None, options: Options) -> list[Figure]:
    trials: dict[str, list[Trial]] = {OURS: [], PEER: []}
    carried: dict[str, Trial] = {}
    idle: dict[str, Idle] = {}
    for at in range(options.rounds):
        trials[OURS].append(await ours.trial(options.sessions, options.seconds))
        if peer is not None:
            trials[PEER].append(await peer.trial(8, options.seconds))
        shown = ", ".join(f"{one[-1].cpu_ms:.2f} ms" for one in trials.values() if one)
        print(f"  round {at + 1}: {shown}", file=sys.stderr)
    carried[OURS] = await capacity(ours, trials[OURS][-1], options.most, 5, options.seconds)
    idle[OURS] = await ours.idle((30, 30 + options.idle_sessions), options.settle)
    if peer is not None:
        carried[PEER] = await capacity(peer, trials[PEER][-1], options.most // 5, 2, options.seconds)
        idle[PEER] = await peer.idle((4, 12))
    return figures({side: [trial.cpu_ms for trial in made] for side, made in trials.items()}, carried, idle)


def figures(cpu: Mapping[str, Sequence[float]], carried: Mapping[str, Trial], idle: Mapping[str, Idle]) -> list[Figure]:
    """Return what each side takes, and the ratios where there are two."""
    of_ours: dict[str, Bar] = {"bytes": at_most(0.1), "tasks": at_most(1)}
    found: list[Figure] = []
    for side, trial in carried.items():
        kept = of_ours if side == OURS else {}
        found += [
            median(f"{side}: CPU of one session for one second", cpu[side], "ms"),
            plain(f"{side}: sessions that one core carries", trial.sessions if trial.is_carried else 0),
            plain(f"{side}: its decisions, 99th percentile", trial.p99_ms, "ms"),
            plain(f"{side}: memory of an idle session", idle[side]["bytes"] / 1e6, "MB", kept.get("bytes")),
            plain(f"{side}: tasks of an idle session", idle[side]["tasks"], "", kept.get("tasks")),
        ]
    if PEER in carried:
        most = carried[OURS].sessions / carried[PEER].sessions
        found += [
            ratio("CPU, pipecat to Hearth", cpu[PEER], cpu[OURS]),
            plain("sessions that one core carries, Hearth to pipecat", most, "", at_least(4)),
        ]
    return found


def run(options: Options, site: Site) -> list[Figure]:
    del site
    return asyncio.run(measure(options))


BENCHMARK = Benchmark(
    "audio_sessions",
    __doc__,
    takes="fifteen minutes",
    needs=(Need.MODELS, Need.TWO_CORES, Need.PEER),
    options=Options,
    run=run,
)

if __name__ == "__main__":
    if sys.argv[1:2] == [_SERVE]:
        uvloop.run(serve(sys.argv[2]))
    else:
        BENCHMARK.main()
