"""How soon an answer is heard, and what is left of one that is interrupted.

The real graph, voice activity and all, in front of models that cost nothing and take the time that they are told to
(`timed_models`).

* First sound of an answer of three sentences (100 ms to the first token, 20 ms a token, 150 ms a sentence): as a
  conversation, against one step after the other (the final transcript is asked in writing, the whole answer is then
  spoken), and against the floor, the same waiting in a bare loop. From the "end" behind the last sample to the first
  TTSAudioChunk, or the TTSFullResponse, at the client.
* The same with models that take no time: what the graph itself adds, where the question ends with its last audible
  sample, and where the silence behind it was heard, as that of every turn is that ends by itself; and what pipecat
  adds, from one frame of sound at the client of its WebSocket server to the first that comes back, with the same answer
  and voice, without voice activity (in an environment of its own, see `peers/pipecat_websocket.txt`).
* A thousand interruptions with a hundred sessions at once: chunks of the interrupted answer behind STTInterrupt. One
  subscriber sees all messages in order.
* Two hundred interruptions: words that are remembered and were not played, plus those that were played and are not
  remembered. The client plays by its own clock and says what it has played, or says nothing; what was played is told by
  that clock and the synthesiser's own times. A word counts as played from its middle on.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import count
from typing import Any
from uuid import uuid4

import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_STREAM, SPEECH_AUDIO, SPEECH_REQUEST, subject_for
from deployments.values.sound import samples_of
from tests.benchmarks.barge_in import AUDIBLE, sounds, until_ready
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_least, at_most, milliseconds, plain, ratio, share
from tests.benchmarks.peer import Peer, peer_process, peer_python
from tests.benchmarks.site import Site
from tests.benchmarks.stand_in_graph import Side
from tests.benchmarks.timed_models import QUESTION, WORD_S
from tests.benchmarks.timed_models import RATE as VOICE_RATE
from tests.conversation.script import CHUNK_S, RATE
from tests.nats_client import nats_connected
from tests.servers import free_port

ANSWER = (
    "The library opens at nine on weekdays. On Saturdays it opens at eleven and closes at four in the afternoon. "
    "It stays closed on all Sundays, on public holidays and in the first week of August."
)
FIRST_S, TOKEN_S, SPEAK_S = 0.1, 0.02, 0.15
LONG_ANSWER = " ".join(f"This is sentence number {at} of a long story that goes on and on." for at in range(12))
_WAIT_S = 60.0
_CHUNK_BYTES = 2 * int(RATE * CHUNK_S)
_LONG_CHUNK_S = 0.1
"""For a hundred sessions at once: with shorter ones, the client of them all would be what is measured."""
_REPORT_EVERY = 5


@dataclass(frozen=True)
class Options:
    uncounted: int = option(1, 0, "rounds of the first sound before all others, which find nothing warm")
    rounds: int = option(15, 1, "of the first sound that count")
    memories: int = option(200, 2, "interruptions whose memory is looked at")
    trials: int = option(1000, 0, "further interruptions, of which late chunks alone are looked at")
    at_once: int = option(100, 0, "sessions there")
    latest: float = option(6.0, 2.0, "seconds of an answer that are played before its interruption, from 2 on")
    seed: int = option(0, 0, "of all that is random")
    peer: bool = option(True, False, "whether to ask pipecat, too")


@dataclass
class Told:
    """What the models of one question are told."""

    first_s: float = 0.0
    token_s: float = 0.0
    speak_s: float = 0.0
    answer: str = ANSWER

    def system_prompt(self) -> str:
        return json.dumps({"first_s": self.first_s, "token_s": self.token_s, "answer": self.answer})

    def request(self) -> conversation_pb2.ConversationRequest:
        return conversation_pb2.ConversationRequest(
            system_prompt=self.system_prompt(), voice=str(self.speak_s), without_documents=True
        )

    def floor_s(self) -> float:
        """Return when the first sentence can be heard at the earliest."""
        tokens = len(self.answer.split(".")[0].split())
        return self.first_s + tokens * self.token_s + self.speak_s


@dataclass
class Talk:
    """What came back in one session.

    Attributes:
        first_sound_at: When the first sound was there.
        begins_at: When the playing of the answer began, by the client's own clock.
        words: The words of the answer, with the times at which they end, in seconds from its beginning.
        interrupted_at: When the client was told of the interruption.
        chunks: Of the first answer, before its interruption.
        stale: Of the first answer, after it.
        record: Of its first turn.
    """

    first_sound_at: float = 0.0
    begins_at: float = 0.0
    seconds: float = 0.0
    words: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    interrupted_at: float = 0.0
    chunks: int = 0
    stale: int = 0
    record: conversation_pb2.TurnRecord | None = None
    final: asyncio.Event = field(default_factory=asyncio.Event)
    has_sound: asyncio.Event = field(default_factory=asyncio.Event)
    was_interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    def played_s(self, now: float) -> float:
        return min(max(0.0, now - self.begins_at), self.seconds) if self.begins_at else 0.0


class Clients:
    """Clients of many sessions on one connection, with one subscriber for all that comes back."""

    def __init__(self, client: Client, spoken: Sequence[bytes], options: Options) -> None:
        self._client = client
        self._spoken = spoken
        self._cut_off = up_to_its_last_sound(spoken[0])
        self._random = random.Random(options.seed)
        self._latest_s = options.latest
        self.talks: dict[str, Talk] = {}

    async def subscribe(self) -> None:
        await self._client.subscribe("ai.voice.>", cb=self._heard)
        await self._client.subscribe("hearth.conversation.turn.*", cb=self._heard)

    async def _heard(self, message: Msg) -> None:
        talk = self.talks.get(message.subject.rsplit(".", 1)[-1])
        if talk is None:
            return
        subject, data = message.subject, message.data
        if subject.startswith("ai.voice.transcription."):
            self._transcribed(talk, data)
        elif subject.startswith("ai.voice.tts.audio."):
            self._spoke(talk, messages_pb2.TTSAudioChunk.FromString(data))
        elif subject.startswith("hearth.conversation.turn.") and talk.record is None:
            talk.record = conversation_pb2.TurnRecord.FromString(data)
            talk.is_over.set()

    def _transcribed(self, talk: Talk, data: bytes) -> None:
        if messages_pb2.STTInterrupt.FromString(data).type == "interrupt":
            talk.interrupted_at = talk.interrupted_at or time.monotonic()
            talk.was_interrupted.set()
        elif messages_pb2.STTTranscription.FromString(data).is_final:
            talk.final.set()

    def _spoke(self, talk: Talk, chunk: messages_pb2.TTSAudioChunk) -> None:
        if chunk.turn > 1:
            return
        if talk.interrupted_at:
            talk.stale += 1
            return
        talk.chunks += 1
        now = time.monotonic()
        pcm = len(chunk.audio) - (0 if chunk.chunk_index else 44)
        if pcm > 0:
            talk.first_sound_at = talk.first_sound_at or now
            talk.begins_at = talk.begins_at or now
            talk.words += [(word.word, talk.seconds + word.end_ms / 1000) for word in chunk.words]
            talk.seconds += pcm / 2 / chunk.sample_rate
            talk.has_sound.set()

    async def ask(self, told: Told | None, pcm: bytes) -> tuple[str, Talk, float]:
        """Ask something in a new session; return its id, what comes back, and when the question's "end" was sent."""
        session_id = uuid4().hex
        talk = self.talks[session_id] = Talk()
        await self._send(session_id, type="start", conversation=told.request() if told else None)
        await self._send(session_id, type="chunk", audio=pcm[:-_CHUNK_BYTES])
        # So that all but the last of it was listened to.
        await asyncio.sleep(0.25)
        sent_at = time.monotonic()
        await self._send(session_id, type="chunk", audio=pcm[-_CHUNK_BYTES:])
        await self._send(session_id, type="end")
        return session_id, talk, sent_at

    async def first_sound(self, told: Told, *, pauses: bool = False) -> float:
        """Return the seconds to the first sound of an answer.

        Args:
            told: What the models are told.
            pauses: Whether the silence behind the question is heard before its end.
        """
        _, talk, sent_at = await self.ask(told, self._spoken[0] if pauses else self._cut_off)
        await asyncio.wait_for(talk.has_sound.wait(), _WAIT_S)
        return talk.first_sound_at - sent_at

    async def one_after_the_other(self, told: Told, hearth: HearthClient) -> float:
        """Return the seconds to the first sound when every step waits for the one before."""
        _, talk, sent_at = await self.ask(None, self._cut_off)
        await asyncio.wait_for(talk.final.wait(), _WAIT_S)
        request = messages_pb2.ChatRequest(message=QUESTION, system_prompt=told.system_prompt())
        text = ""
        async with aclosing(hearth.ask(request, _WAIT_S)) as items:
            async for item in items:
                if isinstance(item, messages_pb2.ChatResponse):
                    text = item.response
        said: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        session_id = uuid4().hex

        async def heard(message: Msg) -> None:
            del message
            said.set_result(time.monotonic())

        subscription = await self._client.subscribe(subject_for(SPEECH_AUDIO, session_id=session_id), cb=heard)
        speech = messages_pb2.TTSRequest(text=text, speaker=str(told.speak_s))
        await self._client.publish(subject_for(SPEECH_REQUEST, session_id=session_id), speech.SerializeToString())
        at = await asyncio.wait_for(said, _WAIT_S)
        await subscription.unsubscribe()
        return at - sent_at

    async def interrupt(self, number: int, *, reports: bool, chunk_s: float = CHUNK_S) -> Talk:
        """Ask something, and speak into the answer at a random time of its playing; return what came back."""
        session_id = uuid4().hex
        talk = self.talks[session_id] = Talk()
        told = Told(0.02, 0.005, 0.01, LONG_ANSWER)
        # Behind the time in which speech would go on with the question.
        lead_s = self._random.uniform(2.0, self._latest_s)
        question, interruption = self._spoken[0], self._spoken[number % len(self._spoken)]
        await self._send(session_id, type="start", conversation=told.request())
        await self._play(session_id, talk, question, talk.has_sound, chunk_s, reports=reports)
        until = asyncio.Event()
        asyncio.get_running_loop().call_later(lead_s, until.set)
        await self._play(session_id, talk, b"", until, chunk_s, reports=reports)
        await self._play(session_id, talk, interruption, talk.was_interrupted, chunk_s, reports=reports)
        if reports and talk.interrupted_at:
            await self._report(session_id, talk, talk.interrupted_at)
        await asyncio.wait_for(talk.is_over.wait(), _WAIT_S)
        await asyncio.sleep(0.3)
        await self._send(session_id, type="end")
        return talk

    async def _play(
        self, session_id: str, talk: Talk, pcm: bytes, until: asyncio.Event, chunk_s: float, *, reports: bool
    ) -> None:
        """Send sound at its pace, then silence, until an event, or the end of the answer."""
        began, at, size = time.monotonic(), 0, 2 * int(RATE * chunk_s)
        while not (until.is_set() or talk.is_over.is_set()):
            piece = pcm[at : at + size]
            at += size
            await asyncio.sleep(max(0.0, began + at / 2 / RATE - time.monotonic()))
            await self._send(session_id, type="chunk", audio=piece + bytes(size - len(piece)))
            if reports and talk.begins_at and at // size % _REPORT_EVERY == 0:
                await self._report(session_id, talk, time.monotonic())
            if time.monotonic() - began > _WAIT_S:
                raise TimeoutError(f"session {session_id}: nothing came")

    async def _report(self, session_id: str, talk: Talk, now: float) -> None:
        milliseconds = round(talk.played_s(now) * 1000)
        played = conversation_pb2.PlaybackReport(turn=1, milliseconds=milliseconds)
        await self._send(session_id, type="chunk", played=played)

    async def _send(self, session_id: str, **fields: Any) -> None:
        message = messages_pb2.STTStreamMessage(**fields)
        await self._client.publish(subject_for(AUDIO_STREAM, session_id=session_id), message.SerializeToString())


def up_to_its_last_sound(pcm: bytes) -> bytes:
    return pcm[: 2 * (int(np.flatnonzero(np.abs(samples_of(pcm)) > AUDIBLE)[-1]) + 1)]


def words_apart(talk: Talk) -> int:
    """Return how many words were played or remembered, but not both."""
    played_s = talk.played_s(talk.interrupted_at)
    played = [word for word, end_s in talk.words if end_s - WORD_S / 2 <= played_s]
    remembered = talk.record.heard.split() if talk.record else []
    same = sum(block.size for block in SequenceMatcher(None, played, remembered, autojunk=False).get_matching_blocks())
    return len(played) + len(remembered) - 2 * same


@contextmanager
def peer() -> Generator[Peer]:
    """Run pipecat's WebSocket server; give the client of it, which answers everything with the first sound."""
    port = free_port()
    server = {"port": port, "question": QUESTION, "answer": ANSWER, "rate": VOICE_RATE, "word_s": WORD_S}
    client = {"url": f"ws://127.0.0.1:{port}", "seconds": len(ANSWER.split()) * WORD_S}
    with ExitStack() as running:
        python = running.enter_context(peer_python("pipecat_websocket.txt"))
        running.enter_context(peer_process(python, "pipecat_websocket.py", "server", json.dumps(server)))
        yield running.enter_context(peer_process(python, "pipecat_websocket.py", "client", json.dumps(client)))


@dataclass(frozen=True)
class FirstSounds:
    """Seconds to the first sound, a value for each round.

    Attributes:
        sequential: One step after the other.
        overlapped: The same as a conversation.
        alone: A conversation with models that take no time, the question cut off at its last sound.
        paused: The same where the silence behind the question was heard.
        of_peer: Of pipecat; empty where it was not asked.
    """

    sequential: list[float] = field(default_factory=list[float])
    overlapped: list[float] = field(default_factory=list[float])
    alone: list[float] = field(default_factory=list[float])
    paused: list[float] = field(default_factory=list[float])
    of_peer: list[float] = field(default_factory=list[float])

    def figures(self, floor_s: float) -> list[Figure]:
        floor = f"as a conversation, to the floor of {floor_s * 1000:.0f} ms"
        found = [
            milliseconds("first sound of three sentences, one step after the other", self.sequential),
            milliseconds("first sound of three sentences, as a conversation", self.overlapped),
            ratio("sooner as a conversation, times", self.sequential, self.overlapped, at_least(3)),
            ratio(floor, self.overlapped, [floor_s] * len(self.overlapped), at_most(1.1)),
            milliseconds("added by the graph, question cut off at its last sound", self.alone),
            milliseconds("added by the graph, silence behind the question heard", self.paused),
        ]
        if self.of_peer:
            found += [
                milliseconds("added by pipecat", self.of_peer),
                ratio("added to pipecat's, question cut off", self.alone, self.of_peer, at_most(2)),
                ratio("added to pipecat's, silence heard", self.paused, self.of_peer, at_most(2)),
            ]
        return found


async def first_sounds(
    clients: Clients, hearth: HearthClient, peer_client: Peer | None, options: Options
) -> list[Figure]:
    """Return how soon answers are heard."""
    timed = Told(FIRST_S, TOKEN_S, SPEAK_S)
    found = FirstSounds()
    for at in range(options.uncounted + options.rounds):
        into = found if at >= options.uncounted else FirstSounds()
        into.overlapped.append(await clients.first_sound(timed))
        into.sequential.append(await clients.one_after_the_other(timed, hearth))
        into.alone.append(await clients.first_sound(Told()))
        into.paused.append(await clients.first_sound(Told(), pauses=True))
        if peer_client is not None:
            into.of_peer.append((await peer_client.ask(""))["first_sound_s"])
    return found.figures(timed.floor_s())


async def interruptions(clients: Clients, trials: int, at_once: int) -> list[Talk]:
    """Interrupt answers, so many sessions at once, until there are enough interruptions.

    An answer can be over before it is interrupted, where the machine does not carry the sessions.
    """
    numbers = count()
    talks: list[Talk] = []

    async def work() -> None:
        while sum(bool(talk.interrupted_at) for talk in talks) < trials:
            at = next(numbers)
            talks.append(await clients.interrupt(at, reports=at % 2 == 0, chunk_s=_LONG_CHUNK_S))
            if len(talks) % 100 == 0:
                print(f"  {len(talks)} answers", file=sys.stderr)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return talks


async def memories(clients: Clients, trials: int) -> Mapping[str, list[Talk]]:
    """Interrupt answers, and return what came back: of sessions whose client says what it played, and of others."""
    talks: dict[str, list[Talk]] = {"client": [], "pace": []}
    numbers = iter(range(trials))

    async def work() -> None:
        for at in numbers:
            talks["pace" if at % 2 else "client"].append(await clients.interrupt(at, reports=at % 2 == 0))

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(work())
    return talks


async def measure(url: str, options: Options) -> list[Figure]:
    spoken = list((await sounds()).values())
    connection = await nats_connected(url)
    async with connection:
        await until_ready(connection)
        clients = Clients(connection, spoken, options)
        await clients.subscribe()
        await asyncio.sleep(1.0)
        with ExitStack() as running:
            peer_client = running.enter_context(peer()) if options.peer else None
            figures = await first_sounds(clients, HearthClient(connection, url), peer_client, options)
        remembered = await memories(clients, options.memories)
        for told_by, talks in remembered.items():
            figures += _of_memory(told_by, [words_apart(talk) for talk in talks if talk.interrupted_at])
        further = await interruptions(clients, options.trials, options.at_once)
    return [*figures, *_of_interruptions([talk for talks in (*remembered.values(), further) for talk in talks])]


def _of_memory(told_by: str, apart: Sequence[int]) -> list[Figure]:
    title = f"memory and playing, as told by the {told_by}, differ by"
    return [
        share(f"{title} one word at most", sum(words <= 1 for words in apart), len(apart), at_least(95)),
        share(f"{title} no word", sum(not words for words in apart), len(apart)),
        plain(f"{title} so many words at most", max(apart, default=0)),
    ]


def _of_interruptions(talks: Sequence[Talk]) -> list[Figure]:
    stale, chunks = sum(talk.stale for talk in talks), sum(talk.chunks for talk in talks)
    interrupted = sum(bool(talk.interrupted_at) for talk in talks)
    outcomes = Counter(talk.record.outcome if talk.record else "none" for talk in talks)
    return [
        share("answers that were interrupted", interrupted, len(talks)),
        share("chunks behind their interruption, of all of them", stale, stale + chunks, at_most(0)),
        *(share(f"turns that were {outcome}", of_them, len(talks)) for outcome, of_them in sorted(outcomes.items())),
    ]


def run(options: Options, site: Site) -> list[Figure]:
    with site.stand_in_graph({Side.LIVE}) as graph:
        return asyncio.run(measure(graph.nats_url(Side.LIVE), options))


BENCHMARK = Benchmark(
    "conversations", __doc__, takes="ten minutes", needs=(Need.MODELS, Need.PEER), options=Options, run=run
)

if __name__ == "__main__":
    BENCHMARK.main()
