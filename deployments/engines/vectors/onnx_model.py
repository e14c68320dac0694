"""A transformer in ONNX form (BERT family) with its tokenizer: what embeddings and cross-encoders have in common."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from tokenizers import Encoding, Tokenizer

from deployments.call import Call
from deployments.engines.onnx_session import open_session
from deployments.engines.vectors.shortest_job_first import ShortestJobFirst
from deployments.errors import UnavailableError
from deployments.values.devices import OnnxDevice
from deployments.values.vectors import Vectors

_COMPILES_EACH_SHAPE = {"rocm", "openvino:NPU"}
"""Devices on which the first input of each shape takes seconds to minutes."""
_FEWEST_COLUMNS = 16

TextOrPair = str | tuple[str, str]

_CHARACTERS_PER_TOKEN = 16
"""More than nearly every token takes. The tokenizer is given no more than can matter: it makes an object of every
piece that it cuts off, and of a pair an object for each two of them."""


class OnnxModel:
    """A model and its tokenizer.

    Batches run side by side, each on one thread: on two cores that other processes share, too, the default model makes
    a quarter more of two batches side by side than of one batch on two threads, which wait for each other. Those of
    urgent and of short jobs go first, so that a question is answered while documents are put in.

    Args:
        folder: Holds `model.onnx` (inputs `input_ids`, `attention_mask` and, where the model has them,
            `token_type_ids`) and `tokenizer.json`.
        threads: Batches that run at once.
        max_tokens: Inputs are cut to this many tokens; of a pair, the longer text first.
        batch_tokens: Padded tokens in one batch at most.
        device: What runs the model.

    Raises:
        UnavailableError: The device cannot be used; see `open_session`.
    """

    def __init__(
        self, folder: Path, *, threads: int, max_tokens: int, batch_tokens: int, device: OnnxDevice = "cpu"
    ) -> None:
        self._session = open_session(folder / "model.onnx", 1, device)
        self._device = device
        self._has_failed = False
        self._inputs: set[str] = {entry.name for entry in self._session.get_inputs()}
        self._tokenizer = cast("Any", Tokenizer.from_file(str(folder / "tokenizer.json")))
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()
        self._max_tokens = max_tokens
        self._batch_tokens = batch_tokens
        self._threads = threads
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._running: ShortestJobFirst[Vectors] = ShortestJobFirst(threads, "onnx-model")

    async def tokenize(self, texts: Sequence[TextOrPair]) -> list[Encoding]:
        """Return the tokens of each text, or pair of texts."""
        loop = asyncio.get_running_loop()
        bounded = [self._bounded(text) for text in texts]
        return await loop.run_in_executor(self._tokenizing, self._tokenizer.encode_batch, bounded)

    async def run(
        self, call: Call, encodings: Sequence[Encoding], *, urgent: bool = False
    ) -> AsyncGenerator[tuple[int, Vectors]]:
        """Yield the index of each input with the model's first output for it, in no particular order.

        Inputs of like length share a batch, so that little of a batch is padding, and there are batches for all
        threads; an output has the rows of its batch's longest input.

        Args:
            call: Whose deadline holds.
            encodings: What `tokenize` gave.
            urgent: Whether they go before what is not, however long they are.

        Raises:
            DeadlineExceededError: The call's time ran out between two batches.
        """
        lengths = [len(encoding.ids) for encoding in encodings]
        size = sum(lengths)
        limit = min(self._batch_tokens, math.ceil(size / self._threads))
        running: deque[tuple[list[int], asyncio.Future[Vectors]]] = deque()
        waiting = length_sorted_batches(lengths, limit)
        try:
            while True:
                # Some wait, so that a thread which is done goes on with this job before one that comes after it.
                for batch in islice(waiting, 2 * self._threads - len(running)):
                    call.check("running the model")
                    inputs = [encodings[index] for index in batch]
                    rows = self._running.submit(size, partial(self._run, inputs), urgent=urgent)
                    running.append((batch, rows))
                if not running:
                    return
                batch, rows = running.popleft()
                for index, row in zip(batch, await rows, strict=True):
                    yield index, row
        finally:
            for _, rows in running:
                rows.cancel()

    async def check(self) -> None:
        """Raise `UnavailableError` where the model has failed and still does: an accelerator may be lost.

        A model that works costs nothing here.
        """
        if not self._has_failed:
            return
        (probe,) = await self.tokenize(["?"])
        try:
            await self._running.submit(0, partial(self._run, [probe]))
        except Exception as error:
            raise UnavailableError(f"the model does not run any more on {self._device}") from error

    def close(self) -> None:
        self._tokenizing.shutdown(wait=False, cancel_futures=True)
        self._running.close()

    def _bounded(self, text: TextOrPair) -> TextOrPair:
        limit = self._max_tokens * _CHARACTERS_PER_TOKEN
        return text[:limit] if isinstance(text, str) else (text[0][:limit], text[1][:limit])

    def _run(self, encodings: Sequence[Encoding]) -> Vectors:
        shape = (len(encodings), max(len(encoding.ids) for encoding in encodings))
        if self._device in _COMPILES_EACH_SHAPE:
            shape = _of_few(shape, self._max_tokens)
        feeds = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        # What is made of a row of padding is thrown away; one token of it counts, so that nothing is divided by none.
        feeds["attention_mask"][:, 0] = 1
        for row, encoding in enumerate(encodings):
            end = len(encoding.ids)
            feeds["input_ids"][row, :end] = encoding.ids
            feeds["attention_mask"][row, :end] = 1
            feeds["token_type_ids"][row, :end] = encoding.type_ids
        try:
            outputs = self._session.run(None, {name: value for name, value in feeds.items() if name in self._inputs})
        except Exception:
            self._has_failed = True
            raise
        self._has_failed = False
        return outputs[0][: len(encodings)]


def _of_few(shape: tuple[int, int], most_columns: int) -> tuple[int, int]:
    """Return the next larger of the few shapes that are ever used, such as (4, 64) for (3, 40)."""
    rows, columns = shape
    return _power_of_two(rows), min(most_columns, max(_FEWEST_COLUMNS, _power_of_two(columns)))


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def model_name(folder: Path, device: OnnxDevice) -> str:
    """Return the name of a model for status and logs, with its device where that is not the processor."""
    return folder.name if device == "cpu" else f"{folder.name} on {device}"


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
