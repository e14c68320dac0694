"""How often the right passage is found and the answer right: each stage and setting, by questions with known answers.

The documents go into a real Milvus, are searched by the shipped models, and answered by them, without Ray and NATS.
Two sets of questions: of small documents that are kept here, each a collection of its own, and of real texts of five
kinds (a manual in Markdown, a list of questions and answers in HTML, a chronicle in PDF, a law and a dictionary as
plain text), which are fetched and make one collection. Half of the latter were used for no choice, and judge.

Printed are recall at 1, 3 and 5 (a passage that answers the question is among the first so many) and the mean
reciprocal rank, for the search by meaning, by words (BM25), by both, and each reranked; and the share of answers that
hold the fact, checked against their passages and not.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from deployments.call import Call
from deployments.chat.service import Chat
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion
from deployments.values.retrieval import Passage, RetrievalQuery
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, plain, share
from tests.benchmarks.local_services import LocalServices, answering, collection_of, local_services
from tests.benchmarks.question_sets import Question, real_questions, small_questions, some_of
from tests.benchmarks.real_texts import default_folder, documents
from tests.benchmarks.site import Site

_FETCHED = 20
_QUOTED = "From "
_WAIT_S = 120.0
_REAL = "real"


@dataclass(frozen=True)
class Options:
    small: int = option(50, 1, "questions about the small documents")
    real: int = option(80, 0, "questions about the real texts, which are fetched and ingested unless it is 0")
    answers: bool = option(True, True, "whether the questions are answered; else the passages alone are judged")
    keyword_weights: str = option("", "", "shares of the search by words, with commas between them; empty: the shipped")
    folder: str = option("", "", "of the texts; empty: one in the cache of this user")


@dataclass
class Ranks:
    """At which place, from 1, a passage that answers stood for each question; 0 for none among those fetched."""

    places: list[int] = field(default_factory=list[int])

    def recall(self, at: int) -> float:
        return sum(0 < place <= at for place in self.places) / max(1, len(self.places))

    def reciprocal(self) -> float:
        return sum(1 / place for place in self.places if place) / max(1, len(self.places))


@dataclass
class Answers:
    """How many answers hold the fact, and how many of them are the model's own words."""

    asked: int = 0
    right: int = 0
    own: int = 0
    own_right: int = 0


def place_of(question: Question, passages: Sequence[Passage]) -> int:
    """Return the place, from 1, of the first passage that answers a question; 0 for none."""
    for place, passage in enumerate(passages, 1):
        if question.evidence.search(" ".join(passage.embedded_text().split())):
            return place
    return 0


def set_of(question: Question, *, real: bool) -> str:
    return (
        ("real texts, to choose by" if question.choosing else "real texts, to judge by") if real else "small documents"
    )


class Measurement:
    """Takes the figures of one set of questions.

    Args:
        services: Over the documents.
        weights: Shares of the search by words that are compared.
    """

    def __init__(self, services: LocalServices, weights: Sequence[float]) -> None:
        self._services = services
        self._weights = weights
        self.ranks: dict[str, dict[str, Ranks]] = defaultdict(lambda: defaultdict(Ranks))
        self.answers: dict[str, dict[str, Answers]] = defaultdict(lambda: defaultdict(Answers))

    async def rank(self, question: Question, collection: str, group: str) -> None:
        """Search one question in each way."""
        ranks = self.ranks[group]
        (vector,) = await self._services.embeddings.embed(Call.within(_WAIT_S), [question.text])
        for weight in (0.0, 1.0, *self._weights):
            found = await self._services.passages(weight).search(
                Call.within(_WAIT_S), collection, question.text, vector, _FETCHED
            )
            name = {0.0: "by meaning", 1.0: "by words"}.get(weight, f"both, {weight:g} by words")
            ranks[name].places.append(place_of(question, found))
        for weight in (0.0, *self._weights):
            query = RetrievalQuery(question.text, collection, _FETCHED, rerank=True)
            passages = await self._services.retrieval(weight).retrieve(Call.within(_WAIT_S), query)
            name = "by meaning, reranked" if not weight else f"both, {weight:g} by words, reranked"
            ranks[name].places.append(place_of(question, passages))

    async def answer(self, chats: dict[str, Chat], question: Question, collection: str, group: str) -> None:
        """Have one question answered in each way."""
        for name, chat in chats.items():
            text = await ask(chat, question.text, collection)
            right, own = bool(question.fact.search(text)), not text.startswith(_QUOTED)
            answers = self.answers[group][name]
            answers.asked += 1
            answers.right += right
            answers.own += own
            answers.own_right += own and right
            if not right:
                print(f"{name}, WRONG: {question.text}\n    {text}", file=sys.stderr)


async def ask(chat: Chat, text: str, collection: str) -> str:
    """Return the answer to a question."""
    question = ChatQuestion(text, retrieve=True, rerank=True, collection=collection)
    answer, end = "", AnswerEnd()
    async with aclosing(chat.answer(Call.within(_WAIT_S), question)) as items:
        async for item in items:
            if isinstance(item, AnswerToken):
                answer += item.text
            else:
                end = item
    if end.error_kind:
        raise RuntimeError(f"{text!r} was not answered: {end.error}")
    return answer


async def measure(options: Options, site: Site) -> list[Figure]:
    async with local_services(site) as services:
        questions = await _ingested(services, options)
        weights = [float(one) for one in options.keyword_weights.split(",") if one]
        measurement = Measurement(services, weights or [services.settings.keyword_weight])
        chats = _chats(services) if options.answers else {}
        for at, (question, collection, group) in enumerate(questions, 1):
            print(f"\r{at} of {len(questions)}", end="", file=sys.stderr)
            await measurement.rank(question, collection, group)
            await measurement.answer(chats, question, collection, group)
        print("\r", end="", file=sys.stderr)
        return figures(measurement)


def _chats(services: LocalServices) -> dict[str, Chat]:
    retrieval, engine = services.retrieval(), services.language_model()
    return {
        "checked against their passages": services.chat(retrieval, engine, answering(check_sentences=True)),
        "as the model wrote them": services.chat(retrieval, engine, answering(check_sentences=False)),
    }


async def _ingested(services: LocalServices, options: Options) -> list[tuple[Question, str, str]]:
    """Ingest the documents; return the questions, each with its collection and the group it is counted in."""
    small = some_of(small_questions(), options.small)
    await services.ingest_small(one.kind for one in small)
    questions = [(one, collection_of(one.kind), set_of(one, real=False)) for one in small]
    if options.real:
        folder = Path(options.folder) if options.folder else default_folder()
        files = documents(folder)
        started = time.monotonic()
        chunks = await services.ingest(files, _REAL, folder / "documents")
        print(f"real texts: {len(files)} files, {chunks} chunks in {time.monotonic() - started:.0f} s", file=sys.stderr)
        kinds = {file.parent.name for file in files}
        real = [one for one in some_of(real_questions(), options.real) if one.kind in kinds]
        questions += [(one, _REAL, set_of(one, real=True)) for one in real]
    return questions


def figures(measurement: Measurement) -> list[Figure]:
    found: list[Figure] = []
    for group, by_name in measurement.ranks.items():
        for name, ranks in by_name.items():
            title = f"{group}, {name}"
            found += [plain(f"{title}: recall at {at}", ranks.recall(at)) for at in (1, 3, 5)]
            found.append(plain(f"{title}: mean reciprocal rank", ranks.reciprocal()))
        for name, answers in measurement.answers[group].items():
            title = f"{group}, answers {name}"
            found += [
                share(f"{title}: hold the fact", answers.right, answers.asked),
                share(f"{title}: in the model's own words", answers.own, answers.asked),
            ]
            if answers.own:
                found.append(share(f"{title}: of these, hold the fact", answers.own_right, answers.own))
    return found


def run(options: Options, site: Site) -> list[Figure]:
    return asyncio.run(measure(options, site))


BENCHMARK = Benchmark(
    "answers", __doc__, takes="twenty minutes", needs=(Need.MODELS, Need.TEXTS), options=Options, run=run
)

if __name__ == "__main__":
    BENCHMARK.main()
