"""Speech models of a few numbers, in the form that onnx-asr reads: they hear whether a sound is low or high.

The spectrogram that comes to them is onnx-asr's own, of 80 bands, each of mean 0 over the utterance.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deployments.values.sound import SPEECH_RATE, Samples

Inputs = Mapping[str, tuple[int, Sequence[int | str]]]
"""By name: the type of numbers, and the shape."""

BANDS = 80
SUBSAMPLING = 8
TOKENS = ["▁low", "▁high", "<blk>"]
_LISTENING = np.array([[1.0 if band < BANDS // 2 else -1.0 for band in range(BANDS)]], np.float32) / BANDS
"""How much lower a frame is than the utterance as a whole."""


def tones(*hertz: float, seconds: float = 0.5) -> Samples:
    """Return tones one after the other, at 16 kHz."""
    at = np.arange(int(seconds * SPEECH_RATE)) / SPEECH_RATE
    return np.concatenate([0.3 * np.sin(2 * np.pi * one * at) for one in hertz]).astype(np.float32)


def save_ctc(folder: Path) -> Path:
    """Write a Conformer CTC model: for each eight frames, whether they are low, high or neither."""
    nodes = [*_scores("scores"), helper.make_node("Transpose", ["scores"], ["logprobs"], perm=[0, 2, 1])]
    _save(folder / "model.onnx", nodes, _LISTENER, ["logprobs"])
    return _described(folder, "nemo-conformer-ctc", TOKENS)


def save_tdt(folder: Path) -> Path:
    """Write a token-and-duration transducer, as Parakeet is one: it says no token twice in a row."""
    nodes = [
        *_scores("outputs"),
        helper.make_node("Shape", ["outputs"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["frames"]),
        helper.make_node("Mul", ["length", "none"], ["nothing"]),
        helper.make_node("Add", ["nothing", "frames"], ["encoded_lengths"]),
    ]
    constants = {"two": np.array([2], np.int64), "none": np.array([0], np.int64)}
    _save(folder / "encoder-model.onnx", nodes, _LISTENER, ["outputs", "encoded_lengths"], constants)
    joint = [
        helper.make_node("Gather", ["said", "targets"], ["said_before"]),
        helper.make_node("Transpose", ["encoder_outputs"], ["heard"], perm=[0, 2, 1]),
        helper.make_node("Sub", ["heard", "said_before"], ["tokens"]),
        helper.make_node("Concat", ["tokens", "one_frame"], ["outputs"], axis=2),
        helper.make_node("Identity", ["input_states_1"], ["output_states_1"]),
        helper.make_node("Identity", ["input_states_2"], ["output_states_2"]),
    ]
    inputs: Inputs = {
        "encoder_outputs": (TensorProto.FLOAT, [1, len(TOKENS), 1]),
        "targets": (TensorProto.INT32, [1, 1]),
        "target_length": (TensorProto.INT32, [1]),
        "input_states_1": (TensorProto.FLOAT, [1, 1, 1]),
        "input_states_2": (TensorProto.FLOAT, [1, 1, 1]),
    }
    said = np.diag([10.0, 10.0, 0.0]).astype(np.float32)
    constants = {"said": said, "one_frame": np.array([[[0.0, 1.0]]], np.float32)}
    outputs = ["outputs", "output_states_1", "output_states_2"]
    _save(folder / "decoder_joint-model.onnx", joint, inputs, outputs, constants)
    return _described(folder, "nemo-conformer-tdt", TOKENS)


def save_aed(folder: Path) -> Path:
    """Write an encoder and a decoder, as Canary has them, that greets in the language that it is told."""
    prompt = "startofcontext startoftranscript emo:undefined pnc noitn notimestamp nodiarize endoftext".split()
    tokens = [" ", *(f"<|{name}|>" for name in prompt), "▁hello", "▁hallo", "<|en|>", "<|de|>"]
    follows = {"▁hello": "<|endoftext|>", "▁hallo": "<|endoftext|>", "<|en|>": "▁hello", "<|de|>": "▁hallo"}
    table = np.zeros((len(tokens), len(tokens)), np.float32)
    for token, next_token in follows.items():
        table[tokens.index(token), tokens.index(next_token)] = 1.0
    nodes = [
        helper.make_node("Identity", ["audio_signal"], ["encoder_embeddings"]),
        helper.make_node("Unsqueeze", ["length", "one"], ["encoder_mask"]),
    ]
    outputs = ["encoder_embeddings", "encoder_mask"]
    _save(folder / "encoder-model.onnx", nodes, _LISTENER, outputs, {"one": np.array([1], np.int64)})
    decoder = [
        # Of a prompt, the languages have the highest ids; later the last token comes alone.
        helper.make_node("ReduceMax", ["input_ids"], ["token"], axes=[1], keepdims=1),
        helper.make_node("Gather", ["table", "token"], ["logits"]),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "ends"], ["decoder_hidden_states"]),
    ]
    inputs: Inputs = {
        "input_ids": (TensorProto.INT64, ["texts", "tokens"]),
        "encoder_embeddings": (TensorProto.FLOAT, ["texts", BANDS, "frames"]),
        "encoder_mask": (TensorProto.INT64, ["texts", 1]),
        "decoder_mems": (TensorProto.FLOAT, [1, "texts", "memory", 1]),
    }
    constants = {"table": table, "ends": np.array([0, 3], np.int64)}
    _save(folder / "decoder-model.onnx", decoder, inputs, ["logits", "decoder_hidden_states"], constants)
    return _described(folder, "nemo-conformer-aed", tokens)


_LISTENER: Inputs = {
    "audio_signal": (TensorProto.FLOAT, ["texts", BANDS, "frames"]),
    "length": (TensorProto.INT64, ["texts"]),
}


def _scores(output: str) -> list[onnx.NodeProto]:
    """Return what scores the tokens of each eight frames, of shape (texts, tokens, frames / 8)."""
    weights = np.concatenate([_LISTENING, -_LISTENING, np.zeros_like(_LISTENING)])[:, :, None]
    bias = np.array([0.0, 0.0, 0.1], np.float32)
    return [
        helper.make_node("Constant", [], ["weights"], value=numpy_helper.from_array(weights)),
        helper.make_node("Constant", [], ["bias"], value=numpy_helper.from_array(bias)),
        helper.make_node("Conv", ["audio_signal", "weights", "bias"], ["fine"], kernel_shape=[1]),
        helper.make_node(
            "AveragePool", ["fine"], [output], kernel_shape=[SUBSAMPLING], strides=[SUBSAMPLING], ceil_mode=1
        ),
    ]


def _described(folder: Path, architecture: str, tokens: list[str]) -> Path:
    (folder / "vocab.txt").write_text("".join(f"{token.replace(' ', '▁')} {at}\n" for at, token in enumerate(tokens)))
    config = {"model_type": architecture, "features_size": BANDS, "subsampling_factor": SUBSAMPLING}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Inputs,
    outputs: list[str],
    constants: dict[str, np.ndarray] | None = None,
) -> None:
    integers = {"encoded_lengths", "encoder_mask"}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, None)
            for name in outputs
        ],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
