"""Reranking by late interaction: each token of the question looks for its nearest token of the passage.

The score of a passage is a blend of two, each standardised over the passages of one call: the mean over the
question's tokens of their best cosine in the passage (MaxSim, as in ColBERT, Khattab and Zaharia 2020), tokens
that occur in few of the passages counting more, and the cosine of the two sentence embeddings. Both come out of
the embedding model, so no second model is needed. It is not a cross-encoder and is not called one.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deployments.call import Call
from deployments.engines.vectors.encoded_text import EncodedText
from deployments.engines.vectors.onnx_encoder import OnnxEncoder
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors

_SMALLEST_DEVIATION = 1e-6


class LateInteractionReranker:
    """Late interaction over the token vectors of an embedding model.

    Args:
        encoder: The embedding model. What it remembers is not computed again. The embeddings may share it; what is
            reranked goes before their documents.
        token_weight: Share of the token score in the blend; the rest is the sentence score.
    """

    def __init__(self, encoder: OnnxEncoder, *, token_weight: float = 0.65) -> None:
        self._encoder = encoder
        self._token_weight = token_weight

    is_remote = False

    @property
    def description(self) -> str:
        return f"late interaction, {self._encoder.name}"

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first."""
        if not passages:
            return []
        encoded_query, *encoded_passages = await self._encoder.encode(call, [query, *passages], urgent=True)
        scores = blend(encoded_query, encoded_passages, self._token_weight)
        order = sorted(range(len(passages)), key=lambda index: -scores[index])
        return [Ranking(index, scores[index]) for index in order]

    async def check(self) -> None:
        """See `OnnxModel.check`."""
        await self._encoder.check()

    async def close(self) -> None:
        self._encoder.close()


def blend(query: EncodedText, passages: Sequence[EncodedText], token_weight: float) -> list[float]:
    """Return the blended score of each passage; see the module's text for the formula."""
    weights = token_weights(query, passages)
    token_scores = np.array([max_similarity(query, passage, weights) for passage in passages])
    sentence_scores = np.array([float(query.embedding @ passage.embedding) for passage in passages])
    blended = token_weight * _standardised(token_scores) + (1 - token_weight) * _standardised(sentence_scores)
    return [float(score) for score in blended]


def token_weights(query: EncodedText, passages: Sequence[EncodedText]) -> Vectors:
    """Return a weight for each token of the question: its inverse document frequency among the passages.

    The two special tokens at the ends weigh nothing. Shape (tokens of the question,).
    """
    vocabularies = [set(passage.token_ids.tolist()) for passage in passages]
    frequencies = [sum(int(token) in vocabulary for vocabulary in vocabularies) for token in query.token_ids]
    weights = np.log(1 + (len(passages) + 1) / (np.array(frequencies) + 1)).astype(np.float32)
    weights[[0, -1]] = 0.0
    return weights


def max_similarity(query: EncodedText, passage: EncodedText, weights: Vectors) -> float:
    """Return the weighted mean, over the question's tokens, of their best cosine among the passage's tokens."""
    best = (query.token_vectors @ passage.token_vectors.T).max(axis=1)
    total = float(weights.sum())
    return float((best * weights).sum() / total) if total else 0.0


def _standardised(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    deviation = float(scores.std())
    if deviation < _SMALLEST_DEVIATION:
        return np.zeros_like(scores)
    return (scores - scores.mean()) / deviation
