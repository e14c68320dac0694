"""Sentence embeddings by an ONNX encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deployments.call import Call
from deployments.engines.vectors.onnx_encoder import OnnxEncoder
from deployments.values.vectors import Vectors


class OnnxEmbeddings:
    """Embeddings of one model folder; see `OnnxEncoder` for the settings."""

    def __init__(self, folder: Path, *, threads: int = 2, max_tokens: int = 256) -> None:
        self._name = folder.name
        self._encoder = OnnxEncoder(folder, threads=threads, max_tokens=max_tokens)

    is_remote = False

    @property
    def description(self) -> str:
        return f"ONNX, {self._name}"

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        encoded = await self._encoder.encode(call, texts)
        return np.stack([text.embedding for text in encoded])

    async def check(self) -> None:
        """Do nothing: a loaded session can always run."""

    async def close(self) -> None:
        self._encoder.close()
