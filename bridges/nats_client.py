"""The NATS connection of the ingress."""

from nats.aio.client import DEFAULT_FLUSH_TIMEOUT, Client
from nats.aio.msg import Msg


class NatsClient(Client):
    """A NATS client whose flush proves what its name says, and which no message of a client can stop.

    nats-py sends the PING of a flush past the commands that still wait in its buffer, so its PONG says nothing of a
    subscription made, or ended, just before. A drained subscription would then lose what arrives in between. The
    first round trip here gives the buffer its time to leave; the second proves that the server has read it.

    A NATS server passes on whatever bytes a client puts into subjects and headers. nats-py ends its reading over
    those that it cannot take apart, for good and without a word; here such headers are none, and a subject's strange
    bytes are replaced.
    """

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:  # noqa: ASYNC109 - nats-py's own signature
        """Return once the server has read all commands that were given before.

        Raises:
            nats.errors.FlushTimeoutError: A round trip took longer than `timeout` seconds.
            nats.errors.ConnectionClosedError: The connection is closed.
        """
        await super().flush(timeout)
        await super().flush(timeout)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except Exception as error:  # noqa: BLE001 - the message counts, whatever is wrong with its headers
            await self._error_cb(error)
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )
