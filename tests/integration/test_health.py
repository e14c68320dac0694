"""`/health` and `/ready` as a probe asks for them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from bridges.operations.health import HealthServer
from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.settings.orchestration import HealthSettings
from deployments.values.status import ComponentStatus
from tests.servers import free_port


@dataclass
class Ingress:
    """An ingress whose state is set."""

    fault: str = ""
    serving: bool = True
    draining: bool = False
    model: bool = True
    milvus: bool = True

    def check(self) -> None:
        if self.fault:
            raise UnavailableError(self.fault)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        assert call.remaining() > 0
        return (
            ComponentStatus("LanguageModel", ready=self.model, detail="a model"),
            ComponentStatus("Milvus", ready=self.milvus, detail="somewhere", required=False),
        )


@asynccontextmanager
async def probing(ingress: Ingress, port: int | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    chosen = free_port() if port is None else port
    server = HealthServer(
        HealthSettings(port=chosen),
        ingress.check,
        lambda: ingress.serving,
        lambda: ingress.draining,
        ingress.components,
    )
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{chosen}") as client:
        yield client
    await server.stop()


async def test_a_working_ingress_is_healthy_and_ready() -> None:
    async with probing(Ingress()) as client:
        assert (await client.get("/health")).json() == {"healthy": True}
        ready = await client.get("/ready")
    assert ready.status_code == 200
    assert ready.json()["ready"]
    assert ready.json()["degraded"] == []


async def test_a_lost_connection_is_no_health() -> None:
    async with probing(Ingress(fault="the connection was closed for good")) as client:
        health = await client.get("/health")
    assert health.status_code == 503
    assert health.json() == {"healthy": False, "error": "the connection was closed for good"}


async def test_without_milvus_it_is_ready_and_degraded() -> None:
    async with probing(Ingress(milvus=False)) as client:
        ready = await client.get("/ready")
    assert ready.status_code == 200
    assert ready.json()["degraded"] == ["Milvus"]


async def test_without_its_model_or_its_queue_group_it_is_not_ready() -> None:
    for ingress in (Ingress(model=False), Ingress(serving=False)):
        async with probing(ingress) as client:
            ready = await client.get("/ready")
            assert ready.status_code == 503
            assert not ready.json()["ready"]
            assert (await client.get("/health")).status_code == 200


async def test_one_that_is_drained_is_healthy_and_says_why_it_is_not_ready() -> None:
    async with probing(Ingress(serving=False, draining=True)) as client:
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["draining"]) == (503, True)
        assert (await client.get("/health")).status_code == 200


async def test_a_port_that_is_taken_stops_nothing() -> None:
    port = free_port()
    async with probing(Ingress(), port) as first, probing(Ingress(model=False), port):
        assert (await first.get("/ready")).status_code == 200


async def test_a_port_is_taken_over_from_the_replica_that_leaves() -> None:
    port = free_port()
    async with AsyncExitStack() as new:
        async with probing(Ingress(serving=False), port) as old:
            await new.enter_async_context(probing(Ingress(), port))
            assert (await old.get("/ready")).status_code == 503
        async with asyncio.timeout(5), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    assert (await client.get("/ready")).status_code == 200
                    break
                await asyncio.sleep(0.05)


async def test_a_port_of_0_is_none() -> None:
    async with probing(Ingress(), 0):
        pass
