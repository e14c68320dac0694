"""Spoken questions, spoken answers: whether the fact is heard, and how soon.

    uv run python -m tests.benchmarks.spoken_answers

The shipped graph answers the questions of `questions.tsv` three times, in turn and each time another question, so that
none finds its passages read by the time before, over NATS and at the pace of a microphone:

* in writing;
* one step after the other: the question is transcribed live, the final transcript is asked in writing, and the whole
  answer is then spoken;
* as a conversation: prepared while it is being asked, spoken while it is being written.

Questions are spoken by one voice; what was heard of the spoken answers is transcribed by a Whisper in this process, not
by the graph's. A fact is looked for in the writing and in that transcript by the same rule, `spoken_facts`. Times count
from the last sample of speech, known from the sound, to the first sound of the answer at the client; when the turn had
ended is taken from its record.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soxr
from google.protobuf.json_format import MessageToDict
from nats.aio.msg import Msg

from bridges.command_line.client import HearthClient, connected, decoded
from bridges.command_line.files.ingesting import IngestOptions, IngestSummary, Unobserved, ingest_files
from bridges.command_line.local.local_stack import LocalStack
from bridges.command_line.main import SAMPLES
from bridges.command_line.sound.saying import say, sound_of, unheard
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import (
    AUDIO_STREAM,
    CONVERSATION_TURN,
    SPEECH_AUDIO,
    TRANSCRIPTION,
    subject_for,
)
from deployments.call import Call
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.errors import UnavailableError
from deployments.models.store import ModelStore
from deployments.values.sound import SPEECH_RATE, samples_of
from deployments.values.speech import TranscriptQuality
from tests.benchmarks.question_sets import DOCUMENTS, SMALL
from tests.benchmarks.spoken_facts import fact_holds

CHUNK_S = 0.04
AUDIBLE = 0.02
_WAIT_S = 60.0
_READY_S = 240.0
_LONGEST_HEARD_S = 28.0


@dataclass
class Asked:
    """What became of one question."""

    question: str
    fact: str
    written: str = ""
    heard_question: str = ""
    spoken: str = ""
    heard_answer: str = ""
    sequential_s: float = 0.0
    sequential_wait_s: float = 0.0
    overlapped_s: float = 0.0
    overlapped_wait_s: float = 0.0
    turn_ended_s: float = 0.0
    transcribing_s: float = 0.0
    decisions: dict[str, str] = field(default_factory=dict[str, str])
    stages: list[dict[str, object]] = field(default_factory=list[dict[str, object]])


@contextmanager
def stack() -> Generator[str]:
    """Run the shipped graph beside whatever runs; give its NATS server's URL."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEARTH_STATE"] = folder
        local = LocalStack()
        state = local.start(lambda _: None)
        try:
            local.deploy(state, lambda _: None)
            yield state.nats_url
        finally:
            local.stop(lambda _: None)


class Session:
    """One live session of one question."""

    def __init__(self, client: HearthClient, session_id: str) -> None:
        self._client = client
        self.id = session_id
        self.final = asyncio.Event()
        self.transcript = ""
        self.final_at = 0.0
        self.first_sound_at = 0.0
        self.sound = bytearray()
        self.rate = 0
        self.is_last = asyncio.Event()
        self.record = asyncio.Event()
        self.turn = conversation_pb2.TurnRecord()

    async def listen(self) -> list[object]:
        connection = self._client.connection
        return [
            await connection.subscribe(subject_for(TRANSCRIPTION, session_id=self.id), cb=self._transcribed),
            await connection.subscribe(subject_for(SPEECH_AUDIO, session_id=self.id), cb=self._spoke),
            await connection.subscribe(subject_for(CONVERSATION_TURN, session_id=self.id), cb=self._turn_over),
        ]

    async def _transcribed(self, message: Msg) -> None:
        transcript = decoded(messages_pb2.STTTranscription, message)
        if transcript.is_final:
            self.transcript, self.final_at = transcript.transcript, time.monotonic()
            self.final.set()

    async def _spoke(self, message: Msg) -> None:
        chunk = decoded(messages_pb2.TTSAudioChunk, message)
        pcm = sound_of(chunk)
        if pcm:
            self.first_sound_at = self.first_sound_at or time.monotonic()
            self.rate = chunk.sample_rate
        self.sound += pcm
        if chunk.is_last:
            self.is_last.set()

    async def _turn_over(self, message: Msg) -> None:
        self.turn = decoded(conversation_pb2.TurnRecord, message)
        self.record.set()

    async def speak(self, pcm: bytes, until: asyncio.Event, **start: object) -> float:
        """Say something into the session at its pace, then silence until an event; return when speech ended."""
        await self._send(type="start", **start)
        size = int(SPEECH_RATE * CHUNK_S) * 2
        audible = np.flatnonzero(np.abs(samples_of(pcm)) > AUDIBLE)
        began, at = time.monotonic(), 0
        ended_at = began + (int(audible[-1]) + 1) / SPEECH_RATE
        while not until.is_set():
            piece = pcm[at : at + size]
            at += size
            await asyncio.sleep(max(0.0, began + at / 2 / SPEECH_RATE - time.monotonic()))
            await self._send(type="chunk", audio=piece + bytes(size - len(piece)))
            if time.monotonic() - ended_at > _WAIT_S:
                raise TimeoutError(f"session {self.id}: nothing came")
        return ended_at

    async def end(self) -> None:
        await self._send(type="end")

    async def _send(self, **fields: object) -> None:
        message = messages_pb2.STTStreamMessage(**fields)  # pyright: ignore[reportArgumentType]
        await self._client.connection.publish(
            subject_for(AUDIO_STREAM, session_id=self.id), message.SerializeToString()
        )


async def written(client: HearthClient, question: str, collection: str) -> messages_pb2.ChatResponse:
    request = messages_pb2.ChatRequest(message=question, enable_rag=True, enable_reranker=True, collection=collection)
    async with aclosing(client.ask(request, _WAIT_S)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatResponse):
                return item
    raise UnavailableError("no answer")


async def one_after_the_other(client: HearthClient, asked: Asked, pcm: bytes, collection: str, name: str) -> None:
    session = Session(client, name)
    await session.listen()
    ended_at = await session.speak(pcm, session.final)
    await session.end()
    answer = await written(client, session.transcript, collection)
    said = await say(client, messages_pb2.TTSRequest(text=answer.response), _WAIT_S, unheard)
    asked.sequential_s = time.monotonic() - ended_at
    asked.sequential_wait_s = session.final_at - ended_at
    del said


async def conversation(session: Session, asked: Asked, pcm: bytes, collection: str) -> None:
    await session.listen()
    request = conversation_pb2.ConversationRequest(collection=collection)
    ended_at = await session.speak(pcm, session.is_last, conversation=request)
    ended_unix_s = time.time() - time.monotonic() + ended_at
    asked.overlapped_s = session.first_sound_at - ended_at
    asked.overlapped_wait_s = session.final_at - ended_at
    await session.end()
    await asyncio.wait_for(session.record.wait(), _WAIT_S)
    asked.heard_question, asked.spoken = session.transcript, session.turn.answer
    asked.decisions = dict(session.turn.decisions)
    stages = {stage.name: stage for stage in session.turn.stages}
    asked.stages = [MessageToDict(stage, always_print_fields_with_no_presence=True) for stage in session.turn.stages]
    # The stages count from where voice activity heard the speech end, which is later than it did.
    heard_late_s = session.turn.speech_ended_at_ms / 1000 - ended_unix_s
    asked.turn_ended_s = heard_late_s + stages["wait for more"].end_ms / 1000
    asked.transcribing_s = (stages["transcribe"].end_ms - stages["transcribe"].start_ms) / 1000


async def heard(engine: WhisperEngine, pcm: bytes, rate: int) -> str:
    """Return what the Whisper of this process hears."""
    samples = soxr.resample(samples_of(pcm), rate, SPEECH_RATE)
    size = int(_LONGEST_HEARD_S * SPEECH_RATE)
    parts = [samples[at : at + size] for at in range(0, len(samples), size)]
    texts = [
        (await engine.transcribe(Call.within(_WAIT_S), part, "en", TranscriptQuality.FINAL)).text for part in parts
    ]
    return " ".join(texts)


async def measure(url: str, limit: int, voice: str, *, answers_only: bool) -> list[Asked]:
    """Ask in all ways, a third of the questions apart: a way finds nothing read by the way before it."""
    whisper = WhisperEngine(ModelStore.from_environment().locate("whisper-base", "speech-to-text"), None)
    rows = [line.split("\t") for line in SMALL.read_text().splitlines()]
    rows = rows[:: max(1, len(rows) // limit)][:limit]
    results = [Asked(question, fact) for _, question, fact in rows]
    async with connected(url) as client:
        await until_ready(client)
        collections = await ingest(client)
        sounds = [await spoken_question(client, asked.question, voice) for asked in results]
        count = len(rows)
        for number, pcm in enumerate(sounds):
            asked, collection = results[number], collections[rows[number][0]]
            session = Session(client, f"overlapped-{number}-{os.getpid()}")
            await conversation(session, asked, pcm, collection)
            asked.heard_answer = await heard(whisper, bytes(session.sound), session.rate)
            later = (number + count // 3) % count
            if not answers_only:
                name = f"sequential-{later}-{os.getpid()}"
                await one_after_the_other(client, results[later], sounds[later], collections[rows[later][0]], name)
            later = (number + 2 * count // 3) % count
            results[later].written = (
                await written(client, results[later].question, collections[rows[later][0]])
            ).response
            print(f"  {asked.overlapped_s * 1000:5.0f} ms  {asked.heard_question}", file=sys.stderr)
    return results


async def spoken_question(client: HearthClient, question: str, voice: str) -> bytes:
    said = await say(client, messages_pb2.TTSRequest(text=question, speaker=voice), _WAIT_S, unheard)
    return at_speech_rate(said.pcm, said.rate)


def at_speech_rate(pcm: bytes, rate: int) -> bytes:
    return (soxr.resample(samples_of(pcm), rate, SPEECH_RATE) * 32_767).astype("<i2").tobytes()


async def until_ready(client: HearthClient) -> None:
    """Return once the graph answers and speaks; it cannot be waited for but by asking."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        try:
            if (await client.status(5)).ready and await client.voices(5):
                return
        except UnavailableError as error:
            print(f"waiting: {error}", file=sys.stderr)
        await asyncio.sleep(0.5)
    raise UnavailableError(f"the graph did not get ready within {_READY_S:g} s")


async def ingest(client: HearthClient) -> dict[str, str]:
    """Ingest each document into a collection of its own; return the collections by document."""
    collections: dict[str, str] = {}
    for name, files, base in (
        *((file.name, [file], DOCUMENTS) for file in sorted(DOCUMENTS.iterdir())),
        ("house", sorted(SAMPLES.iterdir()), SAMPLES),
    ):
        collections[name] = f"spoken_{name.replace('.', '_')}"
        summary = IngestSummary()
        await ingest_files(client, files, IngestOptions(collections[name], _WAIT_S, base), summary, Unobserved())
        assert not summary.failed, summary.failed
    return collections


def show(results: list[Asked]) -> None:
    held = [asked for asked in results if fact_holds(asked.written, asked.fact)]
    audible = [asked for asked in held if fact_holds(asked.heard_answer, asked.fact)]
    for asked in held:
        if asked not in audible:
            print(f"not heard: {asked.fact!r} of {asked.question!r}, asked as {asked.heard_question!r}")
            print(f"    written {asked.written!r}\n    heard   {asked.heard_answer!r}")
    share = 100 * len(audible) / max(1, len(held))
    print(f"written answers that hold the fact: {len(held)} of {len(results)}")
    print(f"of these, spoken answers in which it is heard: {len(audible)}, {share:.0f} % (at least 90 %)")
    if not all(asked.sequential_s for asked in results):
        return
    for name, values in (
        ("first sound after the end of speech, one after the other", [asked.sequential_s for asked in results]),
        ("first sound after the end of speech, overlapped", [asked.overlapped_s for asked in results]),
        ("until the final transcript, one after the other", [asked.sequential_wait_s for asked in results]),
        ("until the final transcript, overlapped", [asked.overlapped_wait_s for asked in results]),
    ):
        quartiles = statistics.quantiles(values, n=4)
        print(f"{name:<60}{statistics.median(values):6.2f} s  ({quartiles[0]:.2f} to {quartiles[2]:.2f})")
    ratio = statistics.median(asked.overlapped_s / asked.sequential_s for asked in results)
    work = statistics.median(
        (asked.overlapped_s - asked.overlapped_wait_s) / (asked.sequential_s - asked.sequential_wait_s)
        for asked in results
    )
    print(f"overlapped to one after the other, median of ratios: {ratio:.2f}; behind the transcript: {work:.2f}")
    # The models one after the other: transcribing, then all that comes behind the transcript.
    models = [asked.transcribing_s + asked.sequential_s - asked.sequential_wait_s for asked in results]
    shares = [
        (asked.overlapped_s - asked.turn_ended_s) / one_by_one
        for asked, one_by_one in zip(results, models, strict=True)
    ]
    print(
        f"models one after the other, without the wait for the end of the turn: {statistics.median(models):.2f} s; ",
        end="",
    )
    print(f"overlapped to that: {statistics.median(shares):.2f} (at most 0.5)")
    read = sum(int(asked.decisions.get("prepared_tokens", 0)) for asked in results)
    wasted = sum(int(asked.decisions.get("wasted_tokens", 0)) for asked in results)
    begun, in_vain = (
        sum(int(asked.decisions.get(name, 0)) for asked in results) for name in ("answers_ahead", "answers_in_vain")
    )
    uses = [asked.decisions.get("preparation", "none") for asked in results]
    kinds = ", ".join(f"{kind} {uses.count(kind)}" for kind in sorted(set(uses)))
    share = 100 * wasted / max(1, read)
    print(f"prompt tokens read ahead: {read}, in vain {wasted} ({share:.0f} %); preparations: {kinds}")
    print(
        f"answers begun before the end of the turn: {begun}, in vain {in_vain} ({100 * in_vain / max(1, begun):.0f} %)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=50, help="how many")
    parser.add_argument("--nats", help="a graph that runs; else one of its own is brought up")
    parser.add_argument("--voice", default="", help="that asks")
    parser.add_argument("--answers-only", action="store_true", help="leave out what is done one step after the other")
    parser.add_argument("--json", type=Path, help="write what became of each question to this file")
    options = parser.parse_args()
    if options.nats:
        results = asyncio.run(
            measure(options.nats, options.questions, options.voice, answers_only=options.answers_only)
        )
    else:
        with stack() as url:
            results = asyncio.run(measure(url, options.questions, options.voice, answers_only=options.answers_only))
    if options.json:
        options.json.write_text(json.dumps([asdict(asked) for asked in results], indent=1))
    show(results)


if __name__ == "__main__":
    main()
