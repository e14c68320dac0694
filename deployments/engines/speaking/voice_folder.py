"""Custom voices: each folder of a folder that holds a model and its configuration is one."""

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from deployments.engines.protocols import TextToSpeechEngine
from deployments.errors import HearthError, InvalidRequestError, NotFoundError, UnavailableError
from deployments.values.speech import VoiceInfo

logger = logging.getLogger(__name__)

_CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class VoiceFiles:
    """What makes up a voice.

    Attributes:
        voice: What it is called and speaks.
        model: Its ONNX file.
        config: Its configuration, read.
        config_path: Where it was read from.
    """

    voice: VoiceInfo
    model: Path
    config: Mapping[str, Any]
    config_path: Path


Loader = Callable[[VoiceFiles], TextToSpeechEngine]
"""Loads a voice of one kind; raises `UnavailableError` where what it needs is not installed."""


class VoiceFolder:
    """The custom voices of one folder. The folder is the only truth: what is gone from it is gone.

    Args:
        folder: Holds a folder for each voice, whose name is the voice's.
        loaders: How to load a voice, by its kind.
        not_voices: Names of folders that hold other models.
        max_loaded: Voices kept in memory; beyond that the one least lately used goes.
    """

    def __init__(
        self, folder: Path, loaders: Mapping[str, Loader], not_voices: Collection[str], *, max_loaded: int = 4
    ) -> None:
        self._folder = folder
        self._loaders = loaders
        self._not_voices = frozenset(not_voices)
        self._max_loaded = max_loaded
        self._found: dict[str, VoiceFiles] = {}
        self._loaded: OrderedDict[str, tuple[VoiceFiles, TextToSpeechEngine]] = OrderedDict()
        self._lock = threading.Lock()
        self.faults: tuple[str, ...] = ()

    @property
    def voices(self) -> tuple[VoiceInfo, ...]:
        return tuple(files.voice for files in self._found.values())

    def scan(self) -> None:
        """Look through the folder; what is broken is reported once, and skipped."""
        found: dict[str, VoiceFiles] = {}
        faults: list[str] = []
        for folder in sorted(self._folders()):
            try:
                files = _voice_files(folder)
            except InvalidRequestError as error:
                faults.append(f"{folder.name}: {error.message}")
                continue
            if files is not None:
                found[folder.name] = files
        for fault in faults:
            if fault not in self.faults:
                logger.warning("voice folder %s: %s", self._folder, fault)
        self._found, self.faults = found, tuple(faults)

    def loaded(self, name: str) -> TextToSpeechEngine | None:
        """Return the engine that speaks a voice, None where it would have to be loaded."""
        files = self._found.get(name)
        with self._lock:
            kept = self._loaded.get(name)
            if kept is None or kept[0] != files:
                return None
            self._loaded.move_to_end(name)
            return kept[1]

    def engine(self, name: str) -> TextToSpeechEngine:
        """Return the engine that speaks a voice. For one thread at a time; `loaded` may be called beside it."""
        files = self._found.get(name)
        if files is None:
            raise NotFoundError(f"the voice {name!r} is gone", field="speaker")
        if (kept := self.loaded(name)) is not None:
            return kept
        engine = self._load(files)
        with self._lock:
            self._loaded[name] = (files, engine)
            self._loaded.move_to_end(name)
            while len(self._loaded) > self._max_loaded:
                self._loaded.popitem(last=False)
        return engine

    def _load(self, files: VoiceFiles) -> TextToSpeechEngine:
        try:
            return self._loaders[files.voice.kind](files)
        except HearthError:
            raise
        except Exception as error:
            # A library says in errors of its own kinds that a file is not what its name promises.
            logger.exception("the voice %r cannot be loaded", files.voice.name)
            raise UnavailableError(f"the voice {files.voice.name!r} cannot be loaded", field="speaker") from error

    def _folders(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return [
            path
            for path in self._folder.iterdir()
            if path.is_dir() and not path.name.startswith(".") and path.name not in self._not_voices
        ]


def _voice_files(folder: Path) -> VoiceFiles | None:
    """Return the voice in a folder, None where there is no sign of one.

    Raises:
        InvalidRequestError: Half of a voice is there, or its configuration is of no known kind.
    """
    models = sorted(folder.glob("*.onnx"))
    configs = [*(model.with_name(f"{model.name}.json") for model in models), folder / _CONFIG]
    config_path = next((path for path in configs if path.is_file()), None)
    if not models and config_path is None:
        return None
    if config_path is None:
        raise InvalidRequestError(f"{models[0].name} has no configuration: expected {models[0].name}.json or {_CONFIG}")
    config = _read(config_path)
    kind = _kind(config)
    if not models:
        raise InvalidRequestError(f"no model: expected an .onnx file beside {config_path.name}")
    if not kind:
        raise InvalidRequestError(f"{config_path.name} describes neither a Piper voice nor a VITS model")
    created = datetime.fromtimestamp(models[0].stat().st_mtime, UTC).isoformat(timespec="seconds")
    voice = VoiceInfo(folder.name, _language(config), kind, created.replace("+00:00", "Z"))
    return VoiceFiles(voice, models[0], config, config_path)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        # What the system says of a file names its path.
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequestError(f"{path.name} cannot be read: {why}") from error
    if not isinstance(config, dict):
        raise InvalidRequestError(f"{path.name} is not a JSON object")
    return cast("dict[str, Any]", config)


def _kind(config: Mapping[str, Any]) -> str:
    if "phoneme_id_map" in config and isinstance(config.get("audio"), dict):
        return "piper"
    if config.get("model") == "vits" or config.get("model_type") == "vits":
        return "vits"
    return ""


def _language(config: Mapping[str, Any]) -> str:
    language: Any = config.get("language") or config.get("phoneme_language") or ""
    if isinstance(language, dict):
        named = cast("dict[str, Any]", language)
        language = named.get("code") or named.get("family") or ""
    return str(language).replace("_", "-").split("-")[0].lower()
