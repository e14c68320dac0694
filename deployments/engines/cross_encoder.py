"""Reranking by a cross-encoder: an ONNX model that reads question and passage together and gives one logit."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from deployments.call import Call
from deployments.engines.onnx_encoder import length_sorted_batches
from deployments.values import Ranking
from deployments.vectors import Vectors


class CrossEncoderReranker:
    """A cross-encoder and its tokenizer, such as the MS MARCO MiniLM or BGE rerankers exported to ONNX.

    Args:
        folder: Holds `model.onnx` (inputs `input_ids`, `attention_mask` and, where the model has them,
            `token_type_ids`; output logits of shape (pairs, 1)) and `tokenizer.json`.
        threads: Threads that one batch uses.
        max_tokens: Pairs are cut to this many tokens, the passage first.
        batch_tokens: Padded tokens in one batch.
    """

    def __init__(self, folder: Path, *, threads: int = 2, max_tokens: int = 512, batch_tokens: int = 4096) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._name = folder.name
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._tokenizer = cast("Any", Tokenizer.from_file(str(folder / "tokenizer.json")))
        self._tokenizer.enable_truncation(max_tokens, strategy="only_second")
        self._tokenizer.no_padding()
        self._batch_tokens = batch_tokens
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cross-encoder")

    @property
    def description(self) -> str:
        return f"cross-encoder, {self._name}"

    async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
        """Return one ranking for each passage, best first; the score is the model's logit."""
        if not passages:
            return []
        loop = asyncio.get_running_loop()
        pairs = [(query, passage) for passage in passages]
        encodings: list[Encoding] = await loop.run_in_executor(self._thread, self._tokenizer.encode_batch, pairs)
        scores: dict[int, float] = {}
        for batch in length_sorted_batches([len(encoding.ids) for encoding in encodings], self._batch_tokens):
            call.check("reranking")
            logits = await loop.run_in_executor(self._thread, self._run, [encodings[index] for index in batch])
            scores.update(zip(batch, logits, strict=True))
        return [Ranking(index, scores[index]) for index in sorted(scores, key=lambda index: -scores[index])]

    async def check(self) -> None:
        """Do nothing: a loaded session can always run."""

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, encodings: Sequence[Encoding]) -> list[float]:
        longest = max(len(encoding.ids) for encoding in encodings)
        feeds = {
            name: np.zeros((len(encodings), longest), np.int64)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        for row, encoding in enumerate(encodings):
            end = len(encoding.ids)
            feeds["input_ids"][row, :end] = encoding.ids
            feeds["attention_mask"][row, :end] = 1
            feeds["token_type_ids"][row, :end] = encoding.type_ids
        inputs = {name: value for name, value in feeds.items() if name in self._inputs}
        logits = cast("Vectors", self._session.run(None, inputs)[0])
        return [float(logit) for logit in logits.reshape(len(encodings), -1)[:, 0]]
