"""The real graph on Ray Serve with models that cost nothing, each of whose processes can be killed."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from bridges.command_line.client import connected
from bridges.generated.hearth.v1 import documents_pb2
from deployments.backoff import Backoff, retry
from tests import servers
from tests.benchmarks.site import deploy, ray_environment
from tests.benchmarks.stand_in_graph import TIMED_MODELS, ZERO_COST_MODELS
from tests.faults.asked import Kind
from tests.faults.background import BackgroundLoop
from tests.faults.killable import Broker, KillableServer, kill, kill_family
from tests.faults.network import Network
from tests.faults.stand import Mode, Part, broker_and_network, url_through

DOCUMENT = "The library opens at nine. The roof of the barn was mended in May."
_INGEST_S = 60.0
_PAUSE_S = 1.0
_ROWS = ("chat-message", "chat-request", "greeting", "voice-request")
_SPEECH_MODELS = "speech-models"
_APPLICATIONS = {
    Part.INGRESS: "orchestration",
    Part.CHAT: "orchestration",
    Part.RETRIEVAL: "orchestration",
    Part.LANGUAGE_MODEL: "language-model",
    Part.EMBEDDINGS: "embeddings",
    Part.RERANKER: "reranker",
    Part.SPEECH_TO_TEXT: _SPEECH_MODELS,
    Part.TEXT_TO_SPEECH: _SPEECH_MODELS,
}


@dataclass
class GraphStand:
    """The graph, on one Ray node or on two.

    Ray starts again what is killed, but not a node or a raylet: those, and Milvus, are started again by `mend`.
    """

    broker: Broker
    network: Network
    loop: BackgroundLoop
    folder: Path
    milvus: KillableServer
    environment: Mapping[str, str]
    cluster: servers.RayCluster
    kinds: Sequence[Kind] = (Kind.STREAMED, Kind.RETRIEVED, Kind.SPOKEN, Kind.STREAMED, Kind.RETRIEVED, Kind.GREETING)
    running: ExitStack = field(default_factory=ExitStack)
    worker_pid: int = 0
    workers: int = 0

    def kill(self, part: Part) -> None:
        """See `Stand.kill`."""
        match part:
            case Part.MILVUS:
                self.milvus.kill()
            case Part.CONTROLLER:
                kill(_controller())
            case Part.RAYLET:
                kill(_raylet(self.worker_pid))
            case Part.NODE:
                kill_family(self.worker_pid)
            case _:
                kill(self.pids(part)[0])

    def mend(self, part: Part) -> None:
        """See `Stand.mend`."""
        match part:
            case Part.MILVUS:
                self.milvus.start()
            case Part.RAYLET | Part.NODE:
                self.running.close()
                self.add_node()
            case _:
                return

    def missing(self) -> str:
        """See `Stand.missing`."""
        missing: list[str] = []
        for application in self._serve()["applications"].values():
            for name, deployment in application["deployments"].items():
                wanted = deployment["target_num_replicas"]
                running = sum(replica["state"] == "RUNNING" for replica in deployment["replicas"])
                if running < wanted:
                    missing.append(f"{running} of {wanted} replicas of {name} run")
        return ", ".join(missing)

    def add_node(self) -> None:
        """Start the second node."""
        self.workers += 1
        folder = self.folder / f"node-{self.workers}"
        process = self.running.enter_context(servers.ray_worker(folder, self.cluster, self.environment))
        self.worker_pid = process.pid

    def pids(self, part: Part) -> list[int]:
        """Return the processes of a deployment's replicas that run."""
        deployment = self._serve()["applications"][_APPLICATIONS[part]]["deployments"][part.value]
        return [replica["pid"] for replica in deployment["replicas"] if replica["state"] == "RUNNING"]

    def _serve(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.cluster.dashboard_url}/api/serve/applications/", timeout=30, trust_env=False)
        return answer.raise_for_status().json()


def _controller() -> int:
    # Among what this process has started: other clusters of this machine have one, too.
    for process in psutil.Process().children(recursive=True):
        if (process.cmdline() or [""])[0].startswith("ray::ServeController"):
            return process.pid
    raise LookupError("Serve's controller does not run")


def _raylet(pid: int) -> int:
    for process in psutil.Process(pid).children(recursive=True):
        if process.name() == "raylet":
            return process.pid
    raise LookupError("no raylet runs on the second node")


@contextmanager
def graph_stand(
    folder: Path, loop: BackgroundLoop, mode: Mode, timeout_s: float, store: Path | None = None, nodes: int = 1
) -> Generator[GraphStand]:
    """Run the graph.

    Args:
        folder: Of logs and data.
        loop: Where the network runs.
        mode: How requests are taken.
        timeout_s: Time that a request has.
        store: Where the NATS server's store is, for one on a disk of its own.
        nodes: With 2, each deployment has a replica on both. With 1, each has one, but the ingress two.
    """
    with ExitStack() as stack:
        broker, network = stack.enter_context(broker_and_network(folder, loop, store))
        milvus = _milvus(folder)
        milvus.start()
        stack.callback(milvus.stop)
        environment = {
            **ray_environment(),
            "NATS_URL": url_through(network),
            "MILVUS_HOST": f"http://{servers.LOOPBACK}:{milvus.port}",
            "HEARTH_RUNTIME": str(folder / "runtime"),
        }
        cluster = stack.enter_context(servers.ray_cluster(folder / "ray", environment))
        stand = GraphStand(broker, network, loop, folder, milvus, environment, cluster)
        stack.enter_context(stand.running)
        if nodes > 1:
            stand.add_node()
        deploy(cluster.dashboard_url, _serve_config(mode, timeout_s, nodes))
        loop.run(_ingest(broker.url))
        yield stand


async def _ingest(nats_url: str) -> None:
    """Put a document in, once that is taken: an application runs before its ingress takes requests."""
    request = documents_pb2.IngestRequest(source="library.md", text=DOCUMENT)
    async with connected(nats_url) as client:
        await retry(lambda: client.ingest(request, _INGEST_S), Backoff(_PAUSE_S, _PAUSE_S, total_s=_INGEST_S))


def _milvus(folder: Path) -> KillableServer:
    port = servers.free_port()
    command = [servers.program("milvus-lite"), "server", "--data-dir", str(folder / "milvus-data")]
    command += ["--host", servers.LOOPBACK, "--port", str(port)]
    return KillableServer(command, folder / "milvus", port)


def _serve_config(mode: Mode, timeout_s: float, nodes: int) -> Mapping[str, Any]:
    return {
        "proxy_location": "Disabled",
        "logging_config": {"log_level": "INFO", "enable_access_log": False},
        "applications": list(_applications(mode, timeout_s, nodes)),
    }


def _applications(mode: Mode, timeout_s: float, nodes: int) -> Iterator[Mapping[str, Any]]:
    models = {
        "language-model": (f"{ZERO_COST_MODELS}:language_model", ["LanguageModel"]),
        "embeddings": (f"{ZERO_COST_MODELS}:embeddings", ["Embeddings"]),
        "reranker": (f"{ZERO_COST_MODELS}:reranker", ["Reranker"]),
        # Its language model is not asked.
        _SPEECH_MODELS: (f"{TIMED_MODELS}:models", ["LanguageModel", "SpeechToText", "TextToSpeech"]),
    }
    for name, (import_path, deployments) in models.items():
        yield _application(name, import_path, dict.fromkeys(deployments, nodes), {}, nodes)
    nats = {
        # Nothing is refused of what gathers while something is away.
        "max_in_flight": 64,
        "max_waiting": 100_000,
        "max_wait_s": timeout_s,
        "user_share": 1,
        "request_timeout_s": timeout_s,
        "durable": {"rows": list(_ROWS) if mode is Mode.DURABLE else []},
    }
    args = {
        "nats": nats,
        "in_process": ["Transcription", "Speech", "Voice"],
        "speech_to_text": _SPEECH_MODELS,
        "text_to_speech": _SPEECH_MODELS,
    }
    replicas = dict.fromkeys(("Chat", "Retrieval", "Ingestion", "AudioIngress"), nodes) | {"NatsIngress": 2}
    yield _application("orchestration", "bridges.application:orchestration", replicas, args, nodes)


def _application(
    name: str, import_path: str, replicas: Mapping[str, int], args: Mapping[str, Any], nodes: int
) -> Mapping[str, Any]:
    common = {
        "ray_actor_options": {"num_cpus": 0},
        "max_ongoing_requests": 1000,
        # As `serve_config.yaml` has it.
        "health_check_period_s": 1,
        "health_check_timeout_s": 10,
        "graceful_shutdown_wait_loop_s": 0.2,
        "graceful_shutdown_timeout_s": 5,
        **({"max_replicas_per_node": 1} if nodes > 1 else {}),
    }
    return {
        "name": name,
        "route_prefix": None,
        "import_path": import_path,
        "args": dict(args),
        "deployments": [{"name": name, "num_replicas": number, **common} for name, number in replicas.items()],
    }
