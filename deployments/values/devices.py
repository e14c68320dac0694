"""What a model may run on."""

from typing import Literal

OnnxDevice = Literal["cpu", "cuda", "rocm", "openvino:CPU", "openvino:GPU", "openvino:NPU"]
"""What runs an ONNX model: the processor, an NVIDIA or AMD accelerator, or a device that OpenVINO knows."""
