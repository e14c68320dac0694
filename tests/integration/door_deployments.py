"""Services that the tests of the door call: a model that counts what it makes, and one that passes it on."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.call import Call
from deployments.errors import FAMILY, BackEnd, Limit
from deployments.graph.definitions import ServiceDefinition
from deployments.graph.deployment import Replica
from deployments.pipelines.ports import EngineUnavailableError

S = TypeVar("S")

APPLICATION = "door-tests"
TOKEN_PERIOD_S = 0.005
FIELDS: Mapping[str, Any] = {
    "retryable": True,
    "retry_after_s": 2.5,
    "field": "top_k",
    "limit": Limit("milvus.max_keep", 50, 51),
    "back_end": BackEnd("reranker", 429),
}
"""Of every error that the model is asked to raise."""
ENGINE = "engine"
"""Asks for the error of a workflow engine, which has a field of its own."""
USER_CONFIG = {"answering": "briefly"}


class TokenService(Protocol):
    """Makes tokens."""

    def tokens(self, call: Call, count: int) -> AsyncGenerator[str]: ...

    def break_off(self, call: Call, kind: str) -> AsyncGenerator[str]: ...


class ModelService(TokenService, Protocol):
    """Makes tokens, and does what else the tests ask for."""

    def burst(self, call: Call, count: int) -> AsyncGenerator[int]: ...

    async def fail(self, call: Call, kind: str) -> None: ...

    async def sleep(self, call: Call, seconds: float) -> str: ...

    async def remaining(self, call: Call) -> float: ...

    async def echo(self, call: Call, value: object) -> object: ...

    async def counts(self, call: Call) -> tuple[int, int]: ...

    async def configured(self, call: Call) -> object: ...

    async def process_id(self, call: Call) -> int: ...

    async def end_process(self, call: Call, process_id: int) -> int: ...


class BusyService(Protocol):
    """Takes its time."""

    async def sleep(self, call: Call, seconds: float) -> str: ...


MODEL = ServiceDefinition(ModelService, "Model")
MIDDLE = ServiceDefinition(TokenService, "Middle")
BUSY = ServiceDefinition(BusyService, "Busy")


class Model:
    """Makes a token every few milliseconds and counts them."""

    def __init__(self) -> None:
        self._made = 0
        self._unary_cancelled = 0
        self._configured: object = None

    async def tokens(self, call: Call, count: int) -> AsyncGenerator[str]:
        for index in range(count):
            self._made += 1
            yield f"token{index}"
            await asyncio.sleep(TOKEN_PERIOD_S)

    async def burst(self, call: Call, count: int) -> AsyncGenerator[int]:
        for number in range(count):
            yield number

    async def break_off(self, call: Call, kind: str) -> AsyncGenerator[str]:
        yield "before"
        await self.fail(call, kind)

    async def fail(self, call: Call, kind: str) -> None:
        if kind == ENGINE:
            raise EngineUnavailableError("as asked", retry_after_s=7.0, may_have_acted=True)
        error = next((error for error in FAMILY if error.kind == kind), None)
        raise error("as asked", **FIELDS) if error else RuntimeError("a secret of the server")

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

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        self._configured = user_config

    async def configured(self, call: Call) -> object:
        return self._configured

    async def process_id(self, call: Call) -> int:
        return os.getpid()

    async def end_process(self, call: Call, process_id: int) -> int:
        """End that process, with the call in its hands; return the process that answers."""
        if os.getpid() == process_id:
            os._exit(1)
        return os.getpid()


class Middle:
    """Passes on what the model makes, as orchestration does."""

    def __init__(self, model: DeploymentHandle[Any]) -> None:
        self._model = MODEL.by_handle(model)

    async def tokens(self, call: Call, count: int) -> AsyncGenerator[str]:
        async with aclosing(self._model.tokens(call, count)) as tokens:
            async for token in tokens:
                yield token

    async def break_off(self, call: Call, kind: str) -> AsyncGenerator[str]:
        async with aclosing(self._model.break_off(call, kind)) as items:
            async for item in items:
                yield item


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


def build_model() -> Replica[ModelService]:
    model = Model()
    return Replica(model, reconfigure=model.reconfigure)


def bound(
    service: ServiceDefinition[S], build: Callable[..., S | Replica[S]], *arguments: Application, **options: Any
) -> Application:
    """Bind the deployment of a service with the options that the graph's configuration would give it."""
    deployment = serve.deployment(name=service.name, num_replicas=1, ray_actor_options={"num_cpus": 0}, **options)
    return deployment(service.replica_class(build)).bind(*arguments)


def build() -> Application:
    model = bound(
        MODEL,
        build_model,
        max_ongoing_requests=100,
        health_check_period_s=1,
        graceful_shutdown_timeout_s=1,
        user_config=USER_CONFIG,
    )
    busy = bound(BUSY, Busy, max_ongoing_requests=1, max_queued_requests=1)
    return Entry.bind(bound(MIDDLE, Middle, model, max_ongoing_requests=100), busy)
