"""Texts to vectors by an ONNX encoder: sentence embeddings and token vectors from one pass."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deployments.call import Call
from deployments.engines.vectors.onnx_model import OnnxModel
from deployments.values.vectors import Vectors, unit_length


@dataclass(frozen=True, slots=True)
class EncodedText:
    """What the encoder made of one text.

    Attributes:
        token_ids: Vocabulary ids of the tokens, the two special ones included: shape (tokens,).
        token_vectors: One row of length 1 for each token: shape (tokens, dimensions), float32.
        embedding: Mean of the model's token outputs, of length 1: shape (dimensions,), float32.
    """

    token_ids: npt.NDArray[np.int64]
    token_vectors: Vectors
    embedding: Vectors


class OnnxEncoder:
    """An encoder whose first output is a vector for each token: shape (texts, tokens, dimensions).

    Args:
        folder: Holds `model.onnx` and `tokenizer.json`.
        threads: Batches that run at once, each on a thread.
        max_tokens: Texts are cut to this many tokens.
        batch_tokens: Padded tokens in one batch at most.
    """

    def __init__(self, folder: Path, *, threads: int = 2, max_tokens: int = 256, batch_tokens: int = 1024) -> None:
        self._model = OnnxModel(folder, threads=threads, max_tokens=max_tokens, batch_tokens=batch_tokens)

    async def encode(self, call: Call, texts: Sequence[str]) -> list[EncodedText]:
        """Return what the encoder makes of each text, in order.

        Raises:
            DeadlineExceededError: The call's time ran out between two batches.
        """
        encodings = await self._model.tokenize(texts)
        encoded: dict[int, EncodedText] = {}
        async with aclosing(self._model.run(call, encodings)) as outputs:
            async for index, vectors in outputs:
                token_ids = np.array(encodings[index].ids, np.int64)
                encoded[index] = _encoded(token_ids, vectors[: len(token_ids)])
        return [encoded[index] for index in range(len(texts))]

    def close(self) -> None:
        self._model.close()


def _encoded(token_ids: npt.NDArray[np.int64], vectors: Vectors) -> EncodedText:
    return EncodedText(token_ids, unit_length(vectors), unit_length(vectors.mean(axis=0)))
