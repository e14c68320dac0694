"""Texts to vectors by an ONNX encoder (BERT family): sentence embeddings and token vectors from one pass."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Encoding, Tokenizer

from deployments.call import Call
from deployments.vectors import Vectors, unit_length


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
    """An encoder and its tokenizer.

    Work runs on one thread of its own, batch by batch, so that a long job lets short ones in between.

    Args:
        folder: Holds `model.onnx` and `tokenizer.json`.
        threads: Threads that one batch uses.
        max_tokens: Texts are cut to this many tokens.
        batch_tokens: Padded tokens in one batch.
    """

    def __init__(self, folder: Path, *, threads: int = 2, max_tokens: int = 256, batch_tokens: int = 2048) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning thread pool takes the cores from the other models of the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._tokenizer = cast("Any", Tokenizer.from_file(str(folder / "tokenizer.json")))
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()
        self._batch_tokens = batch_tokens
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="onnx-encoder")

    async def encode(self, call: Call, texts: Sequence[str]) -> list[EncodedText]:
        """Return what the encoder makes of each text, in order.

        Texts of like length share a batch, so that little of a batch is padding.

        Raises:
            DeadlineExceededError: The call's time ran out between two batches.
        """
        loop = asyncio.get_running_loop()
        encodings: list[Encoding] = await loop.run_in_executor(self._thread, self._tokenizer.encode_batch, list(texts))
        results: dict[int, EncodedText] = {}
        for batch in length_sorted_batches([len(encoding.ids) for encoding in encodings], self._batch_tokens):
            call.check("encoding")
            encoded = await loop.run_in_executor(self._thread, self._run, [encodings[index] for index in batch])
            results.update(zip(batch, encoded, strict=True))
        return [results[index] for index in range(len(texts))]

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, encodings: Sequence[Encoding]) -> list[EncodedText]:
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = cast(
            "Vectors",
            self._session.run(None, {name: value for name, value in feeds.items() if name in self._inputs})[0],
        )
        return [
            _encoded(ids[row, : len(encoding.ids)], hidden[row, : len(encoding.ids)])
            for row, encoding in enumerate(encodings)
        ]


def _encoded(token_ids: npt.NDArray[np.int64], hidden: Vectors) -> EncodedText:
    return EncodedText(token_ids.copy(), unit_length(hidden), unit_length(hidden.mean(axis=0)))


def length_sorted_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield the indices of texts in batches of like length.

    Args:
        lengths: Tokens of each text.
        batch_tokens: Bound on the longest length of a batch times its texts; a text longer than the bound
            makes a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        # Sorted by length, so the newest is the longest.
        if batch and lengths[index] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
