"""Time to the first token after the end of a turn, with and without retrieval and prefill while it is being spoken.

A prompt of some 1,500 tokens (system prompt, the four turns before, which move on with each turn, five passages) for
SmolLM2 by llama.cpp, with real retrieval over the documents of the benchmarks, all in one collection. Each question is
asked of two engines, in turns, so that neither finds in its cache what was read for the other:

* at the end of the turn, with nothing done before;
* spoken at 2.6 words a second: what stands before the passages is read from the first word on; partial transcripts of
  all words but the last come every half second, 0.2 s late, and go through `bridges.live.speculation` as in a live
  session; the final transcript is there 0.45 s after the last word, and the turn ends 0.05 s later. No answer is begun
  before that.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from bridges.live.speculation import Speculation
from deployments.call import Call
from deployments.chat.service import Chat
from deployments.inference.prompt import to_messages
from deployments.settings.audio import PreparationSettings
from deployments.settings.text_models import AnsweringSettings
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, Preparation, PreparationUse
from deployments.values.language import Exchange, Generation, Prompt
from deployments.values.voice import SpokenAnswerItem
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, median, plain, ratio, share
from tests.benchmarks.local_services import local_services
from tests.benchmarks.question_sets import small_document, small_questions, some_of
from tests.benchmarks.site import Site

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


@dataclass(frozen=True)
class Options:
    uncounted: int = option(1, 0, "questions before all others, which find no history in the cache")
    questions: int = option(20, 1, "that count")
    turns: int = option(4, 0, "before each question")
    passages: int = option(5, 1, "that the model is shown")
    words_per_s: float = option(2.6, 12.0, "that its speaker says")


@dataclass(frozen=True)
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


def history_before(at: int, turns: int) -> tuple[Exchange, ...]:
    """Return the turns before a question: the last of as many as there were, so that each question moves them on."""
    return tuple(
        Exchange(f"What does chapter {chapter} tell?", f"Chapter {chapter}. {ANSWER}")
        for chapter in range(at, at + turns)
    )


def question_of(text: str, history: tuple[Exchange, ...], preparation: Preparation | None = None) -> ChatQuestion:
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
    assert not end.error_kind, end.error
    return first_s, end


@dataclass(frozen=True)
class Asking:
    """Prepares for the questions to a chat."""

    chat: Chat
    history: tuple[Exchange, ...]

    async def find(self, text: str, before: Preparation | None) -> Preparation:
        return await self.chat.prepare(Call.within(120), question_of(text, self.history, before))

    def read(self, text: str, found: Preparation) -> AsyncGenerator[int]:
        return self.chat.read(Call.within(120), question_of(text, self.history, found))

    def answer(self, text: str, found: Preparation) -> AsyncGenerator[SpokenAnswerItem]:
        raise AssertionError("no answer begins before the end of the turn here")


async def spoken(asking: Asking, text: str, word_s: float) -> tuple[float, AnswerEnd, Preparation | None]:
    """Ask a question as it is spoken; return the seconds from the end of the turn, the end, and what was prepared."""
    loop = asyncio.get_running_loop()
    preparing = Speculation(PreparationSettings(max_answers=0), asking, loop.create_task)
    preparing.begins()
    words = text.split()
    began, spoken_s = loop.time(), len(words) * word_s
    partials = int(spoken_s / PARTIAL_S)
    for partial in range(1, partials + 1):
        await asyncio.sleep(began + partial * PARTIAL_S + PARTIAL_LATE_S - loop.time())
        known = int(partial * PARTIAL_S / word_s) - 1
        preparing.partly_known(" ".join(words[:known]))
    await asyncio.sleep(began + spoken_s + FINAL_S - loop.time())
    preparing.perhaps_whole(text)
    await asyncio.sleep(began + spoken_s + ENDED_S - loop.time())
    ended_at = time.monotonic()
    preparation = (await preparing.taken(text)).preparation
    waited_s = time.monotonic() - ended_at
    first_s, end = await first_token(asking.chat, question_of(text, asking.history, preparation))
    return waited_s + first_s, end, preparation


async def measure(options: Options, site: Site) -> list[Figure]:
    async with local_services(site) as services:
        questions = some_of(small_questions(), options.uncounted + options.questions)
        for kind in sorted({question.kind for question in questions}):
            files, base = small_document(kind)
            await services.ingest(files, COLLECTION, base)
        engines = [services.language_model(context_tokens=4096, parallel=1) for _ in range(2)]
        answering = replace(ANSWERING, passages=options.passages)
        without, prepared = (services.chat(services.retrieval(), engine, answering) for engine in engines)
        first = questions[0].text
        found = await without.prepare(Call.within(120), question_of(first, ()))
        prompt = Prompt(SYSTEM_PROMPT, first, found.read, history=history_before(0, options.turns))
        tokens = await engines[0].count_tokens(to_messages(prompt))
        results: list[Asked] = []
        for at, text in enumerate(question.text for question in questions):
            asking = Asking(prepared, history_before(at, options.turns))
            without_s, _ = await first_token(without, question_of(text, asking.history))
            with_s, end, preparation = await spoken(asking, text, 1 / options.words_per_s)
            read, wasted = 0, 0
            if preparation is not None:
                read, wasted = preparation.tokens_read, preparation.wasted_unless_kept(end.preparation_kept)
            results.append(Asked(without_s, with_s, end.preparation, read, wasted))
            print(f"  {with_s:.2f} s, without {without_s:.2f} s, {end.preparation}  {text}", file=sys.stderr)
    return [plain("tokens of the first prompt", tokens), *figures(results[options.uncounted :])]


def figures(results: list[Asked]) -> list[Figure]:
    without_s, with_s = [asked.without_s for asked in results], [asked.with_s for asked in results]
    read, wasted = sum(asked.read for asked in results), sum(asked.wasted for asked in results)
    uses = Counter(asked.use for asked in results)
    return [
        median("first token, nothing done before the end of the turn", without_s, "s"),
        median("first token, passages found and read while the question is spoken", with_s, "s"),
        ratio("the latter to the former", with_s, without_s, at_most(0.5)),
        share("prompt tokens that were read ahead in vain", wasted, read, at_most(30)),
        *(share(f"preparations that were {use}", of_them, len(results)) for use, of_them in sorted(uses.items())),
    ]


def run(options: Options, site: Site) -> list[Figure]:
    return asyncio.run(measure(options, site))


BENCHMARK = Benchmark("prefill", __doc__, takes="five minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
