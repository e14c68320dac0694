"""Texts to vectors by an ONNX encoder: sentence embeddings and token vectors from one pass."""

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from deployments.call import Call
from deployments.engines.vectors.encoded_text import EncodedText, TokenVectorCache
from deployments.engines.vectors.onnx_model import OnnxModel, model_name
from deployments.values.devices import OnnxDevice
from deployments.values.vectors import Vectors, unit_length

Pooling = Literal["mean", "cls"]


class OnnxEncoder:
    """An encoder whose first output is a vector for each token: shape (texts, tokens, dimensions).

    Several engines may share it. Closing it for one closes it for all.

    Args:
        folder: Holds `model.onnx` and `tokenizer.json`.
        threads: Batches that run at once, each on a thread.
        max_tokens: Texts are cut to this many tokens.
        batch_tokens: Padded tokens in one batch at most.
        device: What runs the model.
        pooling: How a text's vector is made of those of its tokens, as the model was trained: "mean" of all, or "cls",
            the first one.
        cache_bytes: Token vectors of texts that were encoded before are kept, so many bytes of them; 0 keeps none.

    Attributes:
        name: The model's, with its device where that is not the processor; for status and logs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 2,
        max_tokens: int = 256,
        batch_tokens: int = 1024,
        device: OnnxDevice = "cpu",
        pooling: Pooling = "mean",
        cache_bytes: int = 0,
    ) -> None:
        self.name = model_name(folder, device)
        self._model = OnnxModel(
            folder, threads=threads, max_tokens=max_tokens, batch_tokens=batch_tokens, device=device
        )
        self._pooling = pooling
        self._cache = TokenVectorCache(cache_bytes)

    async def encode(self, call: Call, texts: Sequence[str], *, urgent: bool = False) -> list[EncodedText]:
        """Return what the encoder makes of each text, in order.

        Args:
            call: Whose deadline holds.
            texts: Of any length.
            urgent: Whether they go before what is not, however long they are.

        Raises:
            DeadlineExceededError: The call's time ran out between two batches.
        """
        known = {text: self._cache.get(text) for text in texts}
        missing = [text for text, encoded in known.items() if encoded is None]
        encodings = await self._model.tokenize(missing)
        async with aclosing(self._model.run(call, encodings, urgent=urgent)) as outputs:
            async for index, vectors in outputs:
                token_ids = np.array(encodings[index].ids, np.int64)
                encoded = self._encoded(token_ids, vectors[: len(token_ids)])
                self._cache.put(missing[index], encoded)
                known[missing[index]] = encoded
        return [encoded for text in texts if (encoded := known[text]) is not None]

    async def check(self) -> None:
        """See `OnnxModel.check`."""
        await self._model.check()

    def close(self) -> None:
        self._model.close()

    def _encoded(self, token_ids: npt.NDArray[np.int64], vectors: Vectors) -> EncodedText:
        # A model of 16 bits would lose in a mean what it has.
        exact = vectors.astype(np.float32)
        pooled = exact[0] if self._pooling == "cls" else exact.mean(axis=0)
        return EncodedText(token_ids, unit_length(exact), unit_length(pooled))
