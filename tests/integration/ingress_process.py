"""A process with an ingress that answers no question, to be killed by a test in the middle of its drain.

python -m tests.integration.ingress_process NATS_URL
"""

import asyncio
import sys

from nats.aio.client import Client

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.ingress import Endpoint, Ingress
from bridges.nats.reply import Reply
from bridges.operations.draining import DrainServer
from bridges.operations.outcome import Outcome
from bridges.requests import REQUESTS
from bridges.subjects import Role
from deployments.call import Call
from deployments.errors import HearthError
from deployments.settings.orchestration import NatsSettings
from deployments.values.status import ComponentStatus
from tests.integration.pipeline_process import NoMetrics


class Silent:
    """Answers nothing."""

    async def handle(self, call: Call, request: messages_pb2.ChatRequest, reply: Reply) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError("it waits until it is killed")

    async def fail(self, request: messages_pb2.ChatRequest, error: HearthError, reply: Reply) -> None:
        raise AssertionError("nothing fails before its deadline")


async def main(nats_url: str) -> None:
    row = next(row for row in REQUESTS if row.name == "chat-request")

    async def components(call: Call) -> tuple[ComponentStatus, ...]:
        return ()

    async def connected(client: Client) -> None: ...

    ingress = Ingress(NatsSettings(url=nats_url), [Endpoint(row, Silent(), 60.0)], components, connected, NoMetrics())
    await DrainServer(Role.NATS_INGRESS, ingress.drain, ingress.held).start()
    await ingress.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
