"""How fast an answer stops when its listener speaks, and what is still heard of it.

    uv run python -m tests.benchmarks.barge_in

The real graph (voice activity real) runs in front of speech models that cost nothing and take time; Transcription and
Speech are deployments of their own, or with --together in the ingress's replica, as shipped. In each trial a client has
something said to its session, turns the state to "responding", and after a random time speaks into it, at real pace, as
a microphone does: a chunk of 20 ms is sent when its last sample was recorded. Stamped on one machine's monotonic clock
are the onset of speech, known from the sound, STTInterrupt at the client, and the end of the synthesiser's generator.
One subscriber sees all messages in order, so a chunk behind its interruption would be seen.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before Ray is imported.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP="0",
    RAY_USAGE_STATS_ENABLED="0",
)

import httpx
import nats
import nats.errors
import numpy as np
import ray
import soxr
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.command_line.local.local_stack import REPLICA_SITE, SERVE_ENVIRONMENT
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import VOICES_LIST
from deployments.call import Call
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.graph.door import application_door
from deployments.listening.voice_activity import WINDOW_S
from deployments.models.store import ModelStore
from deployments.settings.audio import AudioSettings
from deployments.values.sound import SPEECH_RATE, pcm_of, samples_of
from deployments.values.speech import SpeechText
from tests import servers
from tests.conversation.script import RATE, Says, Script, play
from tests.servers import RayCluster
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
SERVICES = ("Chat", "Retrieval", "Ingestion", "Voice", "Transcription", "Speech")
_TRIAL_S = 20.0
_MODELS_READY_S = 120.0


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


@contextmanager
def graph(
    models: str, applications: Mapping[str, str], in_process: Sequence[str], **orchestration: object
) -> Generator[tuple[str, RayCluster]]:
    """Run a graph on servers of its own; give the NATS server's URL and the cluster.

    Args:
        models: Module that builds the applications of the models.
        applications: The deployment of each, by the application's name.
        in_process: Services that run in the replicas of the ingresses; the others are deployments of their own.
        orchestration: More settings of the orchestration.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(servers.nats_server(folder / "nats"))
        environment = {
            "PYTHONPATH": os.pathsep.join((str(servers.ROOT), str(REPLICA_SITE))),
            "NATS_URL": url,
            "HEARTH_MODELS": str(ModelStore.from_environment().folder),
            **SERVE_ENVIRONMENT,
        }
        cluster = stack.enter_context(servers.ray_cluster(folder / "ray", environment))
        common = {"ray_actor_options": {"num_cpus": 0}, "max_ongoing_requests": 256}
        apart = [name for name in SERVICES if name not in in_process]
        config = {
            "proxy_location": "Disabled",
            "logging_config": {"enable_access_log": False},
            "applications": [
                {
                    "name": name,
                    "route_prefix": None,
                    "import_path": f"{models}:{name.replace('-', '_')}",
                    "args": {},
                    "deployments": [{"name": deployment, **common}],
                }
                for name, deployment in applications.items()
            ]
            + [
                {
                    "name": "orchestration",
                    "route_prefix": None,
                    "import_path": "bridges.application:orchestration",
                    "args": {
                        "nats": {"max_in_flight": 128},
                        "memory": {"enabled": False},
                        "in_process": list(in_process),
                        **orchestration,
                    },
                    "deployments": [{"name": name, **common} for name in ("NatsIngress", "AudioIngress", *apart)],
                }
            ],
        }
        answer = httpx.put(f"{cluster.dashboard_url}/api/serve/applications/", json=config, timeout=60)
        answer.raise_for_status()
        yield url, cluster


async def sounds() -> dict[str, bytes]:
    """Return what is said into an answer, from its first audible sample on, by its words."""
    engine = HibariSpeech()
    spoken: dict[str, bytes] = {}
    for sentence in SENTENCES:
        chunk = await spoken_by(engine, SpeechText(sentence))
        samples = soxr.resample(samples_of(chunk.pcm), chunk.rate, SPEECH_RATE)
        spoken[sentence] = pcm_of(samples[np.flatnonzero(np.abs(samples) > AUDIBLE)[0] :])
    return spoken


async def until_ready(client: Client) -> None:
    """Wait for the graph."""
    deadline = time.monotonic() + _MODELS_READY_S
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
        sentence = SENTENCES[number % len(SENTENCES)]
        script = Script([Says(lead_s, sentence)], noise=NOISE)
        await self._send(session_id, type="start")
        await self._send(session_id, type="state_change", state="responding")
        request = messages_pb2.TTSRequest(text=f"Number {number}.", stream=True)
        await self._client.publish(f"ai.voice.tts.request.{session_id}", request.SerializeToString())
        await asyncio.wait_for(trial.first_chunk.wait(), _TRIAL_S)
        trial.onset = time.monotonic() + int(lead_s * RATE) / RATE
        playing = asyncio.create_task(play(script, self._client, session_id, self._spoken.__getitem__))
        await asyncio.wait_for(trial.was_interrupted.wait(), _TRIAL_S)
        playing.cancel()
        await asyncio.sleep(0.3)
        await self._send(session_id, type="end")

    async def _send(self, session_id: str, **fields: Any) -> None:
        message = messages_pb2.STTStreamMessage(**fields)
        await self._client.publish(f"ai.voice.stream.{session_id}", message.SerializeToString())


async def measure(url: str, address: str, trials: int, at_once: int, seed: int) -> list[Trial]:
    spoken = await sounds()
    ray.init(address=address, namespace="benchmark", log_to_driver=False, logging_level=logging.ERROR)
    model = application_door("text-to-speech", "TextToSpeech")
    numbers = iter(range(trials))
    async with await nats.connect(url) as connection:
        await until_ready(connection)
        clients = Clients(connection, spoken, seed)
        await clients.subscribe()

        async def work() -> None:
            for number in numbers:
                await clients.interrupt(number)
                if number % 100 == 99:
                    print(f"  {number + 1} interruptions", file=sys.stderr)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
        stopped: dict[int, float] = await model.call(Call.within(30), "stopped")
    ray.shutdown()
    for session_id, trial in clients.trials.items():
        trial.stopped = stopped.get(int(session_id.split("-")[1]), 0.0)
    return list(clients.trials.values())


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def show(trials: Sequence[Trial], minimum_ms: float) -> None:
    onset = [1000 * (trial.interrupted - trial.onset) - minimum_ms for trial in trials]
    closed = [1000 * (trial.stopped - trial.interrupted) for trial in trials if trial.stopped]
    bar = WINDOW_S * 1000 + 10
    print(f"{len(trials)} interruptions")
    print(
        f"onset of speech to STTInterrupt, beyond the {minimum_ms:.0f} ms that count: median "
        f"{statistics.median(onset):.0f} ms, p90 {percentile(onset, 0.9):.0f}, p99 {percentile(onset, 0.99):.0f} "
        f"(at most {bar:.0f})"
    )
    print(
        f"STTInterrupt to the synthesiser's generator closed: median {statistics.median(closed):.1f} ms, "
        f"p99 {percentile(closed, 0.99):.1f} (at most 10 and 50)"
    )
    print(f"generators not closed: {sum(not trial.stopped for trial in trials)}")
    print(f"sessions with not exactly one STTInterrupt: {sum(trial.interrupts != 1 for trial in trials)}")
    sent = sum(trial.chunks for trial in trials)
    print(f"chunks behind their interruption: {sum(trial.stale for trial in trials)} of {sent} (at most 0)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=16, help="sessions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--together", action="store_true", help="Transcription and Speech in the ingress's replica")
    parser.add_argument("--json", type=Path, help="write the times of each trial to this file")
    options = parser.parse_args()
    applications = {"speech-to-text": "SpeechToText", "text-to-speech": "TextToSpeech"}
    together = SERVICES if options.together else SERVICES[:4]
    with graph("tests.benchmarks.timed_speech", applications, together) as (url, cluster):
        trials = asyncio.run(measure(url, cluster.address, options.trials, options.at_once, options.seed))
    if options.json:
        rows = [[trial.onset, trial.interrupted, trial.stopped, trial.chunks, trial.stale] for trial in trials]
        options.json.write_text(json.dumps(rows))
    show(trials, AudioSettings().barge_in.min_speech_ms)


if __name__ == "__main__":
    main()
