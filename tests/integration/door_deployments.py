"""Deployments that the tests of the door call: a model that counts what it makes, and one that passes it on."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.call import Call
from deployments.errors import FAMILY
from deployments.graph.batching import Batch, ready_together
from deployments.graph.door import Door, handle_door

APPLICATION = "door-tests"
TOKEN_PERIOD_S = 0.005


@serve.deployment(
    name="Model",
    num_replicas=1,
    ray_actor_options={"num_cpus": 0},
    max_ongoing_requests=100,
    health_check_period_s=1,
    graceful_shutdown_timeout_s=1,
)
class Model:
    """Makes a token every few milliseconds and counts them."""

    def __init__(self) -> None:
        self._made = 0
        self._unary_cancelled = 0

    async def tokens(self, call: Call, count: int) -> AsyncGenerator[Batch[str]]:
        async with aclosing(ready_together(self._tokens(count))) as batches:
            async for batch in batches:
                yield batch

    async def _tokens(self, count: int) -> AsyncGenerator[str]:
        for index in range(count):
            self._made += 1
            yield f"token{index}"
            await asyncio.sleep(TOKEN_PERIOD_S)

    async def burst(self, call: Call, count: int) -> AsyncGenerator[list[int]]:
        yield list(range(count))

    async def break_off(self, call: Call, kind: str) -> AsyncGenerator[list[str]]:
        yield ["before"]
        await self.fail(call, kind)

    async def fail(self, call: Call, kind: str) -> None:
        error = next((error for error in FAMILY if error.kind == kind), None)
        raise error("as asked") if error else RuntimeError("a secret of the server")

    async def sleep(self, call: Call, seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._unary_cancelled += 1
            raise
        return "slept"

    async def remaining(self, call: Call) -> float:
        return call.remaining()

    async def echo(self, call: Call, value: object) -> object:
        return value

    async def counts(self, call: Call) -> tuple[int, int]:
        return self._made, self._unary_cancelled

    async def process_id(self, call: Call) -> int:
        return os.getpid()

    async def die(self, call: Call) -> None:
        os._exit(1)


@serve.deployment(name="Middle", num_replicas=1, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=100)
class Middle:
    """Passes on what the model makes, as orchestration does."""

    def __init__(self, model: DeploymentHandle[Any]) -> None:
        self._model: Door = handle_door(model)

    async def tokens(self, call: Call, count: int) -> AsyncGenerator[Batch[str]]:
        async with aclosing(ready_together(self._model.stream(call, "tokens", count))) as batches:
            async for batch in batches:
                yield batch


@serve.deployment(
    name="Busy", num_replicas=1, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1, max_queued_requests=1
)
class Busy:
    """Takes one call at a time and lets one wait."""

    async def sleep(self, call: Call, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"


@serve.deployment(name="Entry", num_replicas=1, ray_actor_options={"num_cpus": 0})
class Entry:
    """Holds the application together."""

    def __init__(self, *others: DeploymentHandle[Any]) -> None:
        self._others = others


def build() -> Application:
    return Entry.bind(Middle.bind(Model.bind()), Busy.bind())
