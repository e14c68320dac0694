"""How fast an answer stops when its listener speaks, and what is still heard of it.

The real graph (voice activity real) runs in front of speech models that cost nothing and take time; Transcription and
Speech are in the ingress's replica, as shipped, or with --no-together deployments of their own. In each trial a client
has something said to its session, turns the state to "responding", and after a random time speaks into it, at real
pace, as a microphone does: a chunk of 20 ms is sent when its last sample was recorded. Stamped on one machine's
monotonic clock are the onset of speech, known from the sound, STTInterrupt at the client, and the end of the
synthesiser's generator. One subscriber sees all messages in order, so a chunk behind its interruption would be seen.
"""

import asyncio
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import nats
import nats.errors
import numpy as np
import soxr
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import VOICES_LIST
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.listening.voice_activity import WINDOW_S
from deployments.settings.audio import AudioSettings
from deployments.values.sound import SPEECH_RATE, pcm_of, samples_of
from deployments.values.speech import SpeechText
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, milliseconds, percentile, plain, share
from tests.benchmarks.site import Site
from tests.benchmarks.stand_in_graph import Side, StandInGraph
from tests.benchmarks.timed_models import ENDLESS
from tests.conversation.script import RATE, Says, Script, play
from tests.speaking import spoken_by

NOISE = 0.002
AUDIBLE = 0.02
"""Speech begins with its first sample that is this loud; the noise before it is ten times as quiet."""
SENTENCES = (
    "Stop that right now please.",
    "Wait a moment.",
    "Hold on, I have a question.",
    "No, that is wrong.",
    "Excuse me, what about Sunday?",
    "Actually never mind.",
    "Okay thank you.",
    "Can you repeat that?",
    "Please stop.",
    "Hey, listen to me.",
)
_TRIAL_S = 20.0
_READY_S = 120.0


@dataclass(frozen=True)
class Options:
    trials: int = option(1000, 2, "interruptions")
    at_once: int = option(20, 2, "sessions")
    together: bool = option(True, True, "whether Transcription and Speech are in the ingress's replica")
    seed: int = option(0, 0, "of all that is random")


@dataclass
class Trial:
    """One interruption.

    Attributes:
        onset: When the first sample of speech was recorded, as the monotonic clock had it.
        interrupted: When the client had STTInterrupt.
        interrupts: How many of them it had.
        stopped: When the synthesiser's generator was closed.
        chunks: Of the answer before the interruption.
        stale: Of the answer after it.
    """

    onset: float = 0.0
    interrupted: float = 0.0
    interrupts: int = 0
    stopped: float = 0.0
    chunks: int = 0
    stale: int = 0
    first_chunk: asyncio.Event = field(default_factory=asyncio.Event)
    was_interrupted: asyncio.Event = field(default_factory=asyncio.Event)


async def sounds(limit: int = len(SENTENCES)) -> dict[str, bytes]:
    """Return what is said into an answer, each sentence from its first audible sample on, by its words."""
    engine = HibariSpeech()
    spoken: dict[str, bytes] = {}
    for sentence in SENTENCES[:limit]:
        chunk = await spoken_by(engine, SpeechText(sentence))
        samples = soxr.resample(samples_of(chunk.pcm), chunk.rate, SPEECH_RATE)
        spoken[sentence] = pcm_of(samples[np.flatnonzero(np.abs(samples) > AUDIBLE)[0] :])
    await engine.close()
    return spoken


async def until_ready(client: Client) -> None:
    """Wait for the graph."""
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            await client.request(VOICES_LIST.pattern, b"", timeout=2)
        except (nats.errors.NoRespondersError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return


class Clients:
    """Clients of many sessions on one connection, with one subscriber for all that comes back."""

    def __init__(self, client: Client, spoken: Mapping[str, bytes], seed: int) -> None:
        self._client = client
        self._spoken = spoken
        self._random = random.Random(seed)
        self.trials: dict[str, Trial] = {}

    async def subscribe(self) -> None:
        await self._client.subscribe("ai.voice.>", cb=self._heard)

    async def _heard(self, message: Msg) -> None:
        kind, session_id = message.subject.split(".")[2], message.subject.rsplit(".", 1)[-1]
        trial = self.trials.get(session_id)
        if trial is None or kind == "stream":
            return
        if kind == "transcription":
            if messages_pb2.STTInterrupt.FromString(message.data).type == "interrupt":
                trial.interrupted = trial.interrupted or time.monotonic()
                trial.interrupts += 1
                trial.was_interrupted.set()
        elif ".tts.audio." in message.subject:
            trial.first_chunk.set()
            if trial.interrupts:
                trial.stale += 1
            else:
                trial.chunks += 1

    async def interrupt(self, number: int) -> None:
        """Have something said, and speak into it."""
        session_id = f"trial-{number}"
        trial = self.trials[session_id] = Trial()
        lead_s = self._random.uniform(1.0, 2.0)
        sentence = SENTENCES[number % len(self._spoken)]
        script = Script([Says(lead_s, sentence)], noise=NOISE)
        await self._send(session_id, type="start")
        await self._send(session_id, type="state_change", state="responding")
        request = messages_pb2.TTSRequest(text=f"Number {number}.", stream=True, speaker=ENDLESS)
        await self._client.publish(f"ai.voice.tts.request.{session_id}", request.SerializeToString())
        await asyncio.wait_for(trial.first_chunk.wait(), _TRIAL_S)
        trial.onset = time.monotonic() + int(lead_s * RATE) / RATE
        playing = asyncio.create_task(play(script, self._client, session_id, self._spoken.__getitem__))
        await asyncio.wait_for(trial.was_interrupted.wait(), _TRIAL_S)
        playing.cancel()
        await asyncio.wait([playing])
        await asyncio.sleep(0.3)
        await self._send(session_id, type="end")

    async def _send(self, session_id: str, **fields: Any) -> None:
        message = messages_pb2.STTStreamMessage(**fields)
        await self._client.publish(f"ai.voice.stream.{session_id}", message.SerializeToString())


async def measure(graph: StandInGraph, options: Options) -> list[Trial]:
    spoken = await sounds(min(len(SENTENCES), options.trials))
    numbers = iter(range(options.trials))
    async with await nats.connect(graph.nats_url(side_of(options))) as connection:
        await until_ready(connection)
        clients = Clients(connection, spoken, options.seed)
        await clients.subscribe()

        async def work() -> None:
            for at in numbers:
                await clients.interrupt(at)
                if at % 100 == 99:
                    print(f"  {at + 1} interruptions", file=sys.stderr)

        async with asyncio.TaskGroup() as group:
            for _ in range(options.at_once):
                group.create_task(work())
    stopped = await stopped_at(graph)
    for session_id, trial in clients.trials.items():
        trial.stopped = stopped.get(session_id.split("-")[1], 0.0)
    return list(clients.trials.values())


async def stopped_at(graph: StandInGraph) -> Mapping[str, float]:
    """Return when the generator of each text was closed, by the number of its trial."""
    async with httpx.AsyncClient(base_url=graph.http_url, timeout=_TRIAL_S, trust_env=False) as client:
        response = await client.get("/timed-models")
        response.raise_for_status()
        return response.json()


def figures(trials: Sequence[Trial], minimum_ms: float) -> list[Figure]:
    onset = [trial.interrupted - trial.onset - minimum_ms / 1000 for trial in trials]
    closed = [trial.stopped - trial.interrupted for trial in trials if trial.stopped]
    beyond = f"onset of speech to STTInterrupt, beyond the {minimum_ms:.0f} ms that count"
    stale, sent = sum(trial.stale for trial in trials), sum(trial.chunks for trial in trials)
    return [
        milliseconds(beyond, onset),
        *(_percentile(beyond, onset, percent, WINDOW_S * 1000 + 10) for percent in (90, 99)),
        milliseconds("STTInterrupt to the synthesiser's generator closed", closed, at_most(10)),
        _percentile("STTInterrupt to the synthesiser's generator closed", closed, 99, 50),
        plain("generators not closed", sum(not trial.stopped for trial in trials), "", at_most(0)),
        plain("sessions with not exactly one STTInterrupt", sum(one.interrupts != 1 for one in trials), "", at_most(0)),
        share("chunks behind their interruption, of all of them", stale, stale + sent, at_most(0)),
    ]


def _percentile(title: str, seconds: Sequence[float], percent: int, most_ms: float) -> Figure:
    value = percentile([1000 * one for one in seconds], percent)
    return Figure(f"{title}, {percent}th percentile", value, "ms", len(seconds), bar=at_most(most_ms))


def side_of(options: Options) -> Side:
    return Side.LIVE if options.together else Side.LIVE_APART


def run(options: Options, site: Site) -> list[Figure]:
    with site.stand_in_graph({side_of(options)}) as graph:
        trials = asyncio.run(measure(graph, options))
    return figures(trials, AudioSettings().barge_in.min_speech_ms)


BENCHMARK = Benchmark("barge_in", __doc__, takes="four minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
