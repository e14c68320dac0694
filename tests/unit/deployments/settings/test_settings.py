"""Settings: what is refused, and what the environment goes over."""

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.settings.environment import milvus_uri, with_environment
from deployments.settings.orchestration import OrchestrationSettings
from deployments.settings.text_models import (
    EmbeddingsSettings,
    LanguageModelSettings,
    LanguageModelUserConfig,
    RerankerSettings,
)

LLAMA = {"kind": "llama-cpp", "model": "smollm2-135m-instruct"}
ONNX: dict[str, Any] = {"kind": "onnx", "model": "m"}
LATE: dict[str, Any] = {"kind": "late-interaction", "model": "m"}


def fault(settings: type, given: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as raised:
        settings.model_validate(given)
    return str(raised.value)


@pytest.mark.parametrize(
    ("settings", "given", "named"),
    [
        (LanguageModelSettings, {"engine": {**LLAMA, "paralel": 4}}, "engine.llama-cpp.paralel"),
        (LanguageModelSettings, {"engine": {**LLAMA, "parallel": 0}}, "engine.llama-cpp.parallel"),
        (LanguageModelSettings, {"engine": {"kind": "vllm"}}, "'llama-cpp', 'openai'"),
        (LanguageModelUserConfig, {"answering": {"temperature": 3}}, "answering.temperature"),
        (RerankerSettings, {"engine": {"kind": "late-interaction", "model": "m", "token_weight": 2}}, "token_weight"),
        (EmbeddingsSettings, {"engine": ONNX, "reranker": {"engine": {**LATE, "cache": 1}}}, "reranker.engine"),
        (OrchestrationSettings, {"nats": {"queue": "x"}}, "nats.queue"),
        (OrchestrationSettings, {"milvus": {"keep": "many"}}, "milvus.keep"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(settings: type, given: dict[str, Any], named: str) -> None:
    assert named in fault(settings, given)


@pytest.mark.parametrize("reranker", [LATE, LATE | {"token_weight": 0.5, "threads": 2}])
def test_a_reranker_by_the_same_model_shares_it(reranker: dict[str, Any]) -> None:
    settings = EmbeddingsSettings.model_validate({"engine": ONNX, "reranker": {"engine": reranker}})
    assert settings.one_model() == (settings.engine, settings.reranker and settings.reranker.engine)


@pytest.mark.parametrize(
    ("engine", "reranker"),
    [
        (ONNX, LATE | {"model": "n"}),
        (ONNX, LATE | {"device": "cuda"}),
        (ONNX, LATE | {"threads": 1}),
        (ONNX | {"max_tokens": 512}, LATE),
        (ONNX, {"kind": "cross-encoder", "model": "m"}),
        ({"kind": "tei", "base_url": "http://tei"}, LATE),
    ],
)
def test_a_reranker_that_differs_has_a_model_of_its_own(engine: dict[str, Any], reranker: dict[str, Any]) -> None:
    given = {"engine": engine, "reranker": {"engine": reranker}}
    assert EmbeddingsSettings.model_validate(given).one_model() is None


def test_the_environment_goes_over_the_file() -> None:
    given = {"nats": {"url": "nats://file:4222", "queue_group": "chat"}, "milvus": {"retrieve": 7}}
    over = with_environment(
        given, {"NATS_URL": "nats://env:4222", "MILVUS_HOST": "milvus.ai-ml", "COLLECTION_NAME": "manuals"}
    )
    settings = OrchestrationSettings.model_validate(over)
    assert (settings.nats.url, settings.nats.queue_group) == ("nats://env:4222", "chat")
    assert (settings.milvus.uri, settings.milvus.collection) == ("http://milvus.ai-ml:19530", "manuals")
    assert settings.milvus.retrieve == 7


def test_probes_of_a_pod_come_from_outside() -> None:
    over = with_environment({"health": {"port": 8081}}, {"HEARTH_HEALTH_HOST": "10.0.0.7"})
    settings = OrchestrationSettings.model_validate(over)
    assert (settings.health.host, settings.health.port) == ("10.0.0.7", 8081)


def test_without_an_environment_the_file_stands() -> None:
    assert with_environment({"milvus": {"retrieve": 7}}, {}) == {
        "nats": {},
        "milvus": {"retrieve": 7},
        "health": {},
        "turns": {},
        "pipelines": {"argo": {"kind": "argo-server"}, "kubeflow": {}},
    }


def test_the_process_s_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://here:1")
    assert OrchestrationSettings.model_validate({}).nats.url == "nats://here:1"


@pytest.mark.parametrize(
    ("host", "port", "uri"),
    [
        ("milvus", "", "http://milvus:19530"),
        ("milvus", "29530", "http://milvus:29530"),
        ("milvus:1", "29530", "http://milvus:1"),
        ("https://milvus.example", "", "https://milvus.example"),
    ],
)
def test_milvus_is_named_by_host_port_or_uri(host: str, port: str, uri: str) -> None:
    assert milvus_uri(host, port) == uri
