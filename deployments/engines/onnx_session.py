"""Opening ONNX models on the CPU."""

from pathlib import Path
from typing import Any, cast

import onnxruntime


def open_session(model: Path | bytes, threads: int) -> Any:
    """Return an onnxruntime session that runs one call at a time.

    A spinning thread pool would take the cores from the other models of the machine, so it does not spin.

    Args:
        model: Its file, or what stands in one.
        threads: Threads of it.
    """
    # onnxruntime's compiled part carries no types.
    options = cast("Any", onnxruntime).SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return cast("Any", onnxruntime).InferenceSession(source, options, providers=["CPUExecutionProvider"])
