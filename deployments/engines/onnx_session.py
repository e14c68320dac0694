"""Opening ONNX models, on the processor or on an accelerator.

Where an accelerator cannot be used, onnxruntime goes on with the processor, and only its log says so. A model that is a
hundred times slower than planned helps nobody: here that is an error, when a model is opened and when it runs.
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import onnxruntime

from deployments.errors import HearthError, UnavailableError
from deployments.values.devices import OnnxDevice

logger = logging.getLogger(__name__)

# onnxruntime's compiled part carries no types.
_library = cast("Any", onnxruntime)

_CPU = "CPUExecutionProvider"
_OPENVINO = "OpenVINOExecutionProvider"
_OPENVINO_PLUGIN = "onnxruntime_ep_openvino"


@dataclass(frozen=True, slots=True)
class _Accelerator:
    """What onnxruntime calls a device.

    Attributes:
        provider: Its execution provider.
        extra: Of Hearth, which installs it.
        options: Of the provider.
    """

    provider: str
    extra: str
    options: Mapping[str, str]


_ACCELERATORS: Mapping[str, _Accelerator] = {
    "cuda": _Accelerator("CUDAExecutionProvider", "onnx-cuda", {}),
    "rocm": _Accelerator("MIGraphXExecutionProvider", "onnx-rocm", {}),
    "openvino:CPU": _Accelerator(_OPENVINO, "onnx-openvino", {"device_type": "CPU"}),
    "openvino:GPU": _Accelerator(_OPENVINO, "onnx-openvino", {"device_type": "GPU"}),
    "openvino:NPU": _Accelerator(_OPENVINO, "onnx-openvino", {"device_type": "NPU"}),
}


@dataclass(frozen=True, slots=True)
class SessionSetup:
    """How sessions are opened on a device.

    Attributes:
        options: onnxruntime's `SessionOptions`.
        providers: Those to name; None where the options hold the device.
    """

    options: Any
    providers: list[Any] | None


def open_session(model: Path | bytes, threads: int, device: OnnxDevice = "cpu") -> Any:
    """Return an onnxruntime session.

    Args:
        model: Its file, or what stands in one.
        threads: Threads of one call, for what runs on the processor.
        device: What runs the model.

    Raises:
        UnavailableError: The device cannot be used. The message names the setting and says what to install.
    """
    setup = session_setup(threads, device)
    source = model if isinstance(model, bytes) else str(model)
    with opening_on(device):
        session = _library.InferenceSession(source, setup.options, providers=setup.providers, enable_fallback=0)
    require_device(session, device)
    return session


def session_setup(threads: int, device: OnnxDevice = "cpu") -> SessionSetup:
    """Return how to open sessions on a device, for libraries that open their own; `require_device` them afterwards.

    A spinning thread pool would take the cores from the other models of the machine, so it does not spin.

    Args:
        threads: Threads of one call, for what runs on the processor.
        device: What runs the model.

    Raises:
        UnavailableError: The installed onnxruntime does not know the device.
    """
    options = _library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device == "cpu":
        return SessionSetup(options, [_CPU])
    accelerator = _ACCELERATORS[device]
    if accelerator.provider not in _library.get_available_providers():
        options.add_provider_for_devices(_plugin_devices(device, accelerator), {})
        return SessionSetup(options, None)
    if device == "cuda":
        # CUDA out of Python packages, where there is none of the system.
        _library.preload_dlls()
    return SessionSetup(options, [(accelerator.provider, dict(accelerator.options)), _CPU])


def require_device(session: Any, device: OnnxDevice) -> None:
    """Keep a session to its device.

    Raises:
        UnavailableError: It was opened without it.
    """
    if device == "cpu":
        return
    provider = _ACCELERATORS[device].provider
    if provider not in session.get_providers():
        raise _unusable(device, f"{provider} does not start; the log of onnxruntime says why")
    session.disable_fallback()


@contextmanager
def opening_on(device: OnnxDevice) -> Generator[None]:
    """Say of what goes wrong within, on an accelerator, which setting it is about; else leave it as it is.

    Raises:
        UnavailableError: It went wrong on an accelerator.
    """
    try:
        yield
    except Exception as error:
        if device == "cpu" or isinstance(error, HearthError):
            raise
        # Of no common class. What it says names files of the machine.
        logger.exception("onnxruntime cannot open the model on %s", device)
        raise _unusable(device, "the model cannot be opened on it; the log says why") from error


def _plugin_devices(device: OnnxDevice, accelerator: _Accelerator) -> list[Any]:
    """Return the devices of the plugin that OpenVINO comes as."""
    if accelerator.provider != _OPENVINO or find_spec(_OPENVINO_PLUGIN) is None:
        raise _unusable(
            device,
            f"the onnxruntime that is installed has no {accelerator.provider}: install the extra {accelerator.extra}",
        )
    _register_openvino()
    wanted = accelerator.options["device_type"]
    known = [one for one in _library.get_ep_devices() if one.ep_name == _OPENVINO]
    found = [one for one in known if one.ep_metadata.get("ov_device") == wanted]
    if not found:
        kinds = ", ".join(sorted({str(one.ep_metadata.get("ov_device")) for one in known})) or "none"
        raise _unusable(device, f"OpenVINO finds no {wanted} of Intel on this machine; it finds {kinds}")
    return found


@cache
def _register_openvino() -> None:
    """Load the plugin; a process may do so once."""
    library = import_module(_OPENVINO_PLUGIN).get_library_path()
    _library.register_execution_provider_library(_OPENVINO, library)


def _unusable(device: OnnxDevice, why: str) -> UnavailableError:
    return UnavailableError(f"engine.device is {device!r}, but {why}", field="engine.device")
