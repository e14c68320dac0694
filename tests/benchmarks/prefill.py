"""Time to the first token after the end of a turn, with and without retrieval and prefill while it is being spoken.

    uv run python -m tests.benchmarks.prefill

A prompt of some 1,500 tokens (system prompt, the four turns before, which move on with each turn, five passages) for
SmolLM2 by llama.cpp, with real retrieval over the documents of the benchmarks, all in one collection. Each question is
asked of two engines, in turns, so that neither finds in its cache what was read for the other:

* at the end of the turn, with nothing done before;
* spoken at 2.6 words a second: what stands before the passages is read from the first word on; partial transcripts of
  all words but the last come every half second, 0.2 s late, and go through `bridges.live.speculation` as in a live
  session; the final transcript is there 0.45 s after the last word, and the turn ends 0.05 s later. No answer is begun
  before that.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from bridges.command_line.main import SAMPLES
from bridges.live.speculation import Speculation
from deployments.call import Call
from deployments.chat.service import Chat
from deployments.engines.language.llama_cpp import LlamaCppEngine
from deployments.inference.language_model import LanguageModel
from deployments.inference.prompt import to_messages
from deployments.settings.audio import PreparationSettings
from deployments.settings.text_models import AnsweringSettings
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, Preparation, PreparationUse
from deployments.values.language import Exchange, Generation, Prompt
from deployments.values.voice import SpokenAnswerItem
from tests.benchmarks.local_services import LocalServices, local_services
from tests.benchmarks.question_sets import DOCUMENTS, small_questions

WORD_S = 1 / 2.6
PARTIAL_S = 0.48
PARTIAL_LATE_S = 0.2
FINAL_S = 0.45
ENDED_S = 0.5
COLLECTION = "all"
SYSTEM_PROMPT = (
    "You are the assistant of a house, a hotel and a ferry. You answer questions from the passages that you "
    "are given, in one or two short sentences that can be read aloud. Name numbers and places as they stand there. "
    "When the passages do not hold the answer, say that you do not know it, and nothing else. "
) * 2
ANSWERING = replace(
    AnsweringSettings(system_prompt=SYSTEM_PROMPT).to_value(), generation=Generation(max_tokens=16, temperature=0.0)
)
"""As a large model is used by default: five passages, four turns before."""
ANSWER = "In short, the passages say that there was a village at the end of a long road where people built boats. " * 8
TURNS = 4


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


async def chats(services: LocalServices) -> tuple[Chat, Chat, LlamaCppEngine]:
    """Return a chat for each side, each with a model of its own, and one of the models."""
    await services.ingest(sorted(DOCUMENTS.iterdir()), COLLECTION, DOCUMENTS)
    await services.ingest(sorted(SAMPLES.iterdir()), COLLECTION, SAMPLES)
    file = services.models.locate_file("smollm2-135m-instruct", "language-model", "model.gguf")
    engines = [LlamaCppEngine(file, context_tokens=4096, parallel=1) for _ in range(2)]
    first, second = (Chat(LanguageModel(engine, ANSWERING), services.retrieval()) for engine in engines)
    return first, second, engines[0]


def history_before(number: int) -> tuple[Exchange, ...]:
    """Return the turns before a question: the last four of as many as there were, so that each turn moves them on."""
    return tuple(
        Exchange(f"What does chapter {at} tell?", f"Chapter {at}. {ANSWER}") for at in range(number, number + TURNS)
    )


def question_of(number: int, text: str, preparation: Preparation | None = None) -> ChatQuestion:
    history = history_before(number)
    return ChatQuestion(
        text, retrieve=True, rerank=True, collection=COLLECTION, history=history, preparation=preparation
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
    number: int

    async def find(self, text: str, before: Preparation | None) -> Preparation:
        return await self.chat.prepare(Call.within(120), question_of(self.number, text, before))

    def read(self, text: str, found: Preparation) -> AsyncGenerator[int]:
        return self.chat.read(Call.within(120), question_of(self.number, text, found))

    def answer(self, text: str, found: Preparation) -> AsyncGenerator[SpokenAnswerItem]:
        raise AssertionError("no answer begins before the end of the turn here")


async def spoken(chat: Chat, number: int, text: str) -> tuple[float, AnswerEnd, Preparation | None]:
    """Ask a question as it is spoken; return the seconds from the end of the turn, the end, and what was prepared."""

    loop = asyncio.get_running_loop()
    preparing = Speculation(PreparationSettings(max_answers=0), Asking(chat, number), loop.create_task)
    preparing.begins()
    words = text.split()
    began, spoken_s = loop.time(), len(words) * WORD_S
    partials = int(spoken_s / PARTIAL_S)
    for partial in range(1, partials + 1):
        await asyncio.sleep(began + partial * PARTIAL_S + PARTIAL_LATE_S - loop.time())
        known = int(partial * PARTIAL_S / WORD_S) - 1
        preparing.partly_known(" ".join(words[:known]))
    await asyncio.sleep(began + spoken_s + FINAL_S - loop.time())
    preparing.perhaps_whole(text)
    await asyncio.sleep(began + spoken_s + ENDED_S - loop.time())
    ended_at = time.monotonic()
    preparation = (await preparing.taken(text)).preparation
    waited_s = time.monotonic() - ended_at
    first_s, end = await first_token(chat, question_of(number, text, preparation))
    return waited_s + first_s, end, preparation


async def measure(limit: int, folder: Path) -> list[Asked]:
    async with local_services(folder) as services:
        return await compare(limit, services)


async def compare(limit: int, services: LocalServices) -> list[Asked]:
    without, prepared, engine = await chats(services)
    rows = small_questions()
    found = await without.prepare(Call.within(120), question_of(0, rows[0].text))
    prompt = Prompt(SYSTEM_PROMPT, rows[0].text, found.read, history=history_before(0))
    print(f"prompts of about {await engine.count_tokens(to_messages(prompt))} tokens")
    results: list[Asked] = []
    for number, question in enumerate(rows[:: max(1, len(rows) // limit)][: limit + 1]):
        without_s, _ = await first_token(without, question_of(number, question.text))
        with_s, end, preparation = await spoken(prepared, number, question.text)
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
    with tempfile.TemporaryDirectory() as folder:
        show(asyncio.run(measure(options.questions, Path(folder))))


if __name__ == "__main__":
    main()
