"""Pocket TTS as its library has it: torch and kyutai's model."""

import logging
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pocket_tts  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]

from deployments.errors import UnavailableError
from deployments.values.sound import Samples

logger = logging.getLogger(__name__)

# Neither is there where types are checked: the extra brings some gigabytes.
_torch = cast("Any", torch)
_library = cast("Any", pocket_tts)


class PocketModel:
    """The model, on the processor; for one thread at a time.

    Args:
        model: A language of Pocket TTS, such as "english", whose files come from the model hub, or the path of a
            configuration, a .yaml file.
        quantize: Compute with 8 bits.

    Raises:
        UnavailableError: It cannot be loaded.
    """

    def __init__(self, model: str, *, quantize: bool) -> None:
        source = {"config": model} if Path(model).suffix in {".yaml", ".yml"} else {"language": model}
        try:
            self._model = _library.TTSModel.load_model(**source, quantize=quantize)
        except (OSError, ValueError) as error:
            logger.exception("Pocket TTS cannot load %s", model)
            raise UnavailableError(
                f"engine.model: Pocket TTS cannot load {Path(model).name}; the log says why", field="engine.model"
            ) from error
        self.rate = int(self._model.sample_rate)
        self.clones = bool(self._model.has_voice_cloning)

    def voice(self, name: str) -> object:
        """Return a voice of the model's, or of a file. Blocks."""
        path = Path(name)
        try:
            return self._model.get_state_for_audio_prompt(path if path.suffix else name, truncate=True)
        except (OSError, ValueError) as error:
            logger.exception("Pocket TTS has no voice %s", name)
            raise UnavailableError(
                f"engine.voices: Pocket TTS has no voice {path.stem}; the log says why", field="engine.voices"
            ) from error

    def imitated(self, samples: Samples) -> object:
        """Return the voice that is heard in samples at the model's rate. Blocks."""
        return self._model.get_state_for_audio_prompt(_torch.from_numpy(samples)[None])

    def sound(self, voice: object, text: str, stop: threading.Event) -> Samples:
        """Return a sentence as sound; what is made of it until `stop` is set. Blocks."""
        chunks = [chunk.numpy() for chunk in self._model.generate_audio_stream(voice, text, stop=stop)]
        return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
