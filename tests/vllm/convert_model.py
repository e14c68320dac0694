"""`python -m tests.vllm.convert_model FILE FOLDER`: write a GGUF file as a folder of safetensors, which vLLM loads.

It runs in the second environment.
"""

import copy
import sys
from pathlib import Path
from typing import Any, cast


def convert(file: Path, folder: Path) -> None:
    """Write the weights, in full width again, the tokenizer and the chat template."""
    # Only the second environment has them.
    import transformers  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

    library = cast("Any", transformers)
    tokenizer = library.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    packed = library.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
    config = copy.deepcopy(packed.config)
    # It names the packing, which is undone. vLLM would look for packed weights.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = library.AutoModelForCausalLM.from_config(config, dtype="float32")
    model.load_state_dict(packed.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
