"""From the end of a turn to the first sound of its answer, against pipecat with the same models.

Both sides answer the same questions, one after the other, with SmolLM2 by llama.cpp and a voice of Piper, in turns on
the same machine. Hearth is the shipped graph without the sentence check: each question is spoken into a session at the
pace of a microphone, and the time counts from its final transcript to its first sound, both at the client, over NATS.
pipecat (in an environment of its own, see `peers/pipecat_answers.txt`) is given the same transcript, already with the
passages that Hearth has to find, as the messages that Hearth would send; its model is a llama.cpp server of the same
settings, and its time counts from that frame to the first sound at the end of its pipeline, in process.
"""

import asyncio
import json
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bridges.command_line.client import HearthClient, connected
from bridges.command_line.local.model_download import ModelFetcher
from bridges.command_line.sound.saying import say, unheard
from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.call import Call
from deployments.engines.language.llama_cpp import LlamaCppEngine
from deployments.inference.prompt import to_messages
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore
from deployments.retrieval.service import Retrieval
from deployments.values.language import Prompt
from deployments.values.retrieval import RetrievalQuery
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, milliseconds, ratio
from tests.benchmarks.local_services import collection_of, local_services
from tests.benchmarks.peer import Peer, peer_process, peer_python
from tests.benchmarks.question_sets import Question, small_questions, some_of
from tests.benchmarks.shipped import shipped_answering
from tests.benchmarks.shipped_client import Session, ingest, spoken, until_ready
from tests.benchmarks.site import Site

VOICE = "joe"
_WAIT_S = 60.0


@dataclass(frozen=True)
class Options:
    uncounted: int = option(1, 0, "questions before all others, which find nothing warm")
    questions: int = option(20, 1, "that count")
    peer: bool = option(True, False, "whether pipecat answers, too")


@contextmanager
def peer(model: LlamaCppEngine, store: ModelStore) -> Generator[Peer]:
    """Run pipecat in front of a llama.cpp server of this process."""
    options = {
        "base_url": f"{model.address}/v1",
        "api_key": model.api_key,
        "max_tokens": 64,
        "voice": VOICE,
        "voice_folder": str(store.folder / VOICE),
    }
    with (
        peer_python("pipecat_answers.txt") as python,
        peer_process(python, "pipecat_answers.py", json.dumps(options)) as running,
    ):
        yield running


async def peer_messages(retrieval: Retrieval, question: str, collection: str) -> list[dict[str, str]]:
    """Return what Hearth would send to the model."""
    answering = shipped_answering()
    query = RetrievalQuery(question, collection, rerank=True)
    passages = await retrieval.retrieve(Call.within(_WAIT_S), query)
    shown = tuple(passage.embedded_text() for passage in passages[: answering.passages])
    prompt = Prompt(answering.system_prompt, question, shown, answering.examples)
    return [{"role": message.role.value, "content": message.content} for message in to_messages(prompt)]


async def answered(client: HearthClient, question: Question, collection: str, name: str) -> tuple[float, str]:
    """Speak a question; return the seconds from its final transcript to the first sound, and the transcript."""
    session = Session(client, name)
    await session.listen()
    request = conversation_pb2.ConversationRequest(collection=collection, voice=VOICE)
    await session.speak(await spoken(client, question.text), session.is_last, conversation=request)
    await session.end()
    return session.first_sound_at - session.final_at, session.transcript


async def measure(url: str, options: Options, site: Site) -> list[Figure]:
    questions = some_of(small_questions(), options.uncounted + options.questions)
    ours: list[float] = []
    theirs: list[float] = []
    async with local_services(site) as services, connected(url) as client:
        await until_ready(client)
        kinds = [question.kind for question in questions]
        await services.ingest_small(kinds)
        collections = await ingest(client, kinds)
        # The voice is loaded by its first sentence.
        await say(client, messages_pb2.TTSRequest(text="Ready.", speaker=VOICE), _WAIT_S, unheard)
        with ExitStack() as running:
            asked_too = (
                running.enter_context(peer(services.language_model(), services.models)) if options.peer else None
            )
            for at, question in enumerate(questions):
                name = f"aloud-{at}-{os.getpid()}"
                taken_s, transcript = await answered(client, question, collections[question.kind], name)
                ours.append(taken_s)
                messages = await peer_messages(services.retrieval(), transcript, collection_of(question.kind))
                if asked_too is not None:
                    theirs.append((await asked_too.ask(json.dumps(messages)))["first_sound_s"])
                print(f"  {taken_s * 1000:5.0f} ms  {transcript}", file=sys.stderr)
    return figures(ours[options.uncounted :], theirs[options.uncounted :])


def figures(ours: list[float], theirs: list[float]) -> list[Figure]:
    found = [milliseconds("Hearth: end of the turn to the first sound", ours)]
    if theirs:
        found.append(milliseconds("pipecat: end of the turn to the first sound", theirs))
        found.append(ratio("Hearth to pipecat", ours, theirs, at_most(0.7)))
    return found


def run(options: Options, site: Site) -> list[Figure]:
    store, manifest = ModelStore.from_environment(), Manifest.load()
    ModelFetcher(manifest, store).fetch(manifest.model(VOICE), lambda _: None)
    with site.shipped_graph(check_sentences=False) as graph:
        return asyncio.run(measure(graph.nats_url, options, site))


BENCHMARK = Benchmark(
    "answers_aloud",
    __doc__,
    takes="six minutes",
    needs=(Need.MODELS, Need.VOICE, Need.PEER),
    options=Options,
    run=run,
)

if __name__ == "__main__":
    BENCHMARK.main()
