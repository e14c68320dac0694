"""From settings to engines. A library is imported only where its engine is chosen: each comes with an extra."""

import os
from importlib.util import find_spec
from pathlib import Path

from deployments.engines.http_client import HttpBackEnd
from deployments.engines.protocols import EmbeddingsEngine, LanguageModelEngine, RerankerEngine
from deployments.errors import BackEnd, UnavailableError
from deployments.models.store import ModelStore
from deployments.settings.text_models import (
    CrossEncoderSettings,
    EmbeddingsSettings,
    LanguageModelSettings,
    LateInteractionSettings,
    LlamaCppSettings,
    OnnxEmbeddingsSettings,
    OpenAIChatSettings,
    OpenAIEmbeddingsSettings,
    RerankApiSettings,
    RerankerSettings,
    TeiSettings,
)

_GGUF = "model.gguf"


def language_model_engine(settings: LanguageModelSettings) -> LanguageModelEngine:
    """Load the language model that the settings name.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    match settings.engine:
        case LlamaCppSettings() as engine:
            library_required("xllamacpp", "llama-cpp")
            from deployments.engines.language.llama_cpp import LlamaCppEngine  # noqa: PLC0415

            return LlamaCppEngine(
                ModelStore.from_environment().locate_file(engine.model, "language-model", _GGUF),
                context_tokens=engine.context_tokens,
                parallel=engine.parallel,
                threads=engine.threads,
                threads_batch=engine.threads_batch,
                gpu_layers=engine.gpu_layers,
                cache_mib=engine.cache_mib,
            )
        case OpenAIChatSettings() as engine:
            from deployments.engines.language.openai_chat import OpenAIChatEngine  # noqa: PLC0415

            server = model_server(engine.base_url, engine.api_key_variable, "language model", takes_client_input=True)
            return OpenAIChatEngine(server, model=engine.model, context_tokens=engine.context_tokens)


def embeddings_engine(settings: EmbeddingsSettings) -> EmbeddingsEngine:
    """Load the embeddings model that the settings name.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    match settings.engine:
        case OnnxEmbeddingsSettings() as engine:
            library_required("onnxruntime", "onnx")
            from deployments.engines.vectors.onnx_embeddings import OnnxEmbeddings  # noqa: PLC0415

            folder = _folder(engine.model, "embeddings")
            return OnnxEmbeddings(
                folder,
                threads=engine.threads,
                max_tokens=engine.max_tokens,
                batch_tokens=engine.batch_tokens,
                device=engine.device,
                pooling=engine.pooling,
            )
        case OpenAIEmbeddingsSettings() as engine:
            from deployments.engines.vectors.openai_embeddings import OpenAIEmbeddings  # noqa: PLC0415

            server = model_server(engine.base_url, engine.api_key_variable, "embeddings server")
            return OpenAIEmbeddings(server, model=engine.model)
        case TeiSettings() as engine:
            from deployments.engines.vectors.tei import TeiEmbeddings  # noqa: PLC0415

            server = model_server(engine.base_url, engine.api_key_variable, "embeddings server")
            return TeiEmbeddings(server, batch_size=engine.batch_size)


def reranker_engine(settings: RerankerSettings) -> RerankerEngine:
    """Load the reranker that the settings name.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    match settings.engine:
        case LateInteractionSettings() as engine:
            library_required("onnxruntime", "onnx")
            from deployments.engines.vectors.late_interaction import LateInteractionReranker  # noqa: PLC0415

            return LateInteractionReranker(
                _folder(engine.model, "reranker"),
                threads=engine.threads,
                max_tokens=engine.max_tokens,
                token_weight=engine.token_weight,
                cache_bytes=engine.cache_bytes,
                device=engine.device,
            )
        case CrossEncoderSettings() as engine:
            library_required("onnxruntime", "onnx")
            from deployments.engines.vectors.cross_encoder import CrossEncoderReranker  # noqa: PLC0415

            folder = _folder(engine.model, "reranker")
            return CrossEncoderReranker(
                folder,
                threads=engine.threads,
                max_tokens=engine.max_tokens,
                batch_tokens=engine.batch_tokens,
                device=engine.device,
            )
        case RerankApiSettings() as engine:
            from deployments.engines.vectors.rerank_api import RerankApiReranker  # noqa: PLC0415

            server = model_server(engine.base_url, engine.api_key_variable, "reranker")
            return RerankApiReranker(server, model=engine.model)
        case TeiSettings() as engine:
            from deployments.engines.vectors.tei import TeiReranker  # noqa: PLC0415

            server = model_server(engine.base_url, engine.api_key_variable, "reranker")
            return TeiReranker(server, batch_size=engine.batch_size)


def _folder(model: str, role: str) -> Path:
    return ModelStore.from_environment().locate(model, role)


def model_server(base_url: str, api_key_variable: str, role: str, *, takes_client_input: bool = False) -> HttpBackEnd:
    """Return a model server over HTTP; see `HttpBackEnd` for `role` and `takes_client_input`.

    Raises:
        UnavailableError: Its API key is not in the environment.
    """
    key = os.environ.get(api_key_variable, "") if api_key_variable else ""
    if api_key_variable and not key:
        raise UnavailableError(
            f"the API key of the {role} is not in the environment: set {api_key_variable}", back_end=BackEnd(role)
        )
    return HttpBackEnd(base_url, role=role, api_key=key, takes_client_input=takes_client_input)


def library_required(module: str, extra: str) -> None:
    """Raise `UnavailableError` with the command that helps when an engine's library is not installed."""
    if find_spec(module) is None:
        raise UnavailableError(f"the engine needs {module}: install it with `pip install hearth[{extra}]`")
