"""How often the right passage is found and the answer right: each stage and setting, by questions with known answers.

    uv run python -m tests.benchmarks.answers

The documents go into a real Milvus, are searched by the shipped models, and answered by them, without Ray and NATS.
Two sets of questions: of small documents that are kept here, each a collection of its own, and of real texts of five
kinds (a manual in Markdown, a list of questions and answers in HTML, a chronicle in PDF, a law and a dictionary as
plain text), which are fetched and make one collection. Half of the latter were used for no choice, and judge.

Printed are recall at 1, 3 and 5 (a passage that answers the question is among the first so many) and the mean
reciprocal rank, for the search by meaning, by words (BM25), by both, and each reranked; and the share of answers that
hold the fact, checked against their passages and not.
"""

import argparse
import asyncio
import sys
import tempfile
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
from tests.benchmarks.local_services import LocalServices, collection_of, local_services
from tests.benchmarks.question_sets import Question, real_questions, small_questions
from tests.benchmarks.real_texts import default_folder, documents

_FETCHED = 20
_QUOTED = "From "
_WAIT_S = 120.0
_REAL = "real"


@dataclass
class Ranks:
    """At which place, from 1, a passage that answers stood for each question; 0 for none among those fetched."""

    places: list[int] = field(default_factory=list[int])

    def recall(self, at: int) -> float:
        return sum(0 < place <= at for place in self.places) / len(self.places)

    def reciprocal(self) -> float:
        return sum(1 / place for place in self.places if place) / len(self.places)


@dataclass
class Answers:
    """How many answers hold the fact, and how many of them are the model's own words."""

    asked: int = 0
    right: int = 0
    own: int = 0
    own_right: int = 0


Results = dict[tuple[str, str], Ranks]


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
    if end.error:
        raise RuntimeError(f"{text!r} was not answered: {end.error}")
    return answer


async def measure(options: argparse.Namespace, folder: Path) -> Measurement:
    async with local_services(folder) as services:
        questions = await _ingested(services, options)
        shipped = services.settings.keyword_weight
        measurement = Measurement(services, options.keyword_weight or [shipped])
        retrieval = services.retrieval()
        chats = {
            "checked against their passages": services.chat(retrieval, check_sentences=True),
            "as the model wrote them": services.chat(retrieval, check_sentences=False),
        }
        for number, (question, collection, group) in enumerate(questions, 1):
            print(f"\r{number} of {len(questions)}", end="", file=sys.stderr)
            await measurement.rank(question, collection, group)
            if not options.without_answers:
                await measurement.answer(chats, question, collection, group)
        print("\r", end="", file=sys.stderr)
        return measurement


async def _ingested(services: LocalServices, options: argparse.Namespace) -> list[tuple[Question, str, str]]:
    """Ingest the documents; return the questions, each with its collection and the group it is counted in."""
    questions: list[tuple[Question, str, str]] = []
    if options.set in {"small", "all"}:
        await services.ingest_small()
        questions += [(one, collection_of(one.kind), set_of(one, real=False)) for one in small_questions()]
    if options.set in {"real", "all"}:
        files = documents(options.folder)
        started = time.monotonic()
        chunks = await services.ingest(files, _REAL, options.folder / "documents")
        print(f"real texts: {len(files)} files, {chunks} chunks in {time.monotonic() - started:.0f} s", file=sys.stderr)
        kinds = {file.parent.name for file in files}
        questions += [(one, _REAL, set_of(one, real=True)) for one in real_questions() if one.kind in kinds]
    return questions


def show(measurement: Measurement) -> None:
    for group, by_name in measurement.ranks.items():
        asked = len(next(iter(by_name.values())).places)
        print(f"\n{f'{group}: {asked} questions':<48}recall@1     @3     @5     MRR")
        for name, ranks in by_name.items():
            recalls = "".join(f"{ranks.recall(at):>7.2f}" for at in (1, 3, 5))
            print(f"  {name:<46}{recalls} {ranks.reciprocal():>7.3f}")
        for name, answers in measurement.answers[group].items():
            print(
                f"  answers {name:<38}{answers.right / answers.asked:>7.2f} hold the fact ({answers.right} of "
                f"{answers.asked}); {answers.own} in the model's own words, {answers.own_right} of these right"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=["small", "real", "all"], default="all", help="which questions to ask")
    parser.add_argument("--without-answers", action="store_true", help="judge the passages alone")
    parser.add_argument(
        "--keyword-weight", type=float, action="append", help="share of the search by words; may be given several times"
    )
    parser.add_argument("--folder", type=Path, default=default_folder(), help="of the texts; default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(asyncio.run(measure(options, Path(folder))))


if __name__ == "__main__":
    main()
