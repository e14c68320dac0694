"""Conversations for half an hour: whether answers keep to their sessions, and memory and tasks return.

    uv run python -m tests.benchmarks.soak

Virtual microphones talk to the shipped graph, real models and all, at real pace. Each asks the questions of one set of
documents, over and over, hears every answer to its end and pauses; every fifth answer it interrupts; after five turns
it begins anew, as another user. Every message that comes back carries its session, which is checked; so is the text:
the transcript of the question against what was asked, and the chunks of text against the record of the turn. Memory is
that which the processes of the graph share with nobody, tasks are those of the replica that hears, a while after the
warm-up and after the last conversation.
"""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient, connected
from bridges.command_line.local.local_stack import REPLICA_SITE, SERVE_ENVIRONMENT
from bridges.command_line.sound.saying import say, unheard
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_STREAM, subject_for
from deployments.models.store import ModelStore
from deployments.values.sound import SPEECH_RATE
from tests.benchmarks.question_sets import SMALL
from tests.benchmarks.spoken_answers import at_speech_rate, ingest, until_ready
from tests.servers import ROOT, milvus_server, nats_server, program, ray_cluster

CHUNK_S = 0.1
_CHUNK_BYTES = int(SPEECH_RATE * CHUNK_S) * 2
_WAIT_S = 90.0
_REST_S = 30.0
_ALIKE = 0.6
"""Share of letters that a question and its transcript have in common at least, in order."""


@dataclass
class Counts:
    """What happened in all sessions."""

    turns: int = 0
    interrupted: int = 0
    mixed_up: list[str] = field(default_factory=list[str])
    first_sound_s: list[float] = field(default_factory=list[float])
    failed: list[str] = field(default_factory=list[str])


class Microphone:
    """One user after the other, at one microphone."""

    def __init__(
        self, client: HearthClient, questions: list[tuple[str, bytes]], collection: str, counts: Counts, seed: int
    ) -> None:
        self._client = client
        self._questions = questions
        self._collection = collection
        self._counts = counts
        self._random = random.Random(seed)
        self._id = ""
        self._text = ""
        self._first_sound_at = 0.0
        self._turn = 0
        self._over = asyncio.Event()
        self._speaks = asyncio.Event()
        self._record = conversation_pb2.TurnRecord()

    async def talk(self, until: float) -> None:
        """Have conversations until a time of the monotonic clock."""
        while time.monotonic() < until:
            self._id = uuid4().hex
            connection = self._client.connection
            subjects = (f"ai.voice.tts.audio.{self._id}", f"hearth.conversation.*.{self._id}")
            subscriptions = [await connection.subscribe(subject, cb=self._heard) for subject in subjects]
            conversation = conversation_pb2.ConversationRequest(collection=self._collection)
            await self._send(type="start", user_id=self._id, conversation=conversation)
            for turn in range(5):
                if time.monotonic() < until:
                    await self._ask(interrupts=turn == 2)
            await self._send(type="end")
            await asyncio.sleep(1.0)
            for subscription in subscriptions:
                await subscription.unsubscribe()

    async def _ask(self, *, interrupts: bool) -> None:
        question, pcm = self._random.choice(self._questions)
        self._text, self._first_sound_at = "", 0.0
        self._over.clear()
        self._speaks.clear()
        ended_at = await self._play(pcm)
        await self._until(self._speaks if interrupts else self._over)
        if interrupts:
            spoken_into = self._turn
            # Behind the time in which speech goes on with the question.
            await self._play(bytes(20 * _CHUNK_BYTES))
            self._over.clear()
            question, pcm = self._random.choice(self._questions)
            self._text = ""
            await self._play(pcm)
            self._counts.interrupted += 1
            await self._until(self._over)
            # A short answer may have ended by itself, in which case its record comes first.
            while self._record.turn <= spoken_into and not self._record.revision and self._over.is_set():
                self._over.clear()
                await self._until(self._over)
        elif self._first_sound_at:
            self._counts.first_sound_s.append(self._first_sound_at - ended_at)
        self._counts.turns += 1
        self._check(question)
        await self._play(bytes(self._random.randint(5, 20) * _CHUNK_BYTES))

    def _check(self, question: str) -> None:
        record = self._record
        # A turn that was reopened holds the question before it, too.
        asked = record.question[-len(question) - 5 :] if record.revision else record.question
        alike = SequenceMatcher(None, question.lower(), asked.lower(), autojunk=False).ratio()
        if record.session_id != self._id or alike < _ALIKE:
            self._counts.mixed_up.append(f"{question!r} was taken for {record.question!r}")
        if record.error:
            self._counts.failed.append(record.error)
        elif not record.answer.endswith(self._text[-20:]):
            self._counts.mixed_up.append(f"{self._text!r} is not the text of {record.answer!r}")

    async def _heard(self, message: Msg) -> None:
        if message.subject.startswith("ai.voice.tts.audio."):
            chunk = messages_pb2.TTSAudioChunk.FromString(message.data)
            if chunk.session_id != self._id:
                self._counts.mixed_up.append(f"sound of {chunk.session_id}")
            self._turn = chunk.turn
            self._first_sound_at = self._first_sound_at or time.monotonic()
            self._speaks.set()
        elif ".text." in message.subject:
            self._text += messages_pb2.ChatStreamChunk.FromString(message.data).content
        else:
            self._record = conversation_pb2.TurnRecord.FromString(message.data)
            if self._record.outcome != "reopened":
                self._over.set()
                self._speaks.set()

    async def _play(self, pcm: bytes) -> float:
        """Speak at real pace; return when it ended."""
        began = time.monotonic()
        for number, at in enumerate(range(0, len(pcm), _CHUNK_BYTES), 1):
            await asyncio.sleep(max(0.0, began + number * CHUNK_S - time.monotonic()))
            await self._send(type="chunk", audio=pcm[at : at + _CHUNK_BYTES])
        return time.monotonic()

    async def _until(self, event: asyncio.Event) -> None:
        waited = time.monotonic()
        while not event.is_set():
            await self._play(bytes(_CHUNK_BYTES))
            if time.monotonic() - waited > _WAIT_S:
                self._counts.failed.append(f"nothing came in {_WAIT_S:g} s")
                return

    async def _send(self, **fields: Any) -> None:
        message = messages_pb2.STTStreamMessage(**fields)
        subject = subject_for(AUDIO_STREAM, session_id=self._id)
        await self._client.connection.publish(subject, message.SerializeToString())


def unshared_bytes() -> Counter[str]:
    """Return the memory of all servers that were started here that they share with nobody, by what they are."""
    found: Counter[str] = Counter()
    for process in psutil.Process().children(recursive=True):
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            command = process.cmdline()
        except (OSError, psutil.NoSuchProcess):
            continue
        unshared = sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Private_"))
        found[_name_of(command)] += unshared
    return found


def _name_of(command: list[str]) -> str:
    """Return what a process is: a replica's deployment, or the program."""
    title = command[0].strip() if command else "ended"
    if title.startswith("ray::"):
        # Behind the name, the method that it is just in.
        return title.rpartition(":")[2].partition(".")[0]
    script = next((part for part in command[1:] if part.endswith((".py", "milvus-lite", "ray"))), title)
    return Path(script).name


def audio_tasks(metrics_url: str) -> float:
    lines = httpx.get(metrics_url, timeout=10).text.splitlines()
    found = [line for line in lines if re.match(r"ray_hearth_audio_tasks\b", line)]
    return float(found[0].rsplit(" ", 1)[1]) if found else float("nan")


async def measure(url: str, metrics_url: str, options: argparse.Namespace) -> None:
    counts = Counts()
    rows = [line.split("\t") for line in SMALL.read_text().splitlines()]
    async with connected(url) as client:
        await until_ready(client)
        collections = await ingest(client)
        spoken: dict[str, list[tuple[str, bytes]]] = {}
        for document, question, _ in rows:
            said = await say(client, messages_pb2.TTSRequest(text=question), _WAIT_S, unheard)
            spoken.setdefault(document, []).append((question, at_speech_rate(said.pcm, said.rate)))
        documents = list(spoken)

        async def talk(seconds: float, into: Counts) -> None:
            until = time.monotonic() + seconds
            async with asyncio.TaskGroup() as group:
                for number in range(options.sessions):
                    document = documents[number % len(documents)]
                    microphone = Microphone(client, spoken[document], collections[document], into, number)
                    group.create_task(microphone.talk(until))

        # Long enough for the caches to fill up to their bounds.
        await talk(options.warm_up * 60.0, Counts())
        await asyncio.sleep(_REST_S)
        before, tasks_before = unshared_bytes(), audio_tasks(metrics_url)
        print(f"  warm: {before.total() / 1e6:.0f} MB, {tasks_before:.0f} tasks", file=sys.stderr)
        _, held = await asyncio.gather(talk(options.minutes * 60.0, counts), _watch(counts, options.minutes, before))
        await asyncio.sleep(_REST_S)
        after, tasks_after = unshared_bytes(), audio_tasks(metrics_url)
    print(f"{options.sessions} sessions at once for {options.minutes:g} minutes: {counts.turns} turns, ", end="")
    print(f"{counts.interrupted} of them after an interruption")
    print(f"answers or questions of another session: {len(counts.mixed_up)} (at most 0)")
    for one in counts.mixed_up[:10]:
        print(f"  {one}")
    print(f"turns that failed: {len(counts.failed)} {sorted(set(counts.failed))[:5]}")
    low, _, high = statistics.quantiles(counts.first_sound_s, n=4)
    median = statistics.median(counts.first_sound_s)
    print(f"first sound after the end of the question: {median:.2f} s ({low:.2f} to {high:.2f})")
    print(f"tasks of the replica that hears: {tasks_before:.0f} before, {tasks_after:.0f} after")
    if third := len(held) // 3:
        of_thirds = [statistics.median(held[at * third : (at + 1) * third]) / 1e6 for at in range(3)]
        print(f"unshared memory, medians of each third: {', '.join(f'{one:.0f} MB' for one in of_thirds)}")
    print(f"unshared memory: {before.total() / 1e6:.0f} MB before, {after.total() / 1e6:.0f} MB after; of which")
    for name, _ in after.most_common():
        print(f"  {name:<24}{before[name] / 1e6:>8.0f}{after[name] / 1e6:>8.0f} MB")


async def _watch(counts: Counts, minutes: float, before: Counter[str]) -> list[int]:
    """Show every minute what happened; return the memory that all processes together held then."""
    held: list[int] = []
    for minute in range(int(minutes)):
        await asyncio.sleep(60)
        line = {
            "minute": minute + 1,
            "turns": counts.turns,
            "failed": len(counts.failed),
            "mixed": len(counts.mixed_up),
        }
        now = unshared_bytes()
        held.append(now.total())
        grown = {name: round((bytes_ - before[name]) / 1e6) for name, bytes_ in now.items()}
        most = sorted(grown, key=lambda name: -abs(grown[name]))[:8]
        told = ", ".join(f"{name} {grown[name]:+d}" for name in most)
        print(f"  {json.dumps(line)} {now.total() / 1e6:.0f} MB: {told}", file=sys.stderr, flush=True)
    return held


@contextmanager
def graph() -> Generator[tuple[str, str]]:
    """Run the shipped graph on servers of its own; give the NATS server's URL and where Ray's metrics are."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nats_url = stack.enter_context(nats_server(folder / "nats", "-js", "-sd", str(folder / "store")))
        milvus_uri = stack.enter_context(milvus_server(folder / "milvus"))
        environment = {
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(REPLICA_SITE))),
            "NATS_URL": nats_url,
            "MILVUS_HOST": milvus_uri,
            "HEARTH_MODELS": str(ModelStore.from_environment().folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            **SERVE_ENVIRONMENT,
        }
        cluster = stack.enter_context(ray_cluster(folder / "ray", environment))
        command = [program("serve"), "deploy", "serve_config.yaml", "--address", cluster.dashboard_url]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **environment}, capture_output=True)
        yield nats_url, cluster.metrics_url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=5.0, help="minutes before memory is looked at (default: 5)")
    parser.add_argument("--sessions", type=int, default=8)
    options = parser.parse_args()
    with graph() as (url, metrics_url):
        asyncio.run(measure(url, metrics_url, options))


if __name__ == "__main__":
    main()
