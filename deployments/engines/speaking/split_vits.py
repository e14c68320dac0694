"""VITS models cut in two, so that a sentence is heard before all of its sound is made.

The first half decides what is to be heard: frames, some ten milliseconds each, and how many of them each id takes. The
second, the vocoder, turns frames into sound, which is most of the work. It consists of convolutions alone
(https://arxiv.org/abs/2106.06103, HiFi-GAN), so that a stretch of frames, with some more on either side, sounds exactly
as it does within the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.utils import Extractor

from deployments.engines.onnx_session import open_session
from deployments.values.sound import Samples

Feeds = Mapping[str, NDArray[Any]]
"""The inputs of a model, by their names."""

_VOCODER_WEIGHT = "conv_pre.weight"
"""Of the vocoder's first convolution, as every VITS is called by those who train it."""
_MARGIN = 16
"""Frames on either side: the vocoder of Piper's medium voices sees 10 of them, that of its high ones 13."""


@dataclass(frozen=True, slots=True)
class Frames:
    """What the first half made of a sentence.

    Attributes:
        count: How many frames there are.
        durations: Frames that each id takes, of shape (ids,); None where the model does not say.
        inputs: Of the second half, by their names; the first are the frames, of shape (1, channels, count).
    """

    count: int
    durations: NDArray[np.int64] | None
    inputs: Feeds


class VitsModel(Protocol):
    """Makes the sound of a sentence by and by."""

    @property
    def hop(self) -> int:
        """Samples in a frame."""
        ...

    def frames(self, feeds: Feeds) -> Frames:
        """Return what is to be heard, given the model's inputs. Blocks."""
        ...

    def sound(self, frames: Frames, start: int, end: int) -> Samples:
        """Return the sound of the frames from `start` to before `end`, `hop` samples of each. Blocks."""
        ...


class SplitVits:
    """A model in two halves.

    Args:
        parts: The halves.
        threads: Threads of each of them.
        hop: Samples in a frame.
    """

    def __init__(self, parts: "_Parts", threads: int, hop: int) -> None:
        self.hop = hop
        self._names = parts.names
        self._frames = open_session(parts.first.SerializeToString(), threads)
        self._vocoder = open_session(parts.second.SerializeToString(), threads)

    def frames(self, feeds: Feeds) -> Frames:
        """Return what is to be heard. Blocks."""
        *inputs, durations = self._frames.run(None, dict(feeds))
        named = dict(zip(self._names, inputs, strict=True))
        return Frames(named[self._names[0]].shape[-1], durations.reshape(-1).astype(np.int64), named)

    def sound(self, frames: Frames, start: int, end: int) -> Samples:
        """Return the sound of a stretch of frames. Blocks."""
        before, after = max(0, start - _MARGIN), min(frames.count, end + _MARGIN)
        name = self._names[0]
        stretch = {**frames.inputs, name: frames.inputs[name][..., before:after]}
        samples = np.asarray(self._vocoder.run(None, stretch)[0], np.float32).reshape(-1)
        return samples[(start - before) * self.hop : (end - before) * self.hop]


class WholeVits:
    """A model that cannot be cut: its frames are its samples.

    Args:
        model: Its file.
        threads: Threads of it.
    """

    hop = 1

    def __init__(self, model: Path, threads: int) -> None:
        self._session = open_session(model, threads)

    def frames(self, feeds: Feeds) -> Frames:
        """Return the whole sound. Blocks."""
        samples = np.asarray(self._session.run(None, dict(feeds))[0], np.float32).reshape(-1)
        return Frames(len(samples), None, {"samples": samples})

    def sound(self, frames: Frames, start: int, end: int) -> Samples:
        """Return a stretch of it."""
        return frames.inputs["samples"][start:end]


def open_vits(model: Path, threads: int, hop: int) -> VitsModel:
    """Return a model, cut in two where it has the parts that VITS models have.

    Args:
        model: Its file.
        threads: Threads that it runs on.
        hop: Samples in a frame of it.

    Raises:
        DecodeError: It is no ONNX file; `google.protobuf.message` has the error.
    """
    parts = _parts_of(onnx.load(str(model)))
    return SplitVits(parts, threads, hop) if parts else WholeVits(model, threads)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A model's halves.

    Attributes:
        first: Gives the tensors that the second takes, and last the durations.
        second: Gives the sound.
        names: Of those tensors: the frames, and what else the vocoder is told, such as who speaks.
    """

    first: onnx.ModelProto
    second: onnx.ModelProto
    names: tuple[str, ...]


def _parts_of(model: onnx.ModelProto) -> _Parts | None:
    graph = model.graph
    nodes = list(graph.node)
    frames = [node.input[0] for node in nodes if any(name.endswith(_VOCODER_WEIGHT) for name in node.input)]
    durations = [node.output[0] for node in nodes if node.op_type == "Ceil"]
    if len(frames) != 1 or len(durations) != 1:
        return None
    inputs = [entry.name for entry in graph.input]
    names = (*frames, *_told_beside(nodes, inputs, frames[0]))
    # Those who export a model may leave out what is known of its tensors.
    model = onnx.shape_inference.infer_shapes(model)
    if not {*names, *durations} <= {entry.name for entry in (*graph.input, *model.graph.value_info)}:
        return None
    extractor = cast("Any", Extractor)(model)
    first = extractor.extract_model(inputs, [*names, *durations])
    second = extractor.extract_model(list(names), [graph.output[0].name])
    return _Parts(first, second, names)


def _told_beside(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], frames: str) -> list[str]:
    """Return what, beside the frames, the vocoder takes of what depends on the model's inputs."""
    given = _depending_on(inputs, nodes)
    vocoder = _depending_on([frames], nodes)
    told = {
        name: None
        for node in nodes
        if vocoder.intersection(node.input)
        for name in node.input
        if name in given and name not in vocoder
    }
    return list(told)


def _depending_on(names: Sequence[str], nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Return some tensors and those that depend on them; a graph lists its nodes in the order in which they run."""
    found = set(names)
    for node in nodes:
        if found.intersection(node.input):
            found.update(node.output)
    return found
