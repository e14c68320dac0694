"""The graph in front of models that cost nothing, its passages a constant in place of Milvus.

The services and the ingress are Hearth's own: a search costs the same wherever it is called from, so it is left out on
both sides of the comparison. No other module of the benchmarks builds Hearth's orchestration from its parts.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import deployments.orchestration as services
from bridges.application import NatsIngressDeployment
from deployments.call import Call
from deployments.graph.definitions import CHAT, INGESTION, RETRIEVAL
from deployments.graph.replica import prepare_replica
from deployments.settings.orchestration import MilvusSettings, OrchestrationSettings
from deployments.values.chat import AnswerItem, ChatQuestion
from deployments.values.retrieval import Passage
from deployments.values.vectors import Vectors

PASSAGES = tuple(
    Passage(f"Passage {number} says what the handbook says on its page. " * 6, f"page-{number}.md", "Handbook", 0.5)
    for number in range(20)
)
_CALL_S = 60.0


class ConstantPassages:
    """Finds the same passages whatever is asked."""

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        del call, collection, question, vector
        return list(PASSAGES[:limit])

    async def check(self, call: Call) -> str:
        del call
        return "constant"


def constant_passages(settings: MilvusSettings) -> ConstantPassages:
    del settings
    return ConstantPassages()


class Leaver:
    """Asks Chat, which is a deployment of its own, for many answers at once, and leaves them all.

    Args:
        application: That Chat is in.
    """

    def __init__(self, application: str) -> None:
        prepare_replica("Leaver")
        self._chat = CHAT.in_application(application)

    async def __call__(self, request: Request) -> Response:
        """Return when the answers were left, on the machine's monotonic clock."""
        body = await request.json()
        call = Call.within(_CALL_S)
        streams = [self._chat.answer(call, ChatQuestion(body["question"])) for _ in range(body["streams"])]
        await asyncio.gather(*(_read(stream, body["items"]) for stream in streams))
        left = time.monotonic()
        await asyncio.gather(*(stream.aclose() for stream in streams))
        return JSONResponse(left)


async def _read(stream: AsyncGenerator[AnswerItem], items: int) -> None:
    for _ in range(items):
        await anext(stream)


def leaver(args: Mapping[str, str]) -> Application:
    """Build the application of the caller that leaves; `args` name the `application` that Chat is in."""
    return serve.deployment(name=Leaver.__name__)(Leaver).bind(args["application"])


def orchestration(args: OrchestrationSettings) -> Application:
    """Build the orchestration, its services apart or all of them in the ingress's replica."""
    handles: dict[str, Any] = {}
    if RETRIEVAL.name not in args.in_process:
        handles[RETRIEVAL.name] = RETRIEVAL.bind(services.build_retrieval, args, constant_passages)
    if CHAT.name not in args.in_process:
        handles[CHAT.name] = CHAT.bind(services.build_chat, args, dict(handles), constant_passages)
    if INGESTION.name not in args.in_process:
        handles[INGESTION.name] = INGESTION.bind(services.build_ingestion, args)
    return NatsIngressDeployment.bind(args, handles, constant_passages)
