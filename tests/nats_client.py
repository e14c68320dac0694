"""A NATS client for tests: what it flushed, the server has read."""

from typing import Any

from bridges.nats.connection import NatsClient


async def nats_connected(url: str, **options: Any) -> NatsClient:
    """Connect as `nats.connect` does.

    Its clients send the PING of a flush past commands that still wait, so a test that goes on after such a flush
    holds only on an idle machine.
    """
    client = NatsClient()
    await client.connect(url, **options)
    return client
