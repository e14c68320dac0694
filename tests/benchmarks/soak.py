"""Conversations for half an hour: whether answers keep to their sessions, and memory and tasks return.

Virtual microphones talk to the shipped graph, real models and all, at real pace. Each asks the questions of one set of
documents, over and over, hears every answer to its end and pauses; every fifth answer it interrupts; after five turns
it begins anew, as another user. Every message that comes back carries its session, which is checked; so is the text:
the transcript of the question against what was asked, and the chunks of text against the record of the turn. Memory is
that which the processes of the graph share with nobody, tasks are those of the replica that hears, a while after the
warm-up and after the last conversation.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient, connected
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_STREAM, CONVERSATION_TEXT, CONVERSATION_TURN, SPEECH_AUDIO, subject_for
from deployments.values.sound import SPEECH_RATE
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, median, percentile, plain, share
from tests.benchmarks.question_sets import small_questions, some_of
from tests.benchmarks.shipped_client import ingest, spoken, until_ready
from tests.benchmarks.site import ShippedGraph, Site

CHUNK_S = 0.1
_HEARD = (SPEECH_AUDIO, CONVERSATION_TEXT, CONVERSATION_TURN)
_CHUNK_BYTES = int(SPEECH_RATE * CHUNK_S) * 2
_WAIT_S = 90.0
_TURNS = 5
_CUT = "the answer was cut at its limit"
"""How the error of an answer begins that is whole as far as the model was allowed to write it."""
_ALIKE = 0.6
"""Share of letters that a question and its transcript have in common at least, in order."""


@dataclass(frozen=True)
class Options:
    minutes: float = option(30.0, 0.05, "of conversation; what was begun is brought to its end")
    warm_up: float = option(5.0, 0.0, "minutes before memory is looked at")
    rest: float = option(30.0, 0.2, "seconds before memory is looked at")
    pause: float = option(2.0, 0.1, "seconds between a user's turns at most; a quarter of that at least")
    sessions: int = option(8, 1, "at once")
    questions: int = option(50, 1, "that are asked over and over")


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
        self,
        client: HearthClient,
        questions: list[tuple[str, bytes]],
        collection: str,
        counts: Counts,
        seed: int,
        pause_s: float,
    ) -> None:
        self._client = client
        self._questions = questions
        self._collection = collection
        self._counts = counts
        self._random = random.Random(seed)
        self._interrupted_turn = seed % _TURNS
        self._pause_s = pause_s
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
            subjects = [subject_for(row, session_id=self._id) for row in _HEARD]
            subscriptions = [await connection.subscribe(subject, cb=self._heard) for subject in subjects]
            conversation = conversation_pb2.ConversationRequest(collection=self._collection)
            await self._send(type="start", user_id=self._id, conversation=conversation)
            for turn in range(_TURNS):
                if time.monotonic() < until:
                    await self._ask(interrupts=turn == self._interrupted_turn)
            await self._send(type="end")
            await asyncio.sleep(min(1.0, self._pause_s))
            for subscription in subscriptions:
                await subscription.unsubscribe()

    async def _ask(self, *, interrupts: bool) -> None:
        question, pcm = self._random.choice(self._questions)
        self._text, self._first_sound_at = "", 0.0
        self._over.clear()
        self._speaks.clear()
        ended_at = await self._play(pcm)
        await self._until(self._speaks if interrupts else self._over)
        if self._first_sound_at:
            self._counts.first_sound_s.append(self._first_sound_at - ended_at)
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
        self._counts.turns += 1
        self._check(question)
        pause_s = self._random.uniform(self._pause_s / 4, self._pause_s)
        await self._play(bytes(round(pause_s / CHUNK_S) * _CHUNK_BYTES))

    def _check(self, question: str) -> None:
        record = self._record
        # A turn that was reopened holds the question before it, too.
        asked = record.question[-len(question) - 5 :] if record.revision else record.question
        alike = SequenceMatcher(None, question.lower(), asked.lower(), autojunk=False).ratio()
        if record.session_id != self._id or alike < _ALIKE:
            self._counts.mixed_up.append(f"{question!r} was taken for {record.question!r}")
        if failures := [error for error in record.error.split("; ") if error and not error.startswith(_CUT)]:
            self._counts.failed.extend(failures[:1])
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


def audio_tasks(metrics: str) -> float:
    found = [line for line in metrics.splitlines() if re.match(r"ray_hearth_audio_tasks\b", line)]
    return float(found[0].rsplit(" ", 1)[1]) if found else float("nan")


async def measure(graph: ShippedGraph, options: Options) -> list[Figure]:
    counts = Counts()
    questions = some_of(small_questions(), options.questions)
    async with connected(graph.nats_url) as client:
        await until_ready(client)
        collections = await ingest(client, (question.kind for question in questions))
        said: dict[str, list[tuple[str, bytes]]] = {}
        for question in questions:
            said.setdefault(question.kind, []).append((question.text, await spoken(client, question.text)))
        kinds = list(said)

        async def talk(seconds: float, into: Counts) -> None:
            until = time.monotonic() + seconds
            async with asyncio.TaskGroup() as group:
                for at in range(options.sessions):
                    kind = kinds[at % len(kinds)]
                    microphone = Microphone(client, said[kind], collections[kind], into, at, options.pause)
                    group.create_task(microphone.talk(until))

        # Long enough for the caches to fill up to their bounds.
        await talk(options.warm_up * 60.0, Counts())
        await asyncio.sleep(options.rest)
        before, tasks_before = unshared_bytes(), audio_tasks(graph.metrics())
        print(f"  warm: {before.total() / 1e6:.0f} MB, {tasks_before:.0f} tasks", file=sys.stderr)
        _, held = await asyncio.gather(talk(options.minutes * 60.0, counts), _watch(counts, options.minutes, before))
        await asyncio.sleep(options.rest)
        after, tasks_after = unshared_bytes(), audio_tasks(graph.metrics())
    for one in (*counts.mixed_up[:10], *sorted(set(counts.failed))[:5]):
        print(f"  {one}")
    tasks = [
        plain("tasks of the replica that hears: before", tasks_before),
        plain("tasks of the replica that hears: after", tasks_after),
    ]
    return [*of_turns(counts), *tasks, *of_memory(before, after, held)]


def of_turns(counts: Counts) -> list[Figure]:
    return [
        share("turns after an interruption", counts.interrupted, counts.turns),
        share("answers or questions of another session", len(counts.mixed_up), counts.turns, at_most(0)),
        share("turns that failed", len(counts.failed), counts.turns, at_most(0)),
        median("first sound after the end of the question", counts.first_sound_s, "s"),
    ]


def of_memory(before: Counter[str], after: Counter[str], held: Sequence[int]) -> list[Figure]:
    title = "unshared memory"
    found = [
        plain(f"{title}: before", before.total() / 1e6, "MB"),
        plain(f"{title}: after", after.total() / 1e6, "MB"),
    ]
    if third := len(held) // 3:
        for at in range(3):
            of_third = percentile(held[at * third : (at + 1) * third], 50) or 0.0
            found.append(plain(f"{title}: median of third {at + 1}", of_third / 1e6, "MB"))
    for name, _ in after.most_common():
        found.append(plain(f"{title} of {name}: grown", (after[name] - before[name]) / 1e6, "MB"))
    return found


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


def run(options: Options, site: Site) -> list[Figure]:
    with site.shipped_graph() as graph:
        return asyncio.run(measure(graph, options))


BENCHMARK = Benchmark("soak", __doc__, takes="forty minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
