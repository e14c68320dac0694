"""Sentence embeddings by an ONNX encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deployments.call import Call
from deployments.engines.vectors.onnx_encoder import OnnxEncoder, Pooling
from deployments.engines.vectors.onnx_model import model_name
from deployments.values.devices import OnnxDevice
from deployments.values.vectors import Vectors


class OnnxEmbeddings:
    """Embeddings of one model folder; see `OnnxEncoder` for the settings."""

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 2,
        max_tokens: int = 256,
        batch_tokens: int = 1024,
        device: OnnxDevice = "cpu",
        pooling: Pooling = "mean",
    ) -> None:
        self._name = model_name(folder, device)
        self._encoder = OnnxEncoder(
            folder,
            threads=threads,
            max_tokens=max_tokens,
            batch_tokens=batch_tokens,
            device=device,
            pooling=pooling,
        )

    is_remote = False

    @property
    def description(self) -> str:
        return f"ONNX, {self._name}"

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        encoded = await self._encoder.encode(call, texts)
        return np.stack([text.embedding for text in encoded])

    async def check(self) -> None:
        """See `OnnxModel.check`."""
        await self._encoder.check()

    async def close(self) -> None:
        self._encoder.close()
