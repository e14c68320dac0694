"""Replicas come and go with the load, with requests that are kept in a stream: real NATS, real Ray, none lost."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from bridges.generated.hearth.v1 import status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.connection import NatsClient
from bridges.subjects import CHAT_MESSAGE, STATUS, subject_for
from tests import servers
from tests.benchmarks.site import deploy
from tests.benchmarks.stand_in_graph import LOAD_POLICY, ZERO_COST_MODELS
from tests.nats_client import nats_connected

SCALED = {"NatsIngress", "Chat", "LanguageModel"}
ASKERS = 24
PLACES = 4
QUESTION = "tokens=10 every=100"
"""An answer takes a second and no CPU."""


def application(name: str, import_path: str, deployments: list[str], args: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": 0},
        "max_ongoing_requests": 100,
        "graceful_shutdown_wait_loop_s": 0.2,
        "autoscaling_config": {
            "min_replicas": 1,
            "max_replicas": 2,
            "target_ongoing_requests": PLACES,
            "metrics_interval_s": 0.5,
            "look_back_period_s": 1.0,
            "upscale_delay_s": 0.5,
            "downscale_delay_s": 1.0,
        },
    }
    return {
        "name": name,
        "route_prefix": None,
        "import_path": import_path,
        "args": args,
        "autoscaling_policy": {"policy_function": LOAD_POLICY},
        "deployments": [{"name": deployment, **options} for deployment in deployments],
    }


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder: Path = tmp_path_factory.mktemp("nats")
    with servers.nats_server(folder, "-js", "-sd", str(folder / "store")) as url:
        yield url


@pytest.fixture(scope="module")
def graph(ray_cluster: servers.RayCluster, nats_url: str) -> None:
    """Deploy an ingress that keeps its requests, Chat, and a model, one replica of each."""
    args = {
        "nats": {
            "url": nats_url,
            "max_in_flight": PLACES,
            "max_wait_s": 60,
            "durable": {"rows": ["chat-message"], "storage": "memory"},
        },
        "scaling": {"waiting_per_replica": PLACES},
        "memory": {"enabled": False},
        "audio": {"enabled": False},
        "in_process": ["Retrieval", "Ingestion"],
    }
    model = application("language-model", f"{ZERO_COST_MODELS}:language_model", ["LanguageModel"], {})
    orchestration = application("orchestration", "bridges.application:orchestration", ["NatsIngress", "Chat"], args)
    deploy(ray_cluster.dashboard_url, {"proxy_location": "Disabled", "applications": [model, orchestration]})


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[NatsClient]:
    connection = await nats_connected(nats_url)
    yield connection
    await connection.close()


async def replicas(client: NatsClient) -> dict[str, int]:
    """Return how many replicas of each deployment run."""
    reply = await client.request(STATUS.pattern, b"", timeout=10)
    return {one.name: one.running for one in status_pb2.StatusResponse.FromString(reply.data).deployments}


async def until_replicas(client: NatsClient, number: int) -> None:
    """Return when each deployment has so many."""
    async with asyncio.timeout(60):
        while await replicas(client) != dict.fromkeys(SCALED, number):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.1)


async def until_serving(client: NatsClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await replicas(client)
            except nats.errors.NoRespondersError:
                await asyncio.sleep(0.1)
            else:
                return


async def ask_on(client: NatsClient, user: str, leaving: asyncio.Event) -> list[bool]:
    """Ask again and again, and say of each request whether it was answered."""
    answered: list[bool] = []
    while not leaving.is_set():
        request = messages_pb2.ChatRequest(request_id=f"{user}-{len(answered)}", message=QUESTION)
        subject = subject_for(CHAT_MESSAGE, user_id=user)
        reply = await client.request(subject, request.SerializeToString(), timeout=60)
        answered.append(messages_pb2.ChatResponse.FromString(reply.data).success)
    return answered


async def test_replicas_come_with_the_load_and_go_with_it_and_no_request_is_lost(
    graph: None, client: NatsClient
) -> None:
    del graph
    await until_serving(client)
    assert await replicas(client) == dict.fromkeys(SCALED, 1)
    many, few = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask_on(client, f"user{number}", many)) for number in range(ASKERS)]
        asking.append(group.create_task(ask_on(client, "last", few)))
        await until_replicas(client, 2)
        many.set()
        await until_replicas(client, 1)
        few.set()
    answered = list(itertools.chain.from_iterable(one.result() for one in asking))
    assert len(answered) > ASKERS
    assert all(answered)
