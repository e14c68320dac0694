"""What the overlays deploy, as Serve reads it, and as our own settings do."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
from ray.serve.schema import ServeDeploySchema

from deployments.settings.orchestration import OrchestrationSettings
from deployments.settings.speech_models import SpeechToTextSettings, TextToSpeechSettings
from deployments.settings.text_models import (
    EmbeddingsSettings,
    LanguageModelSettings,
    LanguageModelUserConfig,
    RerankerSettings,
)
from tests.manifests.kustomize import OVERLAYS, Variant, one, resources
from tests.manifests.ray_service import (
    Deployment,
    Group,
    Service,
    deployments,
    ray_container,
    selected_group,
    serve_config,
    workers,
)

SETTINGS: dict[str, type[BaseModel]] = {
    "language-model": LanguageModelSettings,
    "embeddings": EmbeddingsSettings,
    "speech-to-text": SpeechToTextSettings,
    "text-to-speech": TextToSpeechSettings,
    "orchestration": OrchestrationSettings,
}


def service_of(overlay: str) -> Service:
    return one(resources(Variant(overlay)), "RayService")


@pytest.fixture(params=OVERLAYS)
def service(request: pytest.FixtureRequest) -> Service:
    return service_of(request.param)


def applications(service: Service) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in serve_config(service)["applications"]}


def test_serve_accepts_it(service: Service) -> None:
    read = ServeDeploySchema.model_validate(serve_config(service))
    assert [application.name for application in read.applications] == list(applications(service))


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_arguments_are_settings(overlay: str, name: str) -> None:
    SETTINGS[name].model_validate(applications(service_of(overlay))[name]["args"])


def test_the_reranker_is_with_the_embeddings_or_an_application_of_its_own(service: Service) -> None:
    there = applications(service)
    embeddings = EmbeddingsSettings.model_validate(there["embeddings"]["args"])
    settings = OrchestrationSettings.model_validate(there["orchestration"]["args"])
    assert (settings.reranker == settings.embeddings) == bool(embeddings.reranker)
    assert ("reranker" in there) == (not embeddings.reranker)
    if "reranker" in there:
        RerankerSettings.model_validate(there["reranker"]["args"])


def test_the_orchestration_finds_every_model(service: Service) -> None:
    settings = OrchestrationSettings.model_validate(applications(service)["orchestration"]["args"])
    named = {settings.language_model, settings.embeddings, settings.reranker}
    named |= {settings.speech_to_text, settings.text_to_speech}
    assert named <= set(applications(service))
    LanguageModelUserConfig.model_validate(applications(service)["language-model"]["deployments"][0]["user_config"])


def test_ingresses_outlive_the_requests_that_they_took(service: Service) -> None:
    settings = OrchestrationSettings.model_validate(applications(service)["orchestration"]["args"])
    waits = {entry["name"]: entry["graceful_shutdown_timeout_s"] for entry in deployments(service)}
    assert (
        settings.nats.request_timeout_s
        < settings.nats.leave_within_s
        < min(waits["NatsIngress"], waits["AudioIngress"])
    )


def test_every_model_has_a_card_of_its_kind_or_cpus_alone() -> None:
    """The cluster that the overlay is for, and the shares of its cards."""
    shares = {
        (group["groupName"], entry["name"]): entry["ray_actor_options"]["num_gpus"]
        for group, entry in placed(service_of("five-nodes"))
        if entry["ray_actor_options"].get("num_gpus")
    }
    assert shares == {
        ("language-model", "llm"): 0.95,
        ("speech", "SpeechToText"): 0.5,
        ("speech", "TextToSpeech"): 0.5,
        ("embeddings", "Embeddings"): 0.8,
        ("reranker", "Reranker"): 0.8,
    }


# Room for it.


def placed(service: Service) -> Iterator[tuple[Group, Deployment]]:
    """Yield each deployment with the group of its nodes; of those by ray.serve.llm, their bundles of resources."""
    for entry in deployments(service):
        (group,) = (group for group in workers(service) if selected_group(entry) in {"", group["groupName"]})
        yield group, entry
    for application in applications(service).values():
        for model in application.get("args", {}).get("llm_configs", []):
            yield from _bundles(service, application["name"], model)


def _bundles(service: Service, name: str, model: dict[str, Any]) -> Iterator[tuple[Group, Deployment]]:
    for bundle in model["placement_group_config"]["bundles"]:
        custom = {resource: amount for resource, amount in bundle.items() if resource not in {"CPU", "GPU"}}
        assert custom, "a bundle without one may be placed on any node"
        (group,) = (group for group in workers(service) if custom.items() <= custom_resources(group).items())
        yield group, {"name": name, "ray_actor_options": {"num_cpus": bundle["CPU"], "num_gpus": bundle["GPU"]}}


def custom_resources(group: Group) -> dict[str, float]:
    """Return what `ray start` is told: JSON, in quotes for the shell that runs it (v1.7.0 common/pod.go:1494)."""
    return json.loads(group["rayStartParams"].get("resources", "'{}'").strip("'"))


def test_every_group_has_the_cpus_and_cards_that_its_deployments_ask_for(service: Service) -> None:
    for group in workers(service):
        limits = ray_container(group)["resources"]["limits"]
        cards = sum(int(amount) for name, amount in limits.items() if "/" in name)
        here = [entry for where, entry in placed(service) if where is group]
        assert here, f"{group['groupName']} does nothing"
        assert _asked(here, "num_cpus") <= int(limits["cpu"]) * group["replicas"]
        assert _asked(here, "num_gpus") <= cards * group["replicas"]


def _asked(entries: list[Deployment], resource: str) -> float:
    return sum(entry.get("num_replicas", 1) * entry["ray_actor_options"].get(resource, 0) for entry in entries)


def test_replicas_that_keep_apart_have_a_node_each(service: Service) -> None:
    for group, entry in placed(service):
        if "max_replicas_per_node" in entry:
            assert entry["num_replicas"] <= entry["max_replicas_per_node"] * group["replicas"]


def test_a_new_replica_has_room_before_the_old_one_leaves_or_does_not_wait_for_it(service: Service) -> None:
    """A replica that waits for a node of its own would hold up the whole redeployment (Ray `deployment_state.py`)."""
    for group, entry in placed(service):
        if "max_replicas_per_node" in entry:
            room = entry["max_replicas_per_node"] * group["replicas"] - entry["num_replicas"]
            assert entry["max_surge_percent"] * entry["num_replicas"] <= 100 * room


def test_somebody_takes_requests_while_replicas_are_replaced(service: Service) -> None:
    for entry in applications(service)["orchestration"]["deployments"]:
        assert entry["max_surge_percent"] == 100 or entry["num_replicas"] > 1


# vLLM, as Ray serves it.


def test_the_language_model_is_bound_to_a_deployment_that_ray_makes() -> None:
    """Ray names it after the model, with -- for a slash and _ for a dot (Ray `llm/_internal/serve/core/server`)."""
    there = applications(service_of("five-nodes"))
    engine = there["language-model"]["args"]["engine"]
    (model,) = (LLMConfig.model_validate(entry) for entry in there[engine["application"]]["args"]["llm_configs"])
    assert engine["model"] == model.model_id
    assert engine["deployment"] == "LLMServer:" + model.model_id.replace("/", "--").replace(".", "_")
    assert engine["context_tokens"] == model.engine_kwargs["max_model_len"]
    assert model.engine_kwargs["gpu_memory_utilization"] == 0.95
    # Else a listener waits for tokens that are there.
    assert model.experimental_configs["stream_batching_interval_ms"] == 0
