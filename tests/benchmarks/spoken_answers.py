"""Spoken questions, spoken answers: whether the fact is heard, and how soon.

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

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import soxr

from bridges.command_line.client import HearthClient, connected
from bridges.command_line.sound.saying import say, unheard
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.call import Call
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.errors import UnavailableError
from deployments.models.store import ModelStore
from deployments.values.sound import SPEECH_RATE, samples_of
from deployments.values.speech import TranscriptQuality
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_least, at_most, median, ratio, share
from tests.benchmarks.question_sets import small_questions, some_of
from tests.benchmarks.shipped import whisper
from tests.benchmarks.shipped_client import Session, ingest, spoken, until_ready
from tests.benchmarks.site import Site
from tests.benchmarks.spoken_facts import fact_holds

_WAIT_S = 60.0
_LONGEST_HEARD_S = 28.0


@dataclass(frozen=True)
class Options:
    questions: int = option(50, 1, "how many")
    voice: str = option("", "", "that asks; empty: the shipped one")


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
    await say(client, messages_pb2.TTSRequest(text=answer.response), _WAIT_S, unheard)
    asked.sequential_s = time.monotonic() - ended_at
    asked.sequential_wait_s = session.final_at - ended_at


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
    # The stages count from where voice activity heard the speech end, which is later than it did.
    heard_late_s = session.turn.speech_ended_at_ms / 1000 - ended_unix_s
    asked.turn_ended_s = heard_late_s + stages["wait for more"].end_ms / 1000
    asked.transcribing_s = (stages["transcribe"].end_ms - stages["transcribe"].start_ms) / 1000


async def measure(url: str, options: Options) -> list[Figure]:
    """Ask in all ways, a third of the questions apart: a way finds nothing read by the way before it."""
    engine = whisper(ModelStore.from_environment(), partial=False)
    questions = some_of(small_questions(), options.questions)
    results = [Asked(question.text, question.fact.pattern) for question in questions]
    async with connected(url) as client:
        await until_ready(client)
        collections = await ingest(client, (question.kind for question in questions))
        sounds = [await spoken(client, asked.question, options.voice) for asked in results]
        count = len(questions)
        for at, pcm in enumerate(sounds):
            asked, collection = results[at], collections[questions[at].kind]
            session = Session(client, f"overlapped-{at}-{os.getpid()}")
            await conversation(session, asked, pcm, collection)
            asked.heard_answer = await heard(engine, bytes(session.sound), session.rate)
            later = (at + count // 3) % count
            name = f"sequential-{later}-{os.getpid()}"
            later_collection = collections[questions[later].kind]
            await one_after_the_other(client, results[later], sounds[later], later_collection, name)
            later = (at + 2 * count // 3) % count
            later_collection = collections[questions[later].kind]
            results[later].written = (await written(client, results[later].question, later_collection)).response
            print(f"  {asked.overlapped_s * 1000:5.0f} ms  {asked.heard_question}", file=sys.stderr)
    await engine.close()
    return [*of_facts(results), *of_times(results), *of_decisions(results)]


def of_facts(results: Sequence[Asked]) -> list[Figure]:
    held = [asked for asked in results if fact_holds(asked.written, asked.fact)]
    audible = [asked for asked in held if fact_holds(asked.heard_answer, asked.fact)]
    for asked in held:
        if asked not in audible:
            print(f"not heard: {asked.fact!r} of {asked.question!r}, asked as {asked.heard_question!r}")
            print(f"    written {asked.written!r}\n    heard   {asked.heard_answer!r}")
    return [
        share("written answers that hold the fact", len(held), len(results)),
        share("of these, spoken answers in which it is heard", len(audible), len(held), at_least(90)),
    ]


def of_times(results: Sequence[Asked]) -> list[Figure]:
    sequential, overlapped = [asked.sequential_s for asked in results], [asked.overlapped_s for asked in results]
    work = [asked.sequential_s - asked.sequential_wait_s for asked in results]
    overlapped_work = [asked.overlapped_s - asked.overlapped_wait_s for asked in results]
    # The models one after the other: transcribing, then all that comes behind the transcript.
    models = [asked.transcribing_s + asked.sequential_s - asked.sequential_wait_s for asked in results]
    without_wait = [asked.overlapped_s - asked.turn_ended_s for asked in results]
    return [
        median("first sound after the end of speech, one after the other", sequential, "s"),
        median("first sound after the end of speech, overlapped", overlapped, "s"),
        median("until the final transcript, one after the other", [one.sequential_wait_s for one in results], "s"),
        median("until the final transcript, overlapped", [one.overlapped_wait_s for one in results], "s"),
        ratio("overlapped to one after the other", overlapped, sequential),
        ratio("the same behind the transcript", overlapped_work, work),
        median("models one after the other, without the wait for the end of the turn", models, "s"),
        ratio("overlapped to that", without_wait, models, at_most(0.5)),
    ]


def of_decisions(results: Sequence[Asked]) -> list[Figure]:
    def total(name: str) -> int:
        return sum(int(asked.decisions.get(name, 0)) for asked in results)

    uses = Counter(asked.decisions.get("preparation", "none") for asked in results)
    found: list[Figure] = []
    # A machine that is busy enough reads nothing ahead.
    if read := total("prepared_tokens"):
        found.append(share("prompt tokens that were read ahead in vain", total("wasted_tokens"), read))
    if begun := total("answers_ahead"):
        in_vain = total("answers_in_vain")
        found.append(share("answers begun before the end of the turn that were in vain", in_vain, begun))
    return [*found, *(share(f"preparations that were {use}", n, len(results)) for use, n in sorted(uses.items()))]


async def heard(engine: WhisperEngine, pcm: bytes, rate: int) -> str:
    """Return what the Whisper of this process hears."""
    samples = soxr.resample(samples_of(pcm), rate, SPEECH_RATE)
    size = int(_LONGEST_HEARD_S * SPEECH_RATE)
    parts = [samples[at : at + size] for at in range(0, len(samples), size)]
    texts = [
        (await engine.transcribe(Call.within(_WAIT_S), part, "en", TranscriptQuality.FINAL)).text for part in parts
    ]
    return " ".join(texts)


def run(options: Options, site: Site) -> list[Figure]:
    with site.shipped_graph() as graph:
        return asyncio.run(measure(graph.nats_url, options))


BENCHMARK = Benchmark(
    "spoken_answers", __doc__, takes="fifteen minutes", needs=(Need.MODELS,), options=Options, run=run
)

if __name__ == "__main__":
    BENCHMARK.main()
