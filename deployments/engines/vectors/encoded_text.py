"""What an encoder makes of a text, and a memory of it: what was computed for one use serves the next."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deployments.values.vectors import Vectors, unit_length

_INT8_SCALE = 127.0


@dataclass(frozen=True, slots=True)
class EncodedText:
    """What the encoder made of one text.

    Attributes:
        token_ids: Vocabulary ids of the tokens, the two special ones included: shape (tokens,).
        token_vectors: One row of length 1 for each token: shape (tokens, dimensions), float32.
        embedding: The text's own vector, of length 1: shape (dimensions,), float32.
    """

    token_ids: npt.NDArray[np.int64]
    token_vectors: Vectors
    embedding: Vectors


class TokenVectorCache:
    """Encoded texts in 8 bits, the longest unused dropped first.

    Args:
        capacity_bytes: Bytes of token vectors kept. A passage of 500 characters takes about 50 kB at 384
            dimensions.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._size = 0
        self._entries: OrderedDict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], Vectors]] = OrderedDict()

    def get(self, text: str) -> EncodedText | None:
        entry = self._entries.get(text)
        if entry is None:
            return None
        self._entries.move_to_end(text)
        token_ids, quantised, embedding = entry
        return EncodedText(token_ids, unit_length(quantised.astype(np.float32)), embedding)

    def put(self, text: str, encoded: EncodedText) -> None:
        if text in self._entries:
            return
        quantised = np.round(encoded.token_vectors * _INT8_SCALE).astype(np.int8)
        self._entries[text] = (encoded.token_ids, quantised, encoded.embedding)
        self._size += quantised.nbytes
        while self._size > self._capacity:
            _, (_, dropped, _) = self._entries.popitem(last=False)
            self._size -= dropped.nbytes
