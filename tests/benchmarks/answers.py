"""How many answers hold the fact: questions with known facts, asked of the default models without Ray or NATS.

Run `uv run python -m tests.benchmarks.answers`. It prints, over the questions of `questions.tsv` (document, question,
and what a right answer matches), for how many the fact stands in the best passage, in the best three, in the passages'
quoted sentences, and in the answer; and how many answers are the model's own words. Each document is a collection of
its own; "house" is the sample documents of the demo.
"""

import argparse
import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from bridges.command_line.main import SAMPLES
from deployments.call import Call
from deployments.chat import Chat
from deployments.chunking import Chunk
from deployments.embeddings import Embeddings
from deployments.engines.late_interaction import LateInteractionReranker
from deployments.engines.llama_cpp import LlamaCppEngine
from deployments.engines.onnx_embeddings import OnnxEmbeddings
from deployments.ingestion import Ingestion
from deployments.language_model import LanguageModel
from deployments.models.store import ModelStore
from deployments.reranker import Reranker
from deployments.retrieval import Retrieval
from deployments.settings import LanguageModelUserConfig, MilvusSettings
from deployments.values import AnswerEnd, AnswerToken, ChatQuestion, Document, Passage, TextFormat
from deployments.vectors import Vectors
from tests.servers import ROOT

DOCUMENTS = Path(__file__).with_name("documents")
QUESTIONS = Path(__file__).with_name("questions.tsv")
_QUOTED = "From "


class MemoryStore:
    """Passages of a few documents, searched one by one."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[Passage, Vectors]]] = {}

    async def ensure_collection(self, call: Call, collection: str, dimensions: int) -> None:
        del call, dimensions
        self._rows.setdefault(collection, [])

    async def write(
        self, call: Call, collection: str, source: str, chunks: Sequence[Chunk], vectors: Vectors, first_index: int
    ) -> None:
        del call, first_index
        passages = (Passage(chunk.text, source, " > ".join(chunk.headings)) for chunk in chunks)
        self._rows[collection].extend(zip(passages, vectors, strict=True))

    async def delete_from(self, call: Call, collection: str, source: str, index: int) -> int:
        del call, collection, source, index
        return 0

    async def search(self, call: Call, collection: str, vector: Vectors, limit: int) -> list[Passage]:
        del call
        rows = self._rows[collection]
        nearest = np.argsort([-float(row @ vector) for _, row in rows])[:limit]
        return [rows[index][0] for index in nearest]

    async def check(self, call: Call) -> str:
        del call
        return "in memory"


@dataclass(frozen=True)
class Question:
    """A question of a document, and what a right answer matches."""

    collection: str
    text: str
    fact: re.Pattern[str]


def questions(path: Path) -> list[Question]:
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return [Question(document, text, re.compile(fact)) for document, text, fact in rows]


async def ask(chat: Chat, question: Question) -> tuple[str, tuple[Passage, ...]]:
    """Return the answer and the passages that were kept."""
    asked = ChatQuestion(question.text, retrieve=True, rerank=True, collection=question.collection)
    text, end = "", AnswerEnd()
    async with aclosing(chat.answer(Call.within(60), asked)) as items:
        async for item in items:
            if isinstance(item, AnswerToken):
                text += item.text
            else:
                end = item
    assert not end.error, end.error
    return text, end.passages


async def build() -> tuple[Chat, Retrieval]:
    """Return chat and retrieval over the documents, with the models as serve_config.yaml uses them."""
    models = ModelStore.from_environment()
    encoder = models.locate("all-minilm-l6-v2", "embeddings")
    embeddings, reranker = Embeddings(OnnxEmbeddings(encoder)), Reranker(LateInteractionReranker(encoder))
    store, settings = MemoryStore(), MilvusSettings()
    ingestion = Ingestion(embeddings, store, settings)
    for folder, collection in ((DOCUMENTS, ""), (SAMPLES, "house")):
        for file in sorted(folder.iterdir()):
            text_format = TextFormat.MARKDOWN if file.suffix == ".md" else TextFormat.PLAIN
            document = Document(file.name, file.read_text(), format=text_format, collection=collection or file.name)
            await ingestion.ingest(Call.within(60), document)
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    model = next(entry for entry in config["applications"] if entry["name"] == "language-model")
    answering = LanguageModelUserConfig.model_validate(model["deployments"][0]["user_config"]).answering.to_value()
    engine = LlamaCppEngine(models.locate("smollm2-135m-instruct", "language-model") / "model.gguf")
    retrieval = Retrieval(embeddings, reranker, store, settings)
    return Chat(LanguageModel(engine, answering), retrieval), retrieval


async def measure(path: Path, *, verbose: bool) -> None:
    chat, retrieval = await build()
    held: Counter[str] = Counter()
    asked = questions(path)
    for question in asked:
        answer, passages = await ask(chat, question)
        quoted = await retrieval.nearest_sentences(Call.within(60), question.text, passages, 3)
        found = [passage.embedded_text() for passage in passages]
        held["best passage"] += bool(question.fact.search(found[0]))
        held["best three passages"] += bool(question.fact.search("\n".join(found[:3])))
        held["quoted sentences"] += bool(question.fact.search("\n".join(passage.text for passage in quoted)))
        right = bool(question.fact.search(answer))
        held["answer"] += right
        own = not answer.startswith(_QUOTED)
        held["answer begins in the model's own words"] += own
        held["of these, right"] += own and right
        if verbose or not right:
            print(f"{'right' if right else 'WRONG'}  {question.text}\n       {answer}")
    for name, count in held.items():
        print(f"{name:<40}{count:>4} of {len(asked)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=Path, default=QUESTIONS, help="other questions, in the same form")
    parser.add_argument("--verbose", action="store_true", help="print right answers too")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.questions, verbose=arguments.verbose))


if __name__ == "__main__":
    main()
