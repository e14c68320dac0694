"""Retrieval, ingestion and chat in one process: the shipped models and settings, a real Milvus, no Ray and no NATS."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridges.command_line.files.extraction import Extractor
from deployments.call import Call
from deployments.chat.service import Chat
from deployments.engines.language.llama_cpp import LlamaCppEngine
from deployments.engines.protocols import DeployedModel
from deployments.engines.text_engines import embeddings_with_reranker
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
from deployments.settings.text_models import EmbeddingsSettings
from deployments.values.documents import Document
from deployments.values.language import Answering
from tests.benchmarks.question_sets import small_document
from tests.benchmarks.shipped import application, language_model_file, shipped_answering
from tests.benchmarks.site import Site

_WAIT_S = 600.0


@dataclass(frozen=True)
class LocalServices:
    """The services over one Milvus server.

    Attributes:
        connection: To the server.
        settings: How it is searched.
        models: Where the models are.
        embeddings: Shared by all others.
        reranker: Likewise.
        ingestion: Writes.
        engines: Language models that were loaded, closed with the services.
    """

    connection: MilvusConnection
    settings: MilvusSettings
    models: ModelStore
    embeddings: Embeddings
    reranker: Reranker
    ingestion: Ingestion
    engines: list[LlamaCppEngine] = field(default_factory=list[LlamaCppEngine])

    def passages(self, keyword_weight: float) -> MilvusPassages:
        """Return a search with a share of its own by words."""
        return MilvusPassages(self.connection, keyword_weight=keyword_weight)

    def retrieval(self, keyword_weight: float | None = None) -> Retrieval:
        """Return retrieval, with a share of its own by words or the shipped one."""
        weight = self.settings.keyword_weight if keyword_weight is None else keyword_weight
        return Retrieval(self.embeddings, self.reranker, self.passages(weight), self.settings)

    def language_model(self, *, context_tokens: int = 2048, parallel: int = 4) -> LlamaCppEngine:
        """Load the shipped language model."""
        file = language_model_file(self.models)
        self.engines.append(LlamaCppEngine(file, context_tokens=context_tokens, parallel=parallel))
        return self.engines[-1]

    def chat(self, retrieval: Retrieval, engine: LlamaCppEngine, answering: Answering) -> Chat:
        """Return a chat."""
        return Chat(LanguageModel(engine, answering), retrieval)

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

    async def ingest_small(self, kinds: Iterable[str]) -> None:
        """Ingest small documents, each into a collection of its own."""
        for kind in sorted(set(kinds)):
            files, base = small_document(kind)
            await self.ingest(files, collection_of(kind), base)


def collection_of(kind: str) -> str:
    """Return the collection of a small document."""
    return f"small_{kind.replace('.', '_')}"


def answering(*, check_sentences: bool) -> Answering:
    """Return how the shipped model is used, with the sentences of its answers checked or not."""
    return replace(shipped_answering(), check_sentences=check_sentences)


def _none_deployed(application: str, deployment: str, role: str) -> DeployedModel:
    raise LookupError(f"{role}: there is no cluster here that {deployment} of {application} could run in")


@asynccontextmanager
async def local_services(site: Site) -> AsyncGenerator[LocalServices]:
    """Give the services over a Milvus server, for as long as the block lasts."""
    models = ModelStore.from_environment()
    settings = MilvusSettings.model_validate(application("orchestration")["args"]["milvus"])
    async with AsyncExitStack() as running:
        connection = MilvusConnection(running.enter_context(site.milvus()))
        running.push_async_callback(connection.close)
        embedder, scorer = embeddings_with_reranker(
            EmbeddingsSettings.model_validate(application("embeddings")["args"]), _none_deployed
        )
        if scorer is None:
            raise LookupError("the shipped embeddings have no reranker beside them")
        running.push_async_callback(embedder.close)
        embeddings, reranker = Embeddings(embedder), Reranker(scorer)
        ingestion = Ingestion(embeddings, MilvusDocuments(connection), settings)
        services = LocalServices(connection, settings, models, embeddings, reranker, ingestion)
        try:
            yield services
        finally:
            for engine in services.engines:
                await engine.close()
