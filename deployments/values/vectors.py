"""Embeddings as arrays."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Embeddings, one row for each text or token: shape (rows, dimensions), float32."""

_SMALLEST_NORM = 1e-9


def unit_length(vectors: Vectors) -> Vectors:
    """Scale vectors to length 1 along their last axis; a vector of zeros stays one."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, _SMALLEST_NORM)).astype(np.float32)
