"""The NATS connection of the ingress."""

from nats.aio.client import DEFAULT_FLUSH_TIMEOUT, Client


class NatsClient(Client):
    """A NATS client whose flush proves what its name says.

    nats-py sends the PING of a flush past the commands that still wait in its buffer, so its PONG says nothing of a
    subscription made, or ended, just before. A drained subscription would then lose what arrives in between. The
    first round trip here gives the buffer its time to leave; the second proves that the server has read it.
    """

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:  # noqa: ASYNC109 - nats-py's own signature
        """Return once the server has read all commands that were given before.

        Raises:
            nats.errors.FlushTimeoutError: A round trip took longer than `timeout` seconds.
            nats.errors.ConnectionClosedError: The connection is closed.
        """
        await super().flush(timeout)
        await super().flush(timeout)
