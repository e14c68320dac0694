"""Takes requests from a durable pull consumer as they come, with one pull request open at any time.

nats-py's own `fetch` waits for a whole batch, or for its time-out, before it gives the first message.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.subjects import REQUESTS_NEXT

_BATCH = 64
_MOST_BYTES = 16 << 20
_FULL_S = 0.05
_OPEN_S = 2.0
_LATE_S = 1.0
_LOOK_S = 0.2
_DRAIN_S = 2.0
_NOTHING_THERE = {"404", "408"}
"""The server's words for: a pull request is over, and there was nothing (more)."""
_ENOUGH = ("maxbytes", "batch completed")
"""Of its words for: the pull request has all that it asked for, or the next message would be too much for it."""
_HEARTBEAT = "100"


class Pulling:
    """Pulls from one consumer.

    Args:
        client: The connection.
        stream: Whose consumer of requests it is.
        take: Called with each message. It must not wait for long.
        room: Tells how many more may be taken now.
    """

    def __init__(
        self, client: Client, stream: str, take: Callable[[Msg], Awaitable[None]], room: Callable[[], int]
    ) -> None:
        self._client = client
        self._next = REQUESTS_NEXT.pattern.format(stream=stream)
        self._take = take
        self._room = room
        self._left = 0
        self._status = ""
        self._changed = asyncio.Event()

    async def run(self, leaving: asyncio.Event) -> None:
        """Take messages until `leaving` is set, and then those that are on their way.

        Raises:
            nats.errors.Error: The consumer or the connection is gone.
        """
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=self._heard)
        try:
            while not leaving.is_set():
                if (batch := min(_BATCH, self._room())) > 0:
                    await self._pull(inbox, batch, leaving)
                else:
                    await asyncio.sleep(_FULL_S)
        finally:
            # A connection that is closed has none any more; a cancellation has to pass all the same.
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await subscription.drain()

    async def _pull(self, inbox: str, batch: int, leaving: asyncio.Event) -> None:
        self._left, self._status = batch, ""
        connections = self._client.stats["reconnects"]
        request = {"batch": batch, "expires": int(_OPEN_S * 1e9), "max_bytes": _MOST_BYTES + self._client.max_payload}
        await self._client.publish(self._next, json.dumps(request).encode(), inbox)
        try:
            async with asyncio.timeout(_OPEN_S + _LATE_S):
                while self._left and not self._status and not leaving.is_set():
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_S):
                            await self._changed.wait()
                    if self._client.stats["reconnects"] != connections:
                        # The request died with the connection, and the stream may have died with the server.
                        raise nats.errors.Error("the connection was lost and found again")
        except TimeoutError:
            raise nats.errors.Error("the consumer does not answer") from None
        status = self._status.lower()
        if status and status not in _NOTHING_THERE and not any(words in status for words in _ENOUGH):
            raise nats.errors.Error(f"the consumer is away: {self._status}")

    async def _heard(self, message: Msg) -> None:
        # The server's own words are no messages of the stream, which each have where they are acknowledged.
        status = "" if message.reply else (message.headers or {}).get("Status", "")
        if status == _HEARTBEAT:
            return
        if status:
            self._status = f"{status} {(message.headers or {}).get('Description', '')}" if status == "409" else status
        else:
            self._left -= 1
            await self._take(message)
        if not self._left or self._status:
            self._changed.set()
