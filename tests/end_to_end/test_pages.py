"""The examples on the page for authors of clients, against the graph."""

import os
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.conftest import Graph
from tests.pages import blocks
from tests.servers import ROOT

PAGE = ROOT / "bridges" / "README.md"


def run(code: str, graph: Graph, folder: Path) -> str:
    """Run an example; return what it printed."""
    environment = os.environ | {"NATS_URL": graph.nats_url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_for_clients_do_what_the_page_says(graph: Graph, tmp_path: Path) -> None:
    question, speech, live = (block.code for block in blocks(PAGE.read_text(encoding="utf-8"), "python"))
    answered = run(question, graph, tmp_path)
    assert answered.startswith("error: none")
    assert "7:20" in answered
    assert "success: True sources: ['ferry.md']" in answered
    assert run(speech, graph, tmp_path).startswith("chunks: ")
    assert "final:   When does the ferry leave?" in run(live, graph, tmp_path)
