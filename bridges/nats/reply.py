"""The reply to one request: exactly one final message, wherever its client waits for it."""

import logging
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import Message

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.allowances import EVERY_NAME, AllowedNames
from bridges.nats.sender import Sender
from deployments.errors import HearthError

logger = logging.getLogger(__name__)


class Once(Protocol):
    """The way out of an answer of which nothing goes out twice, however often its request is given out.

    Where the request has become another replica's, or cannot be finished here, each method raises what the ingress
    takes for that: it is no error of the request.
    """

    @property
    def note(self) -> str:
        """What the final message has to say of the stream before it; empty where nothing is to be said."""
        ...

    async def untold(self, text: str) -> str:
        """Return what of the next piece of the answer goes out on its stream now; empty for nothing."""
        ...

    async def may_end_stream(self) -> bool:
        """Say whether the end of the stream goes out; it does once."""
        ...

    def begin_again(self) -> None:
        """Take what follows for another answer than the one that went out so far."""
        ...

    async def finish(self, message: Message, subject: str, to_asker: Message) -> None:
        """Send the final message.

        Args:
            message: The message.
            subject: Where it goes; empty where it goes to the reply subjects alone.
            to_asker: What goes to these.

        Raises:
            PayloadTooLargeError: The server would not take one of them; none was sent.
        """
        ...


@dataclass(slots=True)
class Reply:
    """The reply to one request.

    Attributes:
        sender: Sends it, and whatever goes out before it.
        request_subject: The subject that the request arrived on.
        parameters: The varying tokens of that subject.
        reply_subject: The reply subject of the request; empty where it has none, or none that is answered.
        own_subjects: The answer subjects of the contract for this very request.
        names: What its asker may name, and may so be told of.
        is_final: Whether the final message is out. A further one is not sent.
        once: The way out of a request that is kept until it is answered; None for one that is not.
    """

    sender: Sender
    request_subject: str
    parameters: dict[str, str]
    reply_subject: str = ""
    own_subjects: frozenset[str] = frozenset()
    names: AllowedNames = EVERY_NAME
    is_final: bool = False
    once: Once | None = None

    @property
    def user(self) -> str:
        """The user who asks, by the subject or whatever else names them; empty where nobody named a user."""
        return self.names.user

    @property
    def has_lost_its_asker(self) -> bool:
        """Whether it is not known with which reply subject the request came: it was kept, and nobody heard it."""
        return self.once is not None and not self.reply_subject

    @property
    def stream_note(self) -> str:
        """What the final message has to say of the stream before it; empty where nothing is to be said."""
        return self.once.note if self.once else ""

    async def untold(self, text: str) -> str:
        """Return what of the next piece of the answer goes out on its stream now; empty for nothing."""
        return await self.once.untold(text) if self.once else text

    async def may_end_stream(self) -> bool:
        """Say whether the end of the stream goes out."""
        return await self.once.may_end_stream() if self.once else True

    def may_begin_again(self, *, is_told: bool) -> bool:
        """Say whether another answer may take the place of one that was lost, and is to follow now.

        Args:
            is_told: Whether something of the lost one went out on its stream. Of a request that is kept, what follows
                is then told as after the loss of an ingress.
        """
        if self.once:
            self.once.begin_again()
        return self.once is not None or not is_told

    async def finish(self, message: Message, subject: str = "", to_asker: Message | None = None) -> None:
        """Send the final message: on `subject`, where one is given, and on the reply subject.

        Args:
            message: The message.
            subject: The subject of the contract, or the one that the request names.
            to_asker: What goes to the reply subject, where that is another message.

        Raises:
            PayloadTooLargeError: The server would not take it; another one may be sent.
        """
        if self.is_final:
            logger.error("a second final message for a request on %s is not sent", self.request_subject)
            return
        if not subject and not self.reply_subject:
            logger.warning(
                "nobody asked for the answer on %s: no request id and no reply subject", self.request_subject
            )
        if self.once:
            await self.once.finish(message, subject, to_asker or message)
            self.is_final = True
            return
        messages = {self.reply_subject: to_asker or message} | {subject: message}
        for target in (subject, self.reply_subject):
            if target and target in messages:
                await self.sender.send(target, messages.pop(target))
                self.is_final = True

    async def refuse(self, error: HearthError) -> None:
        """Send an ErrorResponse as the final message: the request cannot be read, or has no response of its own."""
        if not self.reply_subject:
            logger.warning("%s on %s has no reply subject: %s", error.kind, self.request_subject, error.message)
            return
        await self.finish(error_response(error))


def error_response(error: HearthError) -> messages_pb2.ErrorResponse:
    """Return an error as it goes to a reply subject."""
    return messages_pb2.ErrorResponse(error=True, message=error.message, type=error.kind)
