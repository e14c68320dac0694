"""Retrieval, ingestion and chat in one process: the shipped models and settings, a real Milvus, no Ray and no NATS."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bridges.command_line.files.extraction import Extractor
from bridges.command_line.main import SAMPLES
from deployments.call import Call
from deployments.chat.service import Chat
from deployments.engines.language.llama_cpp import LlamaCppEngine
from deployments.engines.vectors.late_interaction import LateInteractionReranker
from deployments.engines.vectors.onnx_embeddings import OnnxEmbeddings
from deployments.inference.embeddings import Embeddings
from deployments.inference.language_model import LanguageModel
from deployments.inference.reranker import Reranker
from deployments.ingestion.service import Ingestion
from deployments.milvus.connection import MilvusConnection
from deployments.milvus.documents import MilvusDocuments
from deployments.milvus.passages import MilvusPassages
from deployments.models.store import ModelStore
from deployments.retrieval.service import Retrieval
from deployments.settings.orchestration import MilvusSettings
from deployments.settings.text_models import LanguageModelUserConfig
from deployments.values.documents import Document
from deployments.values.language import Answering
from tests.benchmarks.question_sets import DOCUMENTS
from tests.servers import ROOT, milvus_server

_WAIT_S = 600.0


def shipped(application: str) -> Any:
    """Return an application's entry in serve_config.yaml."""
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    return next(entry for entry in config["applications"] if entry["name"] == application)


def shipped_answering() -> Answering:
    """Return how the shipped model is used."""
    user_config = shipped("language-model")["deployments"][0]["user_config"]
    return LanguageModelUserConfig.model_validate(user_config).answering.to_value()


@dataclass(frozen=True)
class LocalServices:
    """The services over one Milvus server.

    Attributes:
        uri: Of the server.
        settings: How it is searched.
        models: Where the models are.
        embeddings: Shared by all others.
        reranker: Likewise.
        ingestion: Writes.
    """

    uri: str
    settings: MilvusSettings
    models: ModelStore
    embeddings: Embeddings
    reranker: Reranker
    ingestion: Ingestion

    def passages(self, keyword_weight: float) -> MilvusPassages:
        """Return a search with a share of its own by words."""
        return MilvusPassages(MilvusConnection(self.uri), keyword_weight=keyword_weight)

    def retrieval(self, keyword_weight: float | None = None) -> Retrieval:
        """Return retrieval, with a share of its own by words or the shipped one."""
        weight = self.settings.keyword_weight if keyword_weight is None else keyword_weight
        return Retrieval(self.embeddings, self.reranker, self.passages(weight), self.settings)

    def chat(self, retrieval: Retrieval, *, check_sentences: bool | None = None) -> Chat:
        """Return a chat with the shipped model; its sentences checked or not, or as they are shipped."""
        answering = shipped_answering()
        if check_sentences is not None:
            answering = replace(answering, check_sentences=check_sentences)
        file = self.models.locate_file("smollm2-135m-instruct", "language-model", "model.gguf")
        return Chat(LanguageModel(LlamaCppEngine(file), answering), retrieval)

    async def ingest(self, files: Iterable[Path], collection: str, base: Path) -> int:
        """Ingest files as `hearth ingest` does; return how many chunks there are."""
        chunks = 0
        with Extractor() as extractor:
            for file in files:
                extracted = await extractor.extract(file)
                document = Document(
                    str(file.relative_to(base)), extracted.text, extracted.title, extracted.format, collection
                )
                chunks += (await self.ingestion.ingest(Call.within(_WAIT_S), document)).chunks
        return chunks

    async def ingest_small(self) -> None:
        """Ingest each of the small documents into a collection of its own."""
        for file in sorted(DOCUMENTS.iterdir()):
            await self.ingest([file], collection_of(file.name), DOCUMENTS)
        await self.ingest(sorted(SAMPLES.iterdir()), collection_of("house"), SAMPLES)


def collection_of(kind: str) -> str:
    """Return the collection of a small document."""
    return f"small_{kind.replace('.', '_')}"


@asynccontextmanager
async def local_services(folder: Path) -> AsyncGenerator[LocalServices]:
    """Run a Milvus server for as long as the block lasts; give the services over it."""
    models = ModelStore.from_environment()
    encoder = models.locate("all-minilm-l6-v2", "embeddings")
    settings = MilvusSettings.model_validate(shipped("orchestration")["args"]["milvus"])
    embeddings = Embeddings(OnnxEmbeddings(encoder))
    reranker = Reranker(LateInteractionReranker(encoder))
    with milvus_server(folder) as uri:
        documents = MilvusDocuments(MilvusConnection(uri))
        ingestion = Ingestion(embeddings, documents, settings)
        yield LocalServices(uri, settings, models, embeddings, reranker, ingestion)
