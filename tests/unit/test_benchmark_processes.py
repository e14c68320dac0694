"""The benchmarks of a start and of rest know processes, phases and curves."""

import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from tests import servers
from tests.benchmarks.local_processes import family_of, title_of
from tests.benchmarks.plot import Curve, Plot
from tests.benchmarks.start import phases_of

CHILD = """
import sys, time
while time.process_time() < 0.05:
    pass
print("there", flush=True)
sys.stdin.read()
"""
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {CHILD!r}]).wait()"


@pytest.fixture
def parent() -> Generator[subprocess.Popen[str]]:
    """Run a process with a child that ends when this one's standard input does."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
        yield process


def test_what_came_from_a_process_is_found_and_stays_known_without_it(parent: subprocess.Popen[str]):
    family = family_of([psutil.Process(parent.pid)], time.time())
    (child,) = psutil.Process(parent.pid).children()
    assert set(family.usages) == {psutil.Process(parent.pid), child}
    parent.kill()
    parent.wait()
    family.look(time.time())
    assert family.living == [child]
    assert family.usages[child].cpu_s > 0


def test_what_outlives_whoever_started_it_stays_below_a_command_that_adopts(tmp_path: Path):
    noted = tmp_path / "orphan"
    leave = f"bash -c 'sleep 60 & echo $! > {noted}.part; mv {noted}.part {noted}'; sleep 60; true"
    with servers.running(servers.adopting(["/bin/bash", "-c", leave]), tmp_path / "log") as process:
        servers.wait_until("the orphan", noted.exists, 20)
        below = [one.pid for one in psutil.Process(process.pid).children(recursive=True)]
    assert int(noted.read_text()) in below


@pytest.mark.parametrize(
    ("command", "title"),
    [
        (["ray::ServeReplica:embeddings:Embeddings.check_health"], "replica: Embeddings"),
        (["ray::SERVE_REPLICA::voice#Speech#x1:ServeReplica:voice:Speech.__init__ "], "replica: Speech"),
        (["ray::ServeController.listen_for_change"], "Ray: ServeController"),
        (["ray-dashboard-ServeHead-0 (/opt/bin/python -B -c)"], "Ray: dashboard's ServeHead"),
        (["/opt/bin/nats-server", "-c", "/tmp/nats.conf"], "NATS server"),
        (["/opt/bin/python", "/opt/bin/milvus-lite", "server"], "Milvus Lite"),
        (["/opt/bin/python", "/opt/bin/hearth", "up"], "hearth"),
        (["/usr/bin/sleep", "5"], "sleep 5"),
    ],
)
def test_processes_have_names_that_a_reader_knows(command: list[str], title: str):
    assert title_of(command) == title


def test_phases_of_a_start_are_read_from_serves_logs(tmp_path: Path):
    (tmp_path / "controller_7.log").write_text(
        "INFO 2026-11-29 10:00:01,000 controller 7 -- Controller starting (version='2.60.0').\n"
        "INFO 2026-11-29 10:00:02,000 controller 7 -- Importing and building app 'speech'.\n"
        "INFO 2026-11-29 10:00:03,500 controller 7 -- Imported and built app 'speech' successfully.\n"
        "INFO 2026-11-29 10:00:04,000 controller 7 -- Starting Replica(id='a1', deployment='Speech', app='speech').\n"
        "INFO 2026-11-29 10:00:08,000 controller 7 -- Replica(id='a1', deployment='Speech', app='speech') started "
        "successfully on node 'n'\n"
    )
    (tmp_path / "replica_speech_Speech_a1.log").write_text(
        "INFO 2026-11-29 10:00:05,000 speech_Speech a1 -- Started initializing replica.\n"
        "INFO 2026-11-29 10:00:07,250 speech_Speech a1 -- Finished initializing replica.\n"
    )
    took = {phase.title: phase.ended - phase.began for phase in phases_of(tmp_path)}
    assert took == {
        "application speech: imported and built": 1.5,
        "replica Speech: process and imports": 1.0,
        "replica Speech: constructor, which loads models": 2.25,
        "replica Speech: until the controller knows": 0.75,
        "Serve controller: until its last line": 7.0,
    }


def test_a_plot_is_svg_with_a_point_for_each_value_and_the_highest_at_the_top():
    plot = Plot("Cost <here>", "requests", "ms", [Curve("CPU", [(1, 2.0), (10, 4.0), (100, 3.0)])])
    root = ET.fromstring(plot.svg())  # noqa: S314 - our own
    points = [float(one.get("cy", "")) for one in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(points) == 3
    assert points[1] < points[2] < points[0]
    assert "Cost <here>" in [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_plot_without_points_is_none():
    with pytest.raises(ValueError, match="no points"):
        Plot("Nothing", "x", "y", [Curve("none", [])]).svg()
