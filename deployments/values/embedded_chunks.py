"""The chunks of a document that are written at once, with their vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.values.documents import Chunk
from deployments.values.vectors import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedChunks:
    """Neighbouring chunks of a document with their vectors.

    Attributes:
        first_index: Index of the first of them in the document, from 0, and so the number of those before.
        chunks: In order; there may be none.
        vectors: One row for each chunk: shape (chunks, dimensions).
    """

    first_index: int
    chunks: Sequence[Chunk]
    vectors: Vectors

    @classmethod
    def none(cls, first_index: int) -> "EmbeddedChunks":
        """Return no chunks at a place in a document."""
        return cls(first_index, (), np.empty((0, 0), np.float32))

    @property
    def end(self) -> int:
        """Index behind the last of them."""
        return self.first_index + len(self.chunks)
