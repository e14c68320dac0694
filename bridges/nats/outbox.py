"""Where the answers to one request go, and what a NATS server takes."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.presence import Listeners
from deployments.errors import HearthError, Limit, PayloadTooLargeError

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


class Connection(Protocol):
    """The part of a NATS connection that answers need."""

    @property
    def max_payload(self) -> int:
        """The server's limit in bytes; it may change when the connection moves to another server."""
        ...

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message."""
        ...


@dataclass(frozen=True, slots=True)
class Outbox:
    """The answers to one request.

    Attributes:
        connection: Sends them.
        subject: The subject that the request arrived on.
        reply: Its reply subject; empty where it has none.
        parameters: The varying tokens of its subject.
        listeners: Tells whether a stream of answers still has any.
        headers: What every answer carries: the W3C trace context of the request, where it has one.
    """

    connection: Connection
    subject: str
    reply: str
    parameters: dict[str, str]
    listeners: Listeners
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def room(self) -> int:
        """The bytes that an answer may take: what the server takes now, less the headers."""
        return self.connection.max_payload - _header_bytes(self.headers)

    async def send(self, subject: str, message: Message, reply: str = "") -> None:
        """Publish a message, with a reply subject where the server is to say if nobody listens.

        Raises:
            PayloadTooLargeError: The server would not take it. It is checked here because the server closes the
                whole connection over it, for good.
        """
        payload = message.SerializeToString()
        if len(payload) > self.room:
            raise PayloadTooLargeError(
                f"the answer takes {len(payload)} bytes, the NATS server takes {self.room}",
                limit=Limit("max_payload", self.room, len(payload)),
            )
        await self.connection.publish(subject, payload, reply, self.headers or None)

    async def finish(self, message: Message, subject: str = "") -> None:
        """Publish the final message of a request: on `subject`, and on the reply subject where it has one."""
        targets = dict.fromkeys(target for target in (subject, self.reply) if target)
        if not targets:
            logger.warning("nobody asked for the answer on %s: no request id and no reply subject", self.subject)
        for target in targets:
            await self.send(target, message)

    async def refuse(self, error: HearthError) -> None:
        """Answer a request that has no typed response of its own, or that cannot be read."""
        if not self.reply:
            logger.warning("%s on %s has no reply subject: %s", error.kind, self.subject, error.message)
            return
        await self.send(self.reply, messages_pb2.ErrorResponse(error=True, message=error.message, type=error.kind))


def _header_bytes(headers: Mapping[str, str]) -> int:
    """Return what headers add to a message, for the server counts them: a version line, a line each, an empty line."""
    if not headers:
        return 0
    return 12 + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())


def cut_to_fit(limit: int, length: int, build: Callable[[int], M]) -> M:
    """Return the message that `build` makes from the most of a text that fits.

    Args:
        limit: Bytes that the message may take.
        length: Characters of the whole text.
        build: Makes the message from that many characters; told 0, it makes the smallest there is.
    """
    whole = build(length)
    if whole.ByteSize() <= limit:
        return whole
    low, high = 0, length
    while low < high:
        middle = (low + high + 1) // 2
        if build(middle).ByteSize() <= limit:
            low = middle
        else:
            high = middle - 1
    return build(low)
