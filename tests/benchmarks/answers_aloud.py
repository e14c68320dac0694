"""From the end of a turn to the first sound of its answer, against pipecat with the same models.

    uv run python -m tests.benchmarks.answers_aloud

Both sides answer the same questions, one after the other, with SmolLM2 by llama.cpp and a voice of Piper, in turns on
the same machine. Hearth is the shipped graph without the sentence check: each question is spoken into a session at the
pace of a microphone, and the time counts from its final transcript to its first sound, both at the client, over NATS.
pipecat (1.14.0, in an environment of its own, see `peers/pipecat_answers.txt`) is given the same transcript, already
with the passages that Hearth has to find, as the messages that Hearth would send; its model is a llama.cpp server of
the same settings, and its time counts from that frame to the first sound at the end of its pipeline, in process.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from bridges.command_line.client import connected
from bridges.command_line.local.local_stack import SERVE_CONFIG, LocalStack
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
from tests.benchmarks.audio_sessions import peer_python
from tests.benchmarks.local_services import LocalServices, collection_of, local_services, shipped_answering
from tests.benchmarks.question_sets import small_questions
from tests.benchmarks.spoken_answers import Session, at_speech_rate, ingest, until_ready

VOICE = "joe"
PEER = Path(__file__).with_name("peers") / "pipecat_answers.py"
_WAIT_S = 60.0


@contextmanager
def stack(folder: Path) -> Generator[str]:
    """Run the shipped graph without the sentence check; give its NATS server's URL."""
    config = yaml.safe_load(SERVE_CONFIG.read_text())
    model = next(entry for entry in config["applications"] if entry["name"] == "language-model")
    model["deployments"][0]["user_config"]["answering"]["check_sentences"] = False
    changed = folder / "serve_config.yaml"
    changed.write_text(yaml.safe_dump(config))
    os.environ["HEARTH_STATE"] = str(folder / "state")
    local = LocalStack()
    state = local.start(lambda _: None)
    try:
        local.deploy(state, lambda _: None, changed)
        yield state.nats_url
    finally:
        local.stop(lambda _: None)


@contextmanager
def peer(python: str, store: ModelStore) -> Generator[subprocess.Popen[str]]:
    """Run pipecat in front of a llama.cpp server of this process."""
    model = LlamaCppEngine(store.locate_file("smollm2-135m-instruct", "language-model", "model.gguf"))
    options = {
        "base_url": f"{model.address}/v1",
        "api_key": model.api_key,
        "max_tokens": 64,
        "voice": VOICE,
        "voice_folder": str(store.folder / VOICE),
    }
    command = [python, str(PEER), json.dumps(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        try:
            yield process
        finally:
            process.terminate()


async def asked_of_peer(process: subprocess.Popen[str], messages: list[dict[str, str]]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(messages) + "\n")
    process.stdin.flush()
    return json.loads(await asyncio.to_thread(process.stdout.readline))


async def peer_messages(retrieval: Retrieval, question: str, collection: str) -> list[dict[str, str]]:
    """Return what Hearth would send to the model."""
    answering = shipped_answering()
    query = RetrievalQuery(question, collection, rerank=True)
    passages = await retrieval.retrieve(Call.within(_WAIT_S), query)
    shown = tuple(passage.embedded_text() for passage in passages[: answering.passages])
    prompt = Prompt(answering.system_prompt, question, shown, answering.examples)
    return [{"role": message.role.value, "content": message.content} for message in to_messages(prompt)]


async def measure(url: str, process: subprocess.Popen[str], limit: int, folder: Path) -> list[tuple[float, float]]:
    async with local_services(folder) as services:
        await services.ingest_small()
        return await compare(url, process, limit, services)


async def compare(
    url: str, process: subprocess.Popen[str], limit: int, services: LocalServices
) -> list[tuple[float, float]]:
    retrieval = services.retrieval()
    times: list[tuple[float, float]] = []
    asked = small_questions()
    async with connected(url) as client:
        await until_ready(client)
        collections = await ingest(client)
        # The voice is loaded by its first sentence.
        await say(client, messages_pb2.TTSRequest(text="Ready.", speaker=VOICE), _WAIT_S, unheard)
        step = max(1, len(asked) // limit)
        for number, question in enumerate(asked[::step][:limit]):
            said = await say(client, messages_pb2.TTSRequest(text=question.text), _WAIT_S, unheard)
            session = Session(client, f"aloud-{number}-{os.getpid()}")
            await session.listen()
            request = conversation_pb2.ConversationRequest(collection=collections[question.kind], voice=VOICE)
            await session.speak(at_speech_rate(said.pcm, said.rate), session.is_last, conversation=request)
            await session.end()
            ours = session.first_sound_at - session.final_at
            messages = await peer_messages(retrieval, session.transcript, collection_of(question.kind))
            theirs = await asked_of_peer(process, messages)
            times.append((ours, theirs["first_sound_s"]))
            print(
                f"  {ours * 1000:5.0f} ms, pipecat {times[-1][1] * 1000:5.0f} ms  {session.transcript}", file=sys.stderr
            )
    # The first of each side finds nothing warm.
    return times[1:]


def show(times: list[tuple[float, float]]) -> None:
    for name, values in (("Hearth", [one for one, _ in times]), ("pipecat", [other for _, other in times])):
        low, _, high = statistics.quantiles(values, n=4)
        median = statistics.median(values)
        print(f"{name:<10}{median * 1000:6.0f} ms ({low * 1000:.0f} to {high * 1000:.0f})")
    ratio = statistics.median(one / other for one, other in times)
    print(f"median of {len(times)} paired ratios: {ratio:.2f} (at most 0.7)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=21, help="how many; the first is not counted")
    options = parser.parse_args()
    store = ModelStore.from_environment()
    manifest = Manifest.load()
    ModelFetcher(manifest, store).fetch(manifest.model(VOICE), lambda _: None)
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        python = running.enter_context(peer_python("pipecat_answers.txt"))
        url = running.enter_context(stack(folder))
        process = running.enter_context(peer(python, store))
        show(asyncio.run(measure(url, process, options.questions, folder / "services")))


if __name__ == "__main__":
    main()
