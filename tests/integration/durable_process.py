"""A process with an ingress whose requests are kept, and a graph of a few lines, to be killed by a test.

python -m tests.integration.durable_process NATS_URL SETTINGS_AS_JSON [SECONDS_BETWEEN_WORDS]
"""

import asyncio
import itertools
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator

from nats.aio.client import Client

from bridges.handlers.chat import ChatHandler
from bridges.handlers.greeting import GreetingHandler
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.durable_intake import DurableIntake
from bridges.nats.ingress import Endpoint, Ingress
from bridges.nats.refusals import Refusals
from bridges.nats.trust import Trust
from bridges.operations.readiness import Reporter, reported
from bridges.requests import REQUESTS
from deployments.call import Call
from deployments.settings.orchestration import MemorySettings, NatsSettings
from deployments.values.chat import AnswerEnd, AnswerItem, AnswerToken, ChatQuestion, Preparation
from deployments.values.status import ComponentStatus
from tests.integration.pipeline_process import NoMetrics

WORDS = 20
POISON = "poison"
PAUSE_S = 0.02


class DurableCounts(NoMetrics):
    """Counts what tests ask for."""

    def __init__(self) -> None:
        self.given_out_again = 0
        self.dead = 0

    def redelivered(self, subject: str) -> None:
        self.given_out_again += 1

    def given_up(self, subject: str) -> None:
        self.dead += 1


class Graph:
    """Answers a question with numbered words that also name the answer that they belong to: no two are alike.

    Args:
        pause_s: Seconds between words.
        alike: Whether all answers to a question are the same.
        first: The number of its first answer.
        words: Of each answer.
    """

    def __init__(self, pause_s: float = PAUSE_S, *, alike: bool = False, first: int = 0, words: int = WORDS) -> None:
        self._words = words
        self._pause_s = pause_s
        self._alike = alike
        self._answers = itertools.count(first)

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        if question.text == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = "" if self._alike else f"{os.getpid()}.{next(self._answers)}"
        for number in range(self._words):
            await asyncio.sleep(self._pause_s)
            yield AnswerToken(f"{question.text}:{answer}:{number} ")
        yield AnswerEnd()

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        raise AssertionError("nothing is prepared here")

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        raise AssertionError("nothing is read here")

    async def greet(self, call: Call, name: str) -> str:
        await asyncio.sleep(self._pause_s)
        return f"Hello {name}"

    async def warm(self, call: Call) -> None:
        raise AssertionError("nobody logs in here")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


def durable_ingress(
    settings: NatsSettings,
    graph: Graph,
    timeout_s: float = 30.0,
    counts: DurableCounts | None = None,
    refusals: Refusals | None = None,
) -> Ingress:
    """Return an ingress that keeps the requests of the rows that the settings name."""
    memory, trust = ConversationMemory(MemorySettings(enabled=False)), Trust.of(settings)
    chat, greeting = ChatHandler(graph, None, memory, trust), GreetingHandler(graph, trust)
    handlers = {"chat-message": chat, "chat-request": chat, "greeting": greeting}
    rows = [Endpoint(row, handlers[row.name], timeout_s) for row in REQUESTS if row.name in handlers]
    counts = counts or DurableCounts()
    durable = DurableIntake(settings, counts) if settings.durable.rows else None
    reporters = [Reporter("JetStream", durable, required=True)] if durable else []

    async def components(call: Call) -> tuple[ComponentStatus, ...]:
        return await reported(reporters, call)

    async def connected(client: Client) -> None: ...

    return Ingress(settings, rows, components, connected, counts, refusals=refusals, durable=durable)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    given = NatsSettings(url=sys.argv[1], durable=json.loads(sys.argv[2]))
    pause_s = float(sys.argv[3]) if len(sys.argv) > 3 else PAUSE_S
    asyncio.run(durable_ingress(given, Graph(pause_s)).run())
