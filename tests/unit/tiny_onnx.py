"""Models of a few numbers in ONNX form, made here, with a tokenizer of whole words."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[UNK]", "[CLS]", "[SEP]", "dogs", "cats", "pool", "opens", "hotel", "the", "at", "seven", "are", "welcome"]
DIMENSIONS = 8
TABLE = np.random.default_rng(7).normal(size=(len(WORDS), DIMENSIONS)).astype(np.float32)
"""The vector of each word."""
HEAD = np.random.default_rng(8).normal(size=(DIMENSIONS, 1)).astype(np.float32)
"""Turns a mean of word vectors into a logit."""


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return made


def save_encoder(folder: Path) -> Path:
    """Write a model whose output is the vector of each token: shape (texts, tokens, dimensions)."""
    gather = helper.make_node("Gather", ["table", "input_ids"], ["vectors"])
    output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", "tokens", DIMENSIONS])
    return _save(folder, [gather], output, [numpy_helper.from_array(TABLE, "table")])


def save_cross_encoder(folder: Path) -> Path:
    """Write a model whose output is the logit of the mean word vector of each pair: shape (pairs, 1)."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "middle"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(TABLE, "table"),
        numpy_helper.from_array(HEAD, "head"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "middle"),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["pairs", 1])
    return _save(folder, nodes, output, constants)


def _save(
    folder: Path, nodes: list[onnx.NodeProto], output: onnx.ValueInfoProto, constants: list[onnx.TensorProto]
) -> Path:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    _save_model(folder, helper.make_graph(nodes, "tiny", inputs, [output], constants))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def save_vits(folder: Path) -> Path:
    """Write a model that says a letter of id n as 100 samples of n hundredths, with the inputs of a VITS export."""
    nodes = [
        helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["ids", "last"], ["column"]),
        helper.make_node("Mul", ["column", "hundredths"], ["samples"]),
        helper.make_node("Reshape", ["samples", "flat"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.full((1, 1, 100), 0.01, np.float32), "hundredths"),
        numpy_helper.from_array(np.array([1, 1, -1], np.int64), "flat"),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "letters"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, "samples"])
    return _save_model(folder, helper.make_graph(nodes, "vits", inputs, [output], constants))


def save_two_part_vits(folder: Path) -> Path:
    """Write a model with the parts of a VITS and two speakers, whose vocoder hears the frames beside each of its own.

    An id n lasts n frames of height n, a frame is one sample, and the second speaker is one higher.
    """
    nodes = [
        helper.make_node("Cast", ["input"], ["durations_as_numbers"], to=TensorProto.FLOAT),
        helper.make_node("Ceil", ["durations_as_numbers"], ["durations"]),
        helper.make_node("Squeeze", ["input", "first"], ["ids"]),
        helper.make_node("ReduceSum", ["ids"], ["count"], keepdims=0),
        helper.make_node("Range", ["zero", "count", "one"], ["places"]),
        helper.make_node("CumSum", ["ids", "zero"], ["ends"]),
        helper.make_node("Unsqueeze", ["ends", "second"], ["ends_column"]),
        helper.make_node("LessOrEqual", ["ends_column", "places"], ["is_over"]),
        helper.make_node("Cast", ["is_over"], ["over"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["over", "first"], ["at"], keepdims=0),
        helper.make_node("Gather", ["ids", "at"], ["heights"]),
        helper.make_node("Cast", ["heights"], ["heights_as_numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["heights_as_numbers", "one_row"], ["frames"]),
        helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["frames", "dec.conv_pre.weight"], ["heard"], pads=[1, 1]),
        helper.make_node("Add", ["heard", "speaker"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(0, np.int64), "zero"),
        numpy_helper.from_array(np.array(1, np.int64), "one"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([1], np.int64), "second"),
        numpy_helper.from_array(np.array([1, 1, -1], np.int64), "one_row"),
        numpy_helper.from_array(np.array([[[0.25, 0.5, 0.25]]], np.float32), "dec.conv_pre.weight"),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "ids"]),
        helper.make_tensor_value_info("sid", TensorProto.INT64, [1]),
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, "samples"])
    return _save_model(folder, helper.make_graph(nodes, "vits", inputs, [output], constants))


def _save_model(folder: Path, graph: onnx.GraphProto) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    return folder
