"""Reranking by a cross-encoder: an ONNX model that reads question and passage together and gives one logit."""

from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from deployments.call import Call
from deployments.engines.vectors.onnx_model import OnnxModel, model_name
from deployments.values.devices import OnnxDevice
from deployments.values.retrieval import Ranking


class CrossEncoderReranker:
    """A cross-encoder and its tokenizer, such as the MS MARCO MiniLM or BGE rerankers exported to ONNX.

    Args:
        folder: Holds `model.onnx`, whose first output are logits of shape (pairs, 1), and `tokenizer.json`.
        threads: Batches that run at once, each on a thread.
        max_tokens: Pairs are cut to this many tokens, the longer text first.
        batch_tokens: Padded tokens in one batch at most.
        device: What runs the model.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 2,
        max_tokens: int = 512,
        batch_tokens: int = 2048,
        device: OnnxDevice = "cpu",
    ) -> None:
        self._name = model_name(folder, device)
        self._model = OnnxModel(
            folder, threads=threads, max_tokens=max_tokens, batch_tokens=batch_tokens, device=device
        )

    is_remote = False

    @property
    def description(self) -> str:
        return f"cross-encoder, {self._name}"

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first; the score is the model's logit."""
        if not passages:
            return []
        encodings = await self._model.tokenize([(query, passage) for passage in passages])
        async with aclosing(self._model.run(call, encodings)) as outputs:
            rankings = [Ranking(index, float(logits.reshape(-1)[0])) async for index, logits in outputs]
        return sorted(rankings, key=lambda ranking: -ranking.score)

    async def check(self) -> None:
        """See `OnnxModel.check`."""
        await self._model.check()

    async def close(self) -> None:
        self._model.close()
