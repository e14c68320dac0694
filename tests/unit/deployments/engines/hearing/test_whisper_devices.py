"""What Whisper may run on: a device that is there, and computes so."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import ctranslate2
import pytest

from deployments.engines.hearing import whisper
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.errors import UnavailableError
from tests.refusals import refused


def opened(device: str, compute_type: str) -> None:
    """Open a model that does not exist: whoever gets to its file has found the device to be right."""
    WhisperEngine(Path("nowhere"), None, device=device, compute_type=compute_type)


def cards(monkeypatch: pytest.MonkeyPatch, count: int, *compute_types: str) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: count)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: set(compute_types))


def test_cuda_without_a_card_is_refused_by_the_name_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 0)
    with refused(UnavailableError, field="engine.device"):
        opened("cuda", "float16")


def test_cublas_is_loaded_from_its_package_before_the_card_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards(monkeypatch, 1, "float16")
    loaded: list[str] = []
    held = [SimpleNamespace(name=name, locate=partial(tmp_path.joinpath, name)) for name in ("x.py", "libcublas.so.12")]
    monkeypatch.setattr(whisper, "files", {"nvidia-cublas-cu12": held}.__getitem__)
    monkeypatch.setattr(whisper.ctypes, "CDLL", loaded.append)
    with refused(UnavailableError, field="engine.compute_type"):
        opened("cuda", "int8")
    assert loaded == [str(tmp_path / "libcublas.so.12")]


def test_a_card_that_does_not_compute_so_is_refused_with_what_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 1, "float32", "int8")
    with refused(UnavailableError, field="engine.compute_type") as raised:
        opened("cuda", "int8_float16")
    assert "float32, int8, auto or default" in raised.value.message


def test_what_this_processor_does_not_compute_is_refused() -> None:
    """No x86-64 processor has the multiplication of 16 bits that CTranslate2 would use."""
    with refused(UnavailableError, field="engine.compute_type"):
        opened("cpu", "int8_float16")


@pytest.mark.parametrize("compute_type", ["int8", "auto", "default"])
def test_what_the_device_computes_is_left_to_the_model(compute_type: str) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        opened("cpu", compute_type)
