"""Time to the first token after the end of a turn, with and without retrieval and prefill while it is being spoken.

    uv run python -m tests.benchmarks.prefill

A prompt of some 1,500 tokens (system prompt, four turns before, a dozen passages) for SmolLM2 by llama.cpp, with real
retrieval over the documents of the benchmarks, all in one collection. Each question is asked of two engines of its own
each, in turns, so that neither finds in its cache what was read for the other:

* at the end of the turn, with nothing done before;
* spoken at 2.6 words a second: partial transcripts of all words but the last come every half second, 0.2 s late, and go
  through `bridges.preparing` as in a live session; the final transcript is there 0.45 s after the last word, and the
  turn ends 0.05 s later.
"""

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass

from bridges.command_line.main import SAMPLES
from bridges.preparing import Preparing
from deployments.audio_settings import PreparationSettings
from deployments.call import Call
from deployments.chat import Chat
from deployments.embeddings import Embeddings
from deployments.engines.late_interaction import LateInteractionReranker
from deployments.engines.llama_cpp import LlamaCppEngine
from deployments.engines.onnx_embeddings import OnnxEmbeddings
from deployments.ingestion import Ingestion
from deployments.language_model import LanguageModel
from deployments.models.store import ModelStore
from deployments.prompt import to_messages
from deployments.reranker import Reranker
from deployments.retrieval import Retrieval
from deployments.settings import MilvusSettings
from deployments.values import (
    AnswerEnd,
    Answering,
    AnswerToken,
    ChatQuestion,
    Document,
    Exchange,
    Generation,
    Preparation,
    PreparationUse,
    Prompt,
    TextFormat,
)
from tests.benchmarks.answers import DOCUMENTS, QUESTIONS, MemoryStore
from tests.benchmarks.answers import questions as read_questions

WORD_S = 1 / 2.6
PARTIAL_S = 0.48
PARTIAL_LATE_S = 0.2
FINAL_S = 0.45
ENDED_S = 0.5
PASSAGES = 12
COLLECTION = "all"
ANSWERING = Answering(
    "You answer questions from the passages you are given, in one or two short sentences.",
    passages=PASSAGES,
    examples=(),
    check_sentences=False,
    generation=Generation(max_tokens=16),
    history=4,
    history_with_passages=4,
)
HISTORY = tuple(
    Exchange(
        f"What is the story number {number}?",
        "There was a village at the end of a long road, and in it lived people who knew how to build boats. " * 3,
    )
    for number in range(4)
)


@dataclass
class Asked:
    """What one question took.

    Attributes:
        without_s: To the first token with nothing done before.
        with_s: The same with everything prepared.
        use: What became of the preparation.
        read: Prompt tokens that were read before the end of the turn.
        wasted: Of these, in vain.
    """

    without_s: float
    with_s: float
    use: PreparationUse
    read: int
    wasted: int


async def chats() -> tuple[Chat, Chat, LlamaCppEngine]:
    """Return a chat for each side, each with a model of its own, and one of the models."""
    models = ModelStore.from_environment()
    encoder = models.locate("all-minilm-l6-v2", "embeddings")
    embeddings, reranker = Embeddings(OnnxEmbeddings(encoder)), Reranker(LateInteractionReranker(encoder))
    store, settings = MemoryStore(), MilvusSettings(keep=PASSAGES)
    ingestion = Ingestion(embeddings, store, settings)
    for file in sorted((*DOCUMENTS.iterdir(), *SAMPLES.iterdir())):
        text_format = TextFormat.MARKDOWN if file.suffix == ".md" else TextFormat.PLAIN
        document = Document(file.name, file.read_text(), format=text_format, collection=COLLECTION)
        await ingestion.ingest(Call.within(60), document)
    retrieval = Retrieval(embeddings, reranker, store, settings)
    file = models.locate("smollm2-135m-instruct", "language-model") / "model.gguf"
    engines = [LlamaCppEngine(file, context_tokens=4096, parallel=1) for _ in range(2)]
    first, second = (Chat(LanguageModel(engine, ANSWERING), retrieval) for engine in engines)
    return first, second, engines[0]


def question_of(text: str, preparation: Preparation | None = None) -> ChatQuestion:
    return ChatQuestion(
        text, retrieve=True, rerank=True, collection=COLLECTION, history=HISTORY, preparation=preparation
    )


async def first_token(chat: Chat, question: ChatQuestion) -> tuple[float, AnswerEnd]:
    """Return the seconds to the first token of an answer, and its end."""
    asked_at, first_s, end = time.monotonic(), 0.0, AnswerEnd()
    async with aclosing(chat.answer(Call.within(120), question)) as items:
        async for item in items:
            if isinstance(item, AnswerToken):
                first_s = first_s or time.monotonic() - asked_at
            else:
                end = item
    assert not end.error, end.error
    return first_s, end


@dataclass(frozen=True)
class Asking:
    """Prepares for the questions to a chat."""

    chat: Chat

    async def find(self, text: str, before: Preparation | None) -> Preparation:
        return await self.chat.prepare(Call.within(120), question_of(text, before))

    async def read(self, text: str, found: Preparation) -> int:
        return await self.chat.read(Call.within(120), question_of(text, found))


async def spoken(chat: Chat, text: str) -> tuple[float, AnswerEnd, Preparation | None]:
    """Ask a question as it is spoken; return the seconds from the end of the turn, the end, and what was prepared."""

    loop = asyncio.get_running_loop()
    preparing = Preparing(PreparationSettings(), Asking(chat), loop.create_task)
    words = text.split()
    began, spoken_s = loop.time(), len(words) * WORD_S
    partials = int(spoken_s / PARTIAL_S)
    for number in range(1, partials + 1):
        await asyncio.sleep(began + number * PARTIAL_S + PARTIAL_LATE_S - loop.time())
        known = int(number * PARTIAL_S / WORD_S) - 1
        preparing.partly_known(" ".join(words[:known]))
    await asyncio.sleep(began + spoken_s + FINAL_S - loop.time())
    preparing.perhaps_whole(text)
    await asyncio.sleep(began + spoken_s + ENDED_S - loop.time())
    ended_at = time.monotonic()
    preparation = await preparing.taken(text)
    waited_s = time.monotonic() - ended_at
    first_s, end = await first_token(chat, question_of(text, preparation))
    return waited_s + first_s, end, preparation


async def measure(limit: int) -> list[Asked]:
    without, prepared, engine = await chats()
    rows = read_questions(QUESTIONS)
    found = await without.prepare(Call.within(120), question_of(rows[0].text))
    shown = tuple(passage.embedded_text() for passage in found.passages)
    prompt = Prompt(ANSWERING.system_prompt, rows[0].text, shown, history=HISTORY)
    print(f"prompts of about {await engine.count_tokens(to_messages(prompt))} tokens")
    results: list[Asked] = []
    for question in rows[:: max(1, len(rows) // limit)][: limit + 1]:
        without_s, _ = await first_token(without, question_of(question.text))
        with_s, end, preparation = await spoken(prepared, question.text)
        read, wasted = 0, 0
        if preparation is not None:
            read, wasted = preparation.tokens_read, preparation.wasted_unless_kept(end.preparation_kept)
        results.append(Asked(without_s, with_s, end.preparation, read, wasted))
        print(f"  {with_s:.2f} s, without {without_s:.2f} s, {end.preparation}  {question.text}", file=sys.stderr)
    # The first finds no history in the cache.
    return results[1:]


def show(results: list[Asked]) -> None:
    for name, values in (
        ("nothing done before the end of the turn", [asked.without_s for asked in results]),
        ("passages found and read while it is spoken", [asked.with_s for asked in results]),
    ):
        low, _, high = statistics.quantiles(values, n=4)
        print(f"{name:<46}{statistics.median(values):6.2f} s ({low:.2f} to {high:.2f})")
    ratio = statistics.median(asked.with_s / asked.without_s for asked in results)
    read, wasted = sum(asked.read for asked in results), sum(asked.wasted for asked in results)
    print(f"time to the first token, median of {len(results)} paired ratios: {ratio:.2f} (at most 0.5)")
    print(f"prompt tokens read ahead: {read}, in vain {wasted}, {100 * wasted / max(1, read):.0f} % (at most 30)")
    uses = [asked.use for asked in results]
    print("preparations " + ", ".join(f"{use}: {uses.count(use)}" for use in sorted(set(uses))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20, help="how many")
    options = parser.parse_args()
    show(asyncio.run(measure(options.questions)))


if __name__ == "__main__":
    main()
