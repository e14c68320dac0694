"""Sentence embeddings by an ONNX encoder."""

from collections.abc import Sequence

import numpy as np

from deployments.call import Call
from deployments.engines.vectors.onnx_encoder import OnnxEncoder
from deployments.values.vectors import Vectors


class OnnxEmbeddings:
    """Embeddings by one encoder.

    A single text goes before several: it is a question, and somebody waits for its answer. The chunks of a
    document come many together, and a document of one chunk holds nobody up.

    Args:
        encoder: Makes the vectors. A reranker may share it.
    """

    def __init__(self, encoder: OnnxEncoder) -> None:
        self._encoder = encoder

    is_remote = False

    @property
    def description(self) -> str:
        return f"ONNX, {self._encoder.name}"

    async def embed(self, call: Call, texts: Sequence[str]) -> Vectors:
        """Return one row of length 1 for each text, in order."""
        encoded = await self._encoder.encode(call, texts, urgent=len(texts) == 1)
        return np.stack([text.embedding for text in encoded])

    async def check(self) -> None:
        """See `OnnxModel.check`."""
        await self._encoder.check()

    async def close(self) -> None:
        self._encoder.close()
