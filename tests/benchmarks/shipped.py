"""What is shipped: the applications of `serve_config.yaml`, and the files of the models that they name."""

from pathlib import Path
from typing import Any, cast

import yaml

from bridges.command_line.local.local_stack import SERVE_CONFIG
from deployments.engines.hearing.silero import SileroVoiceActivity
from deployments.engines.hearing.smart_turn import SmartTurn
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.models.store import ModelStore
from deployments.settings.text_models import LanguageModelUserConfig
from deployments.values.language import Answering


def serve_config(*, check_sentences: bool = True) -> dict[str, Any]:
    """Return the configuration; answers are checked against their passages, as shipped, or not."""
    config = cast("dict[str, Any]", yaml.safe_load(SERVE_CONFIG.read_text(encoding="utf-8")))
    if not check_sentences:
        _user_config(config)["answering"]["check_sentences"] = False
    return config


def application(name: str) -> dict[str, Any]:
    """Return an application's entry in serve_config.yaml."""
    return _application(serve_config(), name)


def shipped_answering() -> Answering:
    """Return how the shipped model is used."""
    return LanguageModelUserConfig.model_validate(_user_config(serve_config())).answering.to_value()


def _application(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in config["applications"] if entry["name"] == name)


def _user_config(config: dict[str, Any]) -> dict[str, Any]:
    return _application(config, "language-model")["deployments"][0]["user_config"]


def language_model_file(store: ModelStore) -> Path:
    """Return the file of the language model."""
    return store.locate_file("smollm2-135m-instruct", "language-model", "model.gguf")


def embeddings_folder(store: ModelStore) -> Path:
    """Return the folder of the model that embeds and reranks."""
    return store.locate("all-minilm-l6-v2", "embeddings")


def whisper(store: ModelStore, *, partial: bool) -> WhisperEngine:
    """Load the models of transcription: that of final transcripts, and that of partial ones if asked for."""
    fast = store.locate("whisper-tiny.en", "speech-to-text-partial") if partial else None
    return WhisperEngine(store.locate("whisper-base", "speech-to-text"), fast)


def voice_activity_file(store: ModelStore) -> Path:
    """Return the file of the model that finds speech."""
    return store.locate_file("silero-vad", "voice-activity", "model.onnx")


def voice_activity(store: ModelStore) -> SileroVoiceActivity:
    """Load the model that finds speech."""
    return SileroVoiceActivity(voice_activity_file(store))


def end_of_turn(store: ModelStore) -> SmartTurn:
    """Load the model that judges whether a speaker has finished."""
    return SmartTurn(store.locate_file("smart-turn-v3.2", "end-of-turn", "model.onnx"))
