"""The graphs that are changed while clients use them: what Serve is told, and how long its replicas take to leave."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import httpx
import psutil

from tests import servers
from tests.benchmarks.site import deploy, ray_environment
from tests.benchmarks.stand_in_graph import (
    LIVE_SERVICES,
    ORCHESTRATION,
    ZERO_COST_SERVICES,
    Side,
    StandInGraph,
    nats_accounts_with_streams,
    serve_config,
)
from tests.drain_command import DrainCommand

INGRESSES = ("NatsIngress", "AudioIngress")
_WATCH_S = 0.2
_LEAVE_S = 120.0
_KILLED_S = 40.0


class Mode(StrEnum):
    """How requests are taken: from core NATS, or from a stream that keeps them until they are answered."""

    CORE = "core"
    DURABLE = "durable"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the orchestration is to be.

    Attributes:
        mode: How it takes requests.
        replicas: Of each ingress.
        per_node: Of each ingress on one node at most; 0 for any number.
        surge: Whether a new replica takes requests before an old one leaves.
        together: Whether all services are in the ingresses' replicas; else Chat, Retrieval and Ingestion are apart.
        revision: Another one is another configuration: all replicas are replaced.
    """

    mode: Mode
    replicas: int = 1
    per_node: int = 0
    surge: bool = True
    together: bool = False
    revision: int = 0


def config_of(graph: StandInGraph, wanted: Wanted) -> Mapping[str, Any]:
    """Return what Serve is told of a graph."""
    config = serve_config(graph)
    return {**config, "applications": [_changed(application, wanted) for application in config["applications"]]}


def _changed(application: Mapping[str, Any], wanted: Wanted) -> Mapping[str, Any]:
    if application["import_path"] != ORCHESTRATION or application["name"] != Side.LIVE:
        return application
    args = application["args"]
    rows = ["chat-message"] if wanted.mode is Mode.DURABLE else []
    nats = {**args["nats"], "durable": {"rows": rows}, "max_wait_s": 30 + wanted.revision}
    common = {
        "num_replicas": wanted.replicas,
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": 70,
        "max_surge_percent": 100 if wanted.surge else 0,
        **({"max_replicas_per_node": wanted.per_node} if wanted.per_node else {}),
    }
    apart = [] if wanted.together else [{**application["deployments"][0], "name": name} for name in ZERO_COST_SERVICES]
    in_process = [name for name in LIVE_SERVICES if wanted.together or name not in ZERO_COST_SERVICES]
    return {
        **application,
        "args": {**args, "nats": nats, "in_process": in_process},
        "deployments": [{**deployment, **common} for deployment in (*application["deployments"], *apart)],
    }


@dataclass
class Leaving:
    """How long old replicas take: from when Serve, or a signal, stopped them until their process had ended.

    Attributes:
        seconds: Of each replica that has left, by its process.
    """

    seconds: dict[int, float] = field(default_factory=dict[int, float])


@dataclass(frozen=True)
class Graph:
    """A graph in a cluster.

    Attributes:
        stand_in: Where it is.
    """

    stand_in: StandInGraph

    @property
    def nats_url(self) -> str:
        """Where its clients connect."""
        return self.stand_in.nats_url(Side.LIVE)

    def replicas(self) -> dict[int, str]:
        """Return the replicas of the ingresses: their states, by process."""
        url = f"{self.stand_in.dashboard_url}/api/serve/applications/"
        applications = httpx.get(url, timeout=30, trust_env=False).json()["applications"]
        deployments = cast("dict[str, Any]", applications.get(Side.LIVE, {}).get("deployments", {}))
        return {
            replica["pid"]: replica["state"]
            for name in INGRESSES
            for replica in deployments.get(name, {}).get("replicas", ())
            if replica.get("pid")
        }

    async def apply(self, wanted: Wanted) -> Leaving:
        """Have the graph changed; return when the new replicas run and the old ones have left."""
        before = await asyncio.to_thread(self.replicas)
        leaving = asyncio.create_task(self._watch(before.keys(), wanted.replicas * len(INGRESSES)))
        await asyncio.to_thread(deploy, self.stand_in.dashboard_url, config_of(self.stand_in, wanted))
        return await leaving

    async def _watch(self, old: Collection[int], wanted: int) -> Leaving:
        """Note when each replica is stopped, and when its process has ended, until those that are wanted are left."""
        stopped: dict[int, float] = {}
        found = Leaving()
        deadline = time.monotonic() + _LEAVE_S
        while True:
            now, replicas = time.monotonic(), await asyncio.to_thread(self.replicas)
            for pid in old - found.seconds.keys():
                # While Serve builds the application, it tells of none.
                if replicas and replicas.get(pid) not in ("RUNNING", "UPDATING"):
                    stopped.setdefault(pid, now)
                if not psutil.pid_exists(pid):
                    found.seconds[pid] = now - stopped.get(pid, now)
            alive = [pid for pid in old if pid not in found.seconds and pid in stopped]
            if len(replicas) == wanted and not alive and stopped and set(replicas.values()) == {"RUNNING"}:
                return found
            if now > deadline:
                raise TimeoutError(f"replicas did not leave within {_LEAVE_S:g} s: {replicas}")
            await asyncio.sleep(_WATCH_S)


@asynccontextmanager
async def _noting(old: Sequence[int], leaving: Leaving) -> AsyncGenerator[Callable[[], None]]:
    """Note when processes end, counted from when the given function is called, until all have."""
    began = [time.monotonic()]

    def begin() -> None:
        began[0] = time.monotonic()

    async def watch() -> None:
        while left := [pid for pid in old if pid not in leaving.seconds]:
            for pid in left:
                if not psutil.pid_exists(pid):
                    leaving.seconds[pid] = time.monotonic() - began[0]
            await asyncio.sleep(_WATCH_S / 4)

    watching = asyncio.create_task(watch())
    try:
        yield begin
        async with asyncio.timeout(_LEAVE_S):
            await watching
    finally:
        watching.cancel()


@dataclass(frozen=True)
class Node:
    """A Ray node.

    Attributes:
        process: `ray start --block`.
        runtime: The folder in which `hearth drain` finds its ingresses.
    """

    process: subprocess.Popen[bytes]
    runtime: Path

    def ingresses(self) -> list[int]:
        """Return the processes of its ingresses."""
        return [int(file.stem.rsplit("-", 1)[1]) for file in self.runtime.glob("*/*.sock")]


async def shut_down(node: Node, *, hook: bool) -> Leaving:
    """Shut a Ray node down as a kubelet does: the hook `hearth drain`, then SIGTERM; return when it has gone.

    Args:
        node: The node.
        hook: Whether there is one.
    """
    leaving = Leaving()
    async with _noting(node.ingresses(), leaving) as begin:
        begin()
        if hook:
            drain = await DrainCommand.start({"HEARTH_RUNTIME": str(node.runtime)})
            if await drain.ended():
                raise RuntimeError("\n".join(drain.lines))
        node.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(node.process.wait, _KILLED_S)
        # A kubelet kills what is left at the end of the grace period.
        await asyncio.to_thread(servers.end, node.process.pid)
    return leaving


@dataclass(frozen=True)
class OwnStage:
    """Servers for one scenario.

    Attributes:
        folder: Of all that they keep.
        nats_port: Of the NATS server.
    """

    folder: Path
    nats_port: int

    @contextmanager
    def graph(self, name: str, wanted: Wanted) -> Generator[tuple[Graph, Node]]:
        """Run a cluster of one node with a graph; give both once its ingresses run."""
        with self._cluster(name) as (cluster, node):
            yield self._deployed(cluster, wanted), node

    @contextmanager
    def graph_on_two_nodes(self, wanted: Wanted) -> Generator[tuple[Graph, Node]]:
        """Run a cluster of two nodes, with models on the head alone; give the graph and the other node."""
        runtime = self.folder / "worker" / "runtime"
        with self._cluster("head") as (cluster, _):
            graph = self._deployed(cluster, replace(wanted, replicas=1, per_node=1))
            runtime.mkdir(parents=True)
            environment = {**ray_environment(), "HEARTH_RUNTIME": str(runtime)}
            with servers.ray_worker(self.folder / "worker", cluster, environment) as process:
                deploy(cluster.dashboard_url, config_of(graph.stand_in, replace(wanted, replicas=2, per_node=1)))
                node = Node(process, runtime)
                servers.wait_until("the ingresses of the worker", lambda: len(node.ingresses()) == len(INGRESSES), 60)
                yield graph, node

    @contextmanager
    def _cluster(self, name: str) -> Generator[tuple[servers.RayCluster, Node]]:
        runtime = self.folder / name / "runtime"
        runtime.mkdir(parents=True)
        with servers.ray_cluster(self.folder / name, {**ray_environment(), "HEARTH_RUNTIME": str(runtime)}) as cluster:
            yield cluster, Node(cluster.head, runtime)

    def _deployed(self, cluster: servers.RayCluster, wanted: Wanted) -> Graph:
        http_url = f"http://{servers.LOOPBACK}:{servers.free_port()}"
        stand_in = StandInGraph(self.nats_port, http_url, cluster.dashboard_url, frozenset({Side.LIVE}))
        deploy(cluster.dashboard_url, config_of(stand_in, wanted))
        return Graph(stand_in)


@contextmanager
def own_stage(folder: Path) -> Generator[OwnStage]:
    """Run a NATS server with JetStream, whose accounts are those of stand-in graphs."""
    config = folder / "nats.conf"
    config.write_text(nats_accounts_with_streams(folder / "store"), encoding="utf-8")
    with servers.nats_server(folder / "nats", "-c", str(config)) as url:
        yield OwnStage(folder, int(url.rsplit(":", 1)[1]))
