"""`python -m tests.vllm` in its smallest form, which needs no vLLM: its checks hold, and it measures what it can."""

import json
import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT


def test_the_smallest_form_checks_and_measures_both_bindings(tmp_path: Path) -> None:
    # A process of its own, as on the command line: Serve keeps one cluster for each process.
    command = [sys.executable, "-m", "tests.vllm", "--smoke", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert len([figure["value"] for figure in figures]) == 8
