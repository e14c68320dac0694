"""From settings to engines. A library is imported only where its engine is chosen: each comes with an extra."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from deployments.engines.adapter_protocols import Adapter, load_adapter
from deployments.engines.back_end import BackEndErrors
from deployments.engines.binding import Binding
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.remote_model import RemoteLanguageModel
from deployments.engines.llm_server import LLMServerModel
from deployments.engines.protocols import DeployedModel, EmbeddingsEngine, LanguageModelEngine, RerankerEngine
from deployments.errors import BackEnd, UnavailableError
from deployments.models.store import ModelStore
from deployments.settings.deployed import HandleSettings, LLMServerSettings
from deployments.settings.model_servers import ModelServerSettings
from deployments.settings.text_models import (
    ChatHandleSettings,
    CrossEncoderSettings,
    EmbeddingsSettings,
    LanguageModelSettings,
    LateInteractionSettings,
    LlamaCppSettings,
    LLMServerChatSettings,
    OnnxEmbeddingsSettings,
    OpenAIChatSettings,
    OpenAIEmbeddingsSettings,
    RerankApiSettings,
    RerankerSettings,
    TeiSettings,
)

if TYPE_CHECKING:
    from deployments.engines.vectors.onnx_encoder import OnnxEncoder

FindDeployed = Callable[[str, str, str], DeployedModel]
"""Gives a deployment of the cluster that is not Hearth's, by its application, its name, and its role for Hearth."""

_GGUF = "model.gguf"
_LANGUAGE_MODEL = "language model"
_EMBEDDINGS = "embeddings server"
_RERANKER = "reranker"


def language_model_engine(settings: LanguageModelSettings, find: FindDeployed) -> LanguageModelEngine:
    """Load the language model that the settings name.

    Args:
        settings: Of the application.
        find: Gives the deployment of the cluster that they may name.

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
                prefix_folder=platformdirs.user_cache_path("hearth") / "prefixes",
            )
        case OpenAIChatSettings() as engine:
            from deployments.engines.language.openai_chat import OpenAIChat  # noqa: PLC0415

            server = model_server(engine, _LANGUAGE_MODEL, takes_client_input=True)
            chat = OpenAIChat(server, model=engine.model)
            return RemoteLanguageModel(chat, context_tokens=engine.context_tokens)
        case LLMServerChatSettings() as engine:
            from deployments.engines.language.llm_server_chat import LLMServerChat  # noqa: PLC0415

            chat = LLMServerChat(llm_server(engine, find, _LANGUAGE_MODEL, takes_client_input=True))
            return RemoteLanguageModel(chat, context_tokens=engine.context_tokens)
        case ChatHandleSettings() as engine:
            from deployments.engines.language.deployed_chat import DeployedChat  # noqa: PLC0415

            adapter = load_adapter(engine.adapter, engine.arguments, "text")
            chat = DeployedChat(bound(engine, adapter, find, _LANGUAGE_MODEL, takes_client_input=True), adapter)
            return RemoteLanguageModel(chat, context_tokens=engine.context_tokens)


def embeddings_engine(settings: EmbeddingsSettings, find: FindDeployed) -> EmbeddingsEngine:
    """Load the embeddings model that the settings name; see `language_model_engine`.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    match settings.engine:
        case OnnxEmbeddingsSettings() as engine:
            encoder = _embeddings_encoder(engine, cache_bytes=0)
            from deployments.engines.vectors.onnx_embeddings import OnnxEmbeddings  # noqa: PLC0415

            return OnnxEmbeddings(encoder)
        case OpenAIEmbeddingsSettings() as engine:
            from deployments.engines.vectors.openai_embeddings import OpenAIEmbeddings  # noqa: PLC0415

            server = model_server(engine, _EMBEDDINGS)
            return OpenAIEmbeddings(server, model=engine.model)
        case TeiSettings() as engine:
            from deployments.engines.vectors.tei import TeiEmbeddings  # noqa: PLC0415

            server = model_server(engine, _EMBEDDINGS)
            return TeiEmbeddings(server, batch_size=engine.batch_size)
        case LLMServerSettings() as engine:
            from deployments.engines.vectors.llm_server_vectors import LLMServerEmbeddings  # noqa: PLC0415

            return LLMServerEmbeddings(llm_server(engine, find, _EMBEDDINGS))
        case HandleSettings() as engine:
            from deployments.engines.vectors.deployed_vectors import DeployedEmbeddings  # noqa: PLC0415

            adapter = load_adapter(engine.adapter, engine.arguments, "vectors")
            return DeployedEmbeddings(bound(engine, adapter, find, _EMBEDDINGS), adapter)


def embeddings_with_reranker(
    settings: EmbeddingsSettings, find: FindDeployed
) -> tuple[EmbeddingsEngine, RerankerEngine | None]:
    """Load the embeddings model and the reranker that the settings name beside it; see `language_model_engine`.

    Where both are one model, it is loaded once: see `EmbeddingsSettings.one_model`. Then the reranker knows the token
    vectors of every passage that was embedded here, as far as its `cache_bytes` go, and computes only the question's.

    Returns:
        The embeddings, and the reranker where there is one.

    Raises:
        HearthError: One of them cannot be loaded. The message says what to do.
    """
    if one_model := settings.one_model():
        engine, reranker = one_model
        encoder = _embeddings_encoder(engine, cache_bytes=reranker.cache_bytes)
        from deployments.engines.vectors.late_interaction import LateInteractionReranker  # noqa: PLC0415
        from deployments.engines.vectors.onnx_embeddings import OnnxEmbeddings  # noqa: PLC0415

        return OnnxEmbeddings(encoder), LateInteractionReranker(encoder, token_weight=reranker.token_weight)
    embeddings = embeddings_engine(settings, find)
    if settings.reranker is None:
        return embeddings, None
    return embeddings, reranker_engine(settings.reranker, find)


def reranker_engine(settings: RerankerSettings, find: FindDeployed) -> RerankerEngine:
    """Load the reranker that the settings name; see `language_model_engine`.

    Raises:
        HearthError: It cannot be loaded. The message says what to do.
    """
    match settings.engine:
        case LateInteractionSettings() as engine:
            library_required("onnxruntime", "onnx")
            from deployments.engines.vectors.late_interaction import LateInteractionReranker  # noqa: PLC0415
            from deployments.engines.vectors.onnx_encoder import OnnxEncoder  # noqa: PLC0415

            encoder = OnnxEncoder(
                _folder(engine.model, "reranker"),
                threads=engine.threads,
                max_tokens=engine.max_tokens,
                device=engine.device,
                cache_bytes=engine.cache_bytes,
            )
            return LateInteractionReranker(encoder, token_weight=engine.token_weight)
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

            server = model_server(engine, _RERANKER)
            return RerankApiReranker(server, model=engine.model)
        case TeiSettings() as engine:
            from deployments.engines.vectors.tei import TeiReranker  # noqa: PLC0415

            server = model_server(engine, _RERANKER)
            return TeiReranker(server, batch_size=engine.batch_size)
        case LLMServerSettings() as engine:
            from deployments.engines.vectors.llm_server_vectors import LLMServerReranker  # noqa: PLC0415

            return LLMServerReranker(llm_server(engine, find, _RERANKER))
        case HandleSettings() as engine:
            from deployments.engines.vectors.deployed_vectors import DeployedReranker  # noqa: PLC0415

            adapter = load_adapter(engine.adapter, engine.arguments, "scores")
            return DeployedReranker(bound(engine, adapter, find, _RERANKER), adapter)


def _embeddings_encoder(settings: OnnxEmbeddingsSettings, *, cache_bytes: int) -> "OnnxEncoder":
    library_required("onnxruntime", "onnx")
    from deployments.engines.vectors.onnx_encoder import OnnxEncoder  # noqa: PLC0415

    return OnnxEncoder(
        _folder(settings.model, "embeddings"),
        threads=settings.threads,
        max_tokens=settings.max_tokens,
        batch_tokens=settings.batch_tokens,
        device=settings.device,
        pooling=settings.pooling,
        cache_bytes=cache_bytes,
    )


def llm_server(
    settings: LLMServerSettings, find: FindDeployed, role: str, *, takes_client_input: bool = False
) -> LLMServerModel:
    """Return a model of `ray.serve.llm`; see `BackEndErrors` for `role` and `takes_client_input`."""
    deployed = find(settings.application, settings.deployment_name, role)
    errors = BackEndErrors(
        role,
        deployed.description,
        takes_client_input=takes_client_input,
        other_settings="engine.application, engine.deployment and engine.model",
    )
    return LLMServerModel(deployed, settings.model, errors)


def bound(
    settings: HandleSettings, adapter: Adapter, find: FindDeployed, role: str, *, takes_client_input: bool = False
) -> Binding:
    """Return a role that is bound to any other deployment; see `BackEndErrors` for `role` and `takes_client_input`."""
    deployed = find(settings.application, settings.deployment, role)
    errors = BackEndErrors(
        role,
        deployed.description,
        other_settings="engine.adapter and engine.arguments",
        takes_client_input=takes_client_input,
    )
    return Binding(deployed, adapter.method, errors, streams=adapter.streams)


def _folder(model: str, role: str) -> Path:
    return ModelStore.from_environment().locate(model, role)


def model_server(settings: ModelServerSettings, role: str, *, takes_client_input: bool = False) -> HttpBackEnd:
    """Return a model server over HTTP; see `HttpBackEnd` for `role` and `takes_client_input`.

    Raises:
        UnavailableError: Its API key is not in the environment, where it can only come with another process.
    """
    variable = settings.api_key_variable
    if variable and not os.environ.get(variable, "").strip():
        raise UnavailableError(
            f"the API key of the {role} is not in the environment: set {variable}", back_end=BackEnd(role)
        )
    return HttpBackEnd(settings.base_url, role=role, access=settings.access(), takes_client_input=takes_client_input)


def library_required(module: str, extra: str) -> None:
    """Raise `UnavailableError` with the command that helps when an engine's library is not installed."""
    if find_spec(module) is None:
        raise UnavailableError(f"the engine needs {module}: install it with `pip install hearth[{extra}]`")
