"""Reranking by late interaction: each token of the question looks for its nearest token of the passage.

The score of a passage is a blend of two, each standardised over the passages of one call: the mean over the
question's tokens of their best cosine in the passage (MaxSim, as in ColBERT, Khattab and Zaharia 2020), tokens
that occur in few of the passages counting more, and the cosine of the two sentence embeddings. Both come out of
the embedding model, so no second model is needed. It is not a cross-encoder and is not called one.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deployments.call import Call
from deployments.engines.vectors.onnx_encoder import EncodedText, OnnxEncoder
from deployments.values.retrieval import Ranking
from deployments.values.vectors import Vectors, unit_length

_INT8_SCALE = 127.0
_SMALLEST_DEVIATION = 1e-6


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


class LateInteractionReranker:
    """Late interaction over the token vectors of an embedding model.

    Args:
        encoder: The embedding model. The embeddings may share it; what is reranked goes before their documents.
        token_weight: Share of the token score in the blend; the rest is the sentence score.
        cache_bytes: Token vectors kept for passages seen before.
    """

    def __init__(self, encoder: OnnxEncoder, *, token_weight: float = 0.65, cache_bytes: int = 128 << 20) -> None:
        self._encoder = encoder
        self._token_weight = token_weight
        self._cache = TokenVectorCache(cache_bytes)

    is_remote = False

    @property
    def description(self) -> str:
        return f"late interaction, {self._encoder.name}"

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first."""
        if not passages:
            return []
        found = {passage: self._cache.get(passage) for passage in passages}
        missing = [passage for passage, encoded in found.items() if encoded is None]
        encoded_query, *encoded_missing = await self._encoder.encode(call, [query, *missing], urgent=True)
        for passage, encoded in zip(missing, encoded_missing, strict=True):
            self._cache.put(passage, encoded)
            found[passage] = encoded
        encoded_passages = [encoded for passage in passages if (encoded := found[passage]) is not None]
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
