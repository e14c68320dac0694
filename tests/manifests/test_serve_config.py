"""`serve_config.yaml` as Serve reads it, and as our own settings do."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.graph.load_policy import LoadPolicy
from deployments.settings.orchestration import OrchestrationSettings
from deployments.settings.speech_models import SpeechToTextSettings, TextToSpeechSettings
from deployments.settings.text_models import EmbeddingsSettings, LanguageModelSettings, LanguageModelUserConfig

CONFIG: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[2] / "serve_config.yaml").read_text())
APPLICATIONS: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in CONFIG["applications"]}
DEPLOYMENTS: list[dict[str, Any]] = [
    deployment for application in CONFIG["applications"] for deployment in application["deployments"]
]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_every_deployment_states_what_ray_s_defaults_get_wrong(deployment: dict[str, Any]) -> None:
    assert deployment["ray_actor_options"]["num_cpus"] >= 0
    assert deployment["health_check_period_s"] <= 2
    assert deployment["max_ongoing_requests"] > 5
    assert deployment["max_queued_requests"] > 0
    assert deployment["graceful_shutdown_timeout_s"] > 0


def test_models_live_apart_from_the_orchestration() -> None:
    apart = {name: {entry["name"] for entry in app["deployments"]} for name, app in APPLICATIONS.items()}
    assert apart == {
        "language-model": {"LanguageModel"},
        "embeddings": {"Embeddings"},
        "speech-to-text": {"SpeechToText"},
        "text-to-speech": {"TextToSpeech"},
        "orchestration": {"NatsIngress", "AudioIngress"},
    }


def test_a_deployment_that_scales_does_so_by_what_waits_too() -> None:
    policies = {name: application["autoscaling_policy"] for name, application in APPLICATIONS.items()}
    policy_class = f"{LoadPolicy.__module__}:{LoadPolicy.__name__}"
    assert policies == {name: {"policy_function": policy_class} for name in APPLICATIONS}


def test_nothing_is_served_over_http() -> None:
    assert CONFIG["proxy_location"] == "Disabled"
    assert all(application["route_prefix"] is None for application in CONFIG["applications"])


def test_the_arguments_are_settings() -> None:
    LanguageModelSettings.model_validate(APPLICATIONS["language-model"]["args"])
    LanguageModelUserConfig.model_validate(APPLICATIONS["language-model"]["deployments"][0]["user_config"])
    embeddings = EmbeddingsSettings.model_validate(APPLICATIONS["embeddings"]["args"])
    assert embeddings.one_model(), "the reranker would load the model again"
    settings = OrchestrationSettings.model_validate(APPLICATIONS["orchestration"]["args"])
    SpeechToTextSettings.model_validate(APPLICATIONS["speech-to-text"]["args"])
    TextToSpeechSettings.model_validate(APPLICATIONS["text-to-speech"]["args"])
    named = {settings.language_model, settings.embeddings, settings.reranker}
    named |= {settings.speech_to_text, settings.text_to_speech}
    assert named == set(APPLICATIONS) - {"orchestration"}


def test_an_ingress_outlives_the_requests_that_it_took() -> None:
    settings = OrchestrationSettings.model_validate(APPLICATIONS["orchestration"]["args"])
    waits = {entry["name"]: entry["graceful_shutdown_timeout_s"] for entry in DEPLOYMENTS}
    assert (
        settings.nats.request_timeout_s
        < settings.nats.leave_within_s
        < min(waits["NatsIngress"], waits["AudioIngress"])
    )
    assert settings.nats.request_timeout_s < waits["AudioIngress"]


def test_new_replicas_of_the_orchestration_take_requests_before_old_ones_leave() -> None:
    assert {entry["max_surge_percent"] for entry in APPLICATIONS["orchestration"]["deployments"]} == {100}
