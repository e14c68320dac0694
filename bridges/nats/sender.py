"""Sends messages over a NATS connection, and never one that its server would not take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message

from bridges.nats.connection import Publisher
from bridges.nats.presence import Listeners
from deployments.errors import Limit, PayloadTooLargeError

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends messages.

    Attributes:
        connection: The connection they go over.
        listeners: Tells whether a stream of messages still has any; one of its own tells nothing.
        headers: What every message carries: the W3C trace context of a request, for instance.
        reserved: Bytes that are left free beside the headers.
    """

    connection: Publisher
    listeners: Listeners = field(default_factory=Listeners)
    headers: dict[str, str] = field(default_factory=dict[str, str])
    reserved: int = 0

    @property
    def room(self) -> int:
        """The bytes that a message may take: what the server takes now, less the headers."""
        return self.connection.max_payload - header_bytes(self.headers) - self.reserved

    async def send(self, subject: str, message: Message, reply: str = "") -> None:
        """Publish a message.

        Args:
            subject: A concrete subject.
            message: The message.
            reply: A reply subject, on which the server says if nobody listens.

        Raises:
            PayloadTooLargeError: The server would not take it. This is checked here because the server closes the
                whole connection over it, for good.
        """
        await self.connection.publish(subject, self.fitting(message), reply, self.headers or None)

    def fitting(self, message: Message) -> bytes:
        """Return a message as it goes out.

        Raises:
            PayloadTooLargeError: The server would not take it.
        """
        payload = message.SerializeToString()
        if len(payload) > self.room:
            raise PayloadTooLargeError(
                f"the answer takes {len(payload)} bytes, the NATS server takes {self.room}",
                limit=Limit("max_payload", self.room, len(payload)),
            )
        return payload


def header_bytes(headers: Mapping[str, str]) -> int:
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
