"""Where an ONNX model runs: where it was told to, or nowhere."""

from pathlib import Path

import onnxruntime
import pytest

from deployments.engines import onnx_session
from deployments.engines.onnx_session import open_session
from deployments.errors import UnavailableError
from deployments.values.devices import OnnxDevice
from tests.refusals import refused
from tests.unit.tiny_onnx import save_encoder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder") / "model.onnx"


def test_without_more_a_model_runs_on_the_processor(model: Path) -> None:
    assert open_session(model, 1).get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("device", "extra"),
    [
        ("cuda", "onnx-cuda"),
        ("rocm", "onnx-rocm"),
        ("openvino:CPU", "onnx-openvino"),
        ("openvino:GPU", "onnx-openvino"),
        ("openvino:NPU", "onnx-openvino"),
    ],
)
def test_a_device_that_the_installed_onnxruntime_does_not_know_is_refused_with_what_to_install(
    model: Path, device: OnnxDevice, extra: str
) -> None:
    with refused(UnavailableError, field="engine.device") as raised:
        open_session(model, 1, device)
    assert f"'{device}'" in raised.value.message
    assert f"the extra {extra}" in raised.value.message


def known_as_cuda(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    """Have another provider stand for CUDA."""
    accelerator = onnx_session._Accelerator(provider, "onnx-cuda", {})
    monkeypatch.setattr(onnx_session, "_ACCELERATORS", {"cuda": accelerator})


def test_a_provider_that_starts_runs_the_model_and_never_leaves_it_to_the_processor(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is built into every onnxruntime and runs nothing of this model.
    known_as_cuda(monkeypatch, "AzureExecutionProvider")
    session = open_session(model, 1, "cuda")
    assert session.get_providers() == ["AzureExecutionProvider", "CPUExecutionProvider"]
    assert not session._enable_fallback


def test_a_provider_that_is_known_and_does_not_start_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where CUDA's libraries or the card are missing: onnxruntime warns, and would go on with the processor.
    known_as_cuda(monkeypatch, "CUDAExecutionProvider")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), refused(UnavailableError, field="engine.device"):
        open_session(model, 1, "cuda")


def test_a_model_that_cannot_be_opened_on_a_device_is_refused_without_naming_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_as_cuda(monkeypatch, "AzureExecutionProvider")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with refused(UnavailableError, field="engine.device") as raised:
        open_session(tmp_path / "model.onnx", 1, "cuda")
    assert str(tmp_path) not in raised.value.message
