"""What NATS confirms is on the disk, on a server as it is shipped: a crash of the machine does not lose it."""

import json
from pathlib import Path

import httpx
import yaml

from bridges.command_line.local.local_stack import LocalStack
from tests.servers import ROOT, free_port, nats_server


def forces_each_write(folder: Path, config: Path) -> bool:
    """Start a server with a configuration; say what it makes of `sync_interval`."""
    monitor = free_port()
    with nats_server(folder, "-c", str(config), "-p", "-1", "-m", str(monitor)):
        told = httpx.get(f"http://127.0.0.1:{monitor}/jsz", trust_env=False).json()
    return told["config"].get("sync_always", False)


def test_the_local_server_forces_each_write_to_disk(tmp_path: Path) -> None:
    LocalStack(tmp_path)._nats_command(0)
    assert forces_each_write(tmp_path / "logs", tmp_path / "nats.conf")


def test_the_server_on_kubernetes_forces_each_write_to_disk(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "kuberay" / "charts" / "nats.yaml").read_text())
    config = tmp_path / "nats.conf"
    # The chart writes JSON, which the server reads as its own.
    config.write_text(json.dumps({"jetstream": {"store_dir": str(tmp_path), **values["config"]["jetstream"]["merge"]}}))
    assert forces_each_write(tmp_path / "logs", config)
