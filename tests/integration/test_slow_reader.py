"""A client that does not read what it asked for, on a NATS server as it is shipped."""

import socket
import time
from pathlib import Path
from statistics import median

import yaml

from bridges.command_line.local.local_stack import LocalStack
from tests.nats_client import nats_connected
from tests.servers import ROOT, nats_server

_MESSAGE = bytes(32_768)
_MESSAGES = 3000
"""Together more than a server keeps for one client, 64 MiB."""


async def test_one_that_does_not_read_holds_up_nobody_else(tmp_path: Path) -> None:
    LocalStack(tmp_path)._nats_command(0)
    with nats_server(tmp_path, "-c", str(tmp_path / "nats.conf"), "-p", "-1") as url:
        hearth = await nats_connected(url)
        host, port = url.removeprefix("nats://").split(":")
        with socket.create_connection((host, int(port))) as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(b'CONNECT {"verbose":false}\r\nSUB slow 1\r\nPING\r\n')
            heard = await hearth.subscribe("others")
            seconds: list[float] = []
            for _ in range(_MESSAGES):
                began = time.perf_counter()
                await hearth.publish("slow", _MESSAGE)
                await hearth.publish("others", b"1")
                await heard.next_msg(timeout=5)
                seconds.append(time.perf_counter() - began)
        await hearth.close()
    # A server that stalls who sends does so from three quarters of what it keeps on, for milliseconds each time.
    assert median(seconds[2000:2500]) < 5 * median(seconds[500:1000])


def test_the_server_on_kubernetes_has_the_same_setting() -> None:
    values = yaml.safe_load((ROOT / "kuberay" / "charts" / "nats.yaml").read_text())
    assert values["config"]["merge"]["no_fast_producer_stall"] is True
