"""A client that follows a run on its status subject."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from deployments.values.pipelines import RunStatus


@dataclass
class Followed:
    """What a client hears of its run."""

    statuses: list[messages_pb2.PipelineStatus] = field(default_factory=list[messages_pb2.PipelineStatus])
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def words(self) -> list[str]:
        return [status.status for status in self.statuses]

    @property
    def finals(self) -> list[messages_pb2.PipelineStatus]:
        return [status for status in self.statuses if RunStatus(status.status).is_final]

    async def until(self, happened: Callable[["Followed"], Any], seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while not happened(self):
                self.news.clear()
                await self.news.wait()

    async def until_word(self, word: str) -> messages_pb2.PipelineStatus:
        await self.until(lambda followed: word in followed.words)
        return next(status for status in self.statuses if status.status == word)


async def eventually(what: str, happened: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Wait for something that only can be asked for."""
    try:
        async with asyncio.timeout(seconds):
            while not await happened():  # noqa: ASYNC110 - nothing would wake it
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s") from None


async def follow(connection: Client, subject: str) -> Followed:
    followed = Followed()

    async def heard(message: Msg) -> None:
        followed.statuses.append(messages_pb2.PipelineStatus.FromString(message.data))
        followed.news.set()

    await connection.subscribe(subject, cb=heard)
    await connection.flush()
    return followed
