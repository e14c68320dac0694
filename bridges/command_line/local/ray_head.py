"""The head of the local Ray: what `ray start --head --block` runs, with less to wait for.

Differences: the dashboard starts beside the raylet and not before it; there is no server for Ray's client, which only
programs on other machines use; and whatever any process of Ray leaves behind becomes a child of this one, so that
`hearth down` finds it.
"""

import argparse
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any, cast

from ray._private import services, utils
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.ray_constants import PROCESS_TYPE_RAYLET

from bridges.command_line.local import worker_forks

logger = logging.getLogger(__name__)

_BECOME_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of <linux/prctl.h>."""
_LOOK_S = 1.0
_ENDED_WELL = (0, signal.SIGTERM, -signal.SIGTERM, 128 + signal.SIGTERM)


class Head(Node):
    """Ray's own head node, whose dashboard starts beside the raylet: each takes seconds and does without the other.

    Args:
        parameters: Of Ray.
    """

    def __init__(self, parameters: RayParams) -> None:
        # The dashboard is to end with whoever started it, and to the kernel that is this thread: it stays.
        self._starter = ThreadPoolExecutor(1, "dashboard")
        self._dashboard: Future[None] = Future()
        super().__init__(parameters, head=True, shutdown_at_exit=True, spawn_reaper=True)
        self._dashboard.result()

    def start_api_server(self, **how: Any) -> None:
        """Start the dashboard, without waiting for it."""
        # The raylet tells its workers where it will be.
        self._webui_url = f"{self._ray_params.dashboard_host}:{self._ray_params.dashboard_port}"
        self._dashboard = self._starter.submit(super().start_api_server, **how)

    def start_raylet(self, *arguments: Any, **named: Any) -> None:
        """Start the raylet, and at once what forks its workers: it imports for three seconds."""
        super().start_raylet(*arguments, **named)
        if os.environ.get(worker_forks.VARIABLE) == "1":
            node = cast("Any", self)
            raylet = node.all_processes[PROCESS_TYPE_RAYLET][0].process
            environment = {**os.environ, worker_forks.RAYLET_PROCESS: str(raylet.pid)}
            try:
                worker_forks.start_server(node.raylet_socket_name, environment)
            except OSError as error:
                logger.warning("workers are not forked, and start as Ray starts them: %s", error)


def main() -> None:
    """Start the head, and stay until it is ended or one of its processes is."""
    logging.basicConfig(level=logging.INFO)
    _adopt_orphans()
    signal.signal(signal.SIGTERM, _exit)
    head: Any = Head(_parameters())
    logs = head.get_logs_dir_path()
    utils.write_ray_address(head.address, head.get_temp_dir_path())
    logger.info("Ray runs at %s, its logs are in %s", head.address, logs)
    while not (ended := _ended(head)):
        time.sleep(_LOOK_S)
    sys.exit(f"of Ray, these processes have ended: {', '.join(ended)}; see {logs}")


def _parameters() -> RayParams:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True, help="address of the node and of the dashboard")
    parser.add_argument("--port", required=True, type=int, help="where the cluster is joined")
    parser.add_argument("--dashboard-port", required=True, type=int)
    parser.add_argument("--agent-port", required=True, type=int, help="where the dashboard's agent listens")
    parser.add_argument("--object-store-bytes", required=True, type=int)
    given = parser.parse_args()
    # Where Ray connects to a loopback address, it takes that of the machine instead: so the head must be there.
    address = str(cast("Any", services).resolve_ip_for_localhost(given.host))
    return RayParams(
        node_ip_address=address,
        node_name=address,
        gcs_server_port=given.port,
        dashboard_host=given.host,
        dashboard_port=given.dashboard_port,
        dashboard_agent_listen_port=given.agent_port,
        object_store_memory=given.object_store_bytes,
        include_dashboard=True,
        # One machine is not scaled and has no driver to forward logs to.
        no_monitor=True,
        include_log_monitor=cast("Any", False),
    )


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _ended(head: Node) -> list[str]:
    ended = cast("list[tuple[str, subprocess.Popen[bytes]]]", head.dead_processes())
    return [name for name, process in ended if process.returncode not in _ENDED_WELL]


if __name__ == "__main__":
    main()
