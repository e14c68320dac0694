"""A Ray node is shut down as a kubelet does it: the preStop hook `hearth drain`, then SIGTERM to `ray start --block`.

Two real Ray nodes with an ingress of each kind, and a model that ends its answers when the test lets it.
"""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from deployments.models.store import ModelStore
from tests import servers
from tests.drain_command import DrainCommand
from tests.nats_client import nats_connected
from tests.openai_server import TOKENS, OpenAIServer, openai_server

WHOLE = "".join(TOKENS).strip()
DRAIN_TIMEOUT_S = 15
"""Of Ray, behind SIGTERM."""
SESSIONS = [f"session-{number}" for number in range(20)]
HELD = 12
ENDED_BY_SIGTERM = 1
"""Exit status of `ray start --block`, whatever it was doing."""


@dataclass(frozen=True)
class Nodes:
    """A cluster of a head and a worker, with an ingress of each kind on both.

    Attributes:
        cluster: Of both.
        worker: The process that a kubelet would run there.
        model: Answers.
        nats_url: Where clients reach the graph.
        environments: Those of the head and the worker.
    """

    cluster: servers.RayCluster
    worker: subprocess.Popen[bytes]
    model: OpenAIServer
    nats_url: str
    environments: dict[str, dict[str, str]]

    def replicas(self) -> dict[str, dict[int, str]]:
        """Return the replicas of the ingresses: by deployment, the states by process."""
        answer = httpx.get(f"{self.cluster.dashboard_url}/api/serve/applications/", timeout=30, trust_env=False)
        deployments = answer.json()["applications"]["orchestration"]["deployments"]
        return {
            name: {replica["pid"]: replica["state"] for replica in deployment["replicas"]}
            for name, deployment in deployments.items()
        }

    def sockets(self, node: str) -> list[str]:
        """Return the names of the sockets on a node."""
        return sorted(path.name for path in Path(self.environments[node]["HEARTH_RUNTIME"]).glob("*/*.sock"))


def applications(model: OpenAIServer, nats_url: str) -> list[dict[str, Any]]:
    common = {"health_check_period_s": 1, "graceful_shutdown_wait_loop_s": 0.2, "graceful_shutdown_timeout_s": 70}
    ingress = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0}, "max_replicas_per_node": 1, **common}
    return [
        {
            "name": "language-model",
            "route_prefix": None,
            "import_path": "deployments.applications:language_model",
            "args": {"engine": {"kind": "openai", "base_url": model.url, "model": "any", "context_tokens": 1 << 16}},
            "deployments": [
                {"name": "LanguageModel", "max_ongoing_requests": 64, "ray_actor_options": {"num_cpus": 0}, **common}
            ],
        },
        {
            "name": "orchestration",
            "route_prefix": None,
            "import_path": "bridges.application:orchestration",
            "args": {
                # One client holds all that is held.
                "nats": {"url": nats_url, "max_in_flight": HELD + 4, "user_share": 1},
                "in_process": ["Chat", "Retrieval", "Ingestion", "Transcription", "Speech", "Voice"],
                "health": {"port": 0},
            },
            "deployments": [{"name": name, **ingress} for name in ("NatsIngress", "AudioIngress")],
        },
    ]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, nats_url: str, models: ModelStore) -> Generator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    common = {
        **servers.replica_environment(),
        "HEARTH_MODELS": str(models.folder),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S),
    }
    environments = {name: {**common, "HEARTH_RUNTIME": str(folder / name)} for name in ("head", "worker")}
    with (
        openai_server() as model,
        servers.ray_cluster(folder / "head", environments["head"]) as cluster,
        servers.ray_worker(folder / "worker", cluster, environments["worker"]) as worker,
    ):
        body = {"proxy_location": "Disabled", "applications": applications(model, nats_url)}
        answer = httpx.put(f"{cluster.dashboard_url}/api/serve/applications/", json=body, timeout=60, trust_env=False)
        assert answer.is_success, answer.text
        deployed = Nodes(cluster, worker, model, nats_url, environments)
        servers.wait_until(
            "an ingress of each kind on both nodes",
            lambda: all(
                [name.split("-")[0] for name in deployed.sockets(node)] == ["AudioIngress", "NatsIngress"]
                for node in environments
            ),
            120,
        )
        yield deployed


@pytest.fixture
async def client(nodes: Nodes) -> AsyncGenerator[Client]:
    async with await nats_connected(nodes.nats_url) as connection:
        await until_services(connection, 4)
        yield connection


async def until_services(client: Client, count: int) -> None:
    """Return once so many ingresses take requests: each is a service of the NATS ecosystem."""
    async with asyncio.timeout(60):
        while True:
            found: set[str] = set()

            async def heard(message: Msg, found: set[str] = found) -> None:
                # Without any, the server's own word is heard.
                if message.data:
                    found.add(json.loads(message.data)["id"])

            inbox = await client.subscribe(client.new_inbox(), cb=heard)
            await client.publish("$SRV.PING.hearth", reply=inbox.subject)
            await asyncio.sleep(0.2)
            await inbox.unsubscribe()
            if len(found) == count:
                return


async def ask(client: Client, question: str) -> messages_pb2.ChatResponse:
    request = messages_pb2.ChatRequest(message=question)
    answer = await client.request("ai.chat.request", request.SerializeToString(), timeout=60)
    return messages_pb2.ChatResponse.FromString(answer.data)


async def until(happened: Any) -> None:
    await asyncio.to_thread(servers.wait_until, "it", happened, 60)


async def test_a_node_that_is_drained_and_then_ended_loses_no_answer_no_request_and_no_session(
    nodes: Nodes, client: Client
) -> None:
    for session_id in SESSIONS:
        start = messages_pb2.STTStreamMessage(type="start", speaker_id="ada")
        await client.publish(f"ai.voice.stream.{session_id}", start.SerializeToString())
    held = [asyncio.create_task(ask(client, f"[held] {number}")) for number in range(HELD)]
    await until(lambda: len(nodes.model.asked) == HELD)
    processes = {name: set(states) for name, states in nodes.replicas().items()}

    drain = await DrainCommand.start(nodes.environments["worker"])
    await drain.until_said("on ai.chat.request")
    await drain.until_said("AudioIngress")
    await until_services(client, 2)
    answers = await asyncio.gather(*(ask(client, f"{number}") for number in range(20)))
    assert [answer.response for answer in answers] == [WHOLE] * 20, "the ingress on the other node answers"
    assert not any(answer.done() for answer in held)
    nodes.model.may_end.set()
    assert await drain.ended() == 0, drain.lines
    assert drain.lines[-1] == "2 ingresses are drained."
    assert [(await answer).response for answer in held] == [WHOLE] * HELD

    again = await DrainCommand.start(nodes.environments["worker"], "--at-least", "4")
    assert await again.ended() == 0, again.lines
    await until_services(client, 2)
    replicas = nodes.replicas()
    assert {name: set(states) for name, states in replicas.items()} == processes, "Serve finds nothing wrong with them"
    assert {state for states in replicas.values() for state in states.values()} == {"RUNNING"}

    nodes.worker.send_signal(signal.SIGTERM)
    # Ray does not wait for anything any more.
    await asyncio.to_thread(nodes.worker.wait, DRAIN_TIMEOUT_S / 2)
    answers = await asyncio.gather(*(ask(client, f"{number}") for number in range(20)))
    assert [answer.response for answer in answers] == [WHOLE] * 20
    assert await speakers_of(client) == dict.fromkeys(SESSIONS, "ada")


async def speakers_of(client: Client) -> dict[str, str]:
    """End every session, and return who spoke there, as its "start" had said."""
    speakers: dict[str, str] = {}
    finals = await client.subscribe("ai.voice.transcription.*")
    for session_id in SESSIONS:
        for message in (
            messages_pb2.STTStreamMessage(type="chunk", audio=bytes(640)),
            messages_pb2.STTStreamMessage(type="end"),
        ):
            await client.publish(f"ai.voice.stream.{session_id}", message.SerializeToString())
    while len(speakers) < len(SESSIONS):
        final = messages_pb2.STTTranscription.FromString((await finals.next_msg(timeout=10)).data)
        speakers[final.session_id] = final.speaker_id
    await finals.unsubscribe()
    return speakers
