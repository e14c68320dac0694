"""The reply to one request: exactly one final message, wherever its client waits for it."""

import logging
from dataclasses import dataclass

from google.protobuf.message import Message

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.allowances import EVERY_NAME, AllowedNames
from bridges.nats.sender import Sender
from deployments.errors import HearthError

logger = logging.getLogger(__name__)


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
    """

    sender: Sender
    request_subject: str
    parameters: dict[str, str]
    reply_subject: str = ""
    own_subjects: frozenset[str] = frozenset()
    names: AllowedNames = EVERY_NAME
    is_final: bool = False

    @property
    def user(self) -> str:
        """The user who asks, by the subject or whatever else names them; empty where nobody named a user."""
        return self.names.user

    async def finish(self, message: Message, subject: str = "") -> None:
        """Send the final message: on `subject`, where one is given, and on the reply subject.

        Raises:
            PayloadTooLargeError: The server would not take it; another one may be sent.
        """
        if self.is_final:
            logger.error("a second final message for a request on %s is not sent", self.request_subject)
            return
        targets = dict.fromkeys(target for target in (subject, self.reply_subject) if target)
        if not targets:
            logger.warning(
                "nobody asked for the answer on %s: no request id and no reply subject", self.request_subject
            )
        for target in targets:
            await self.sender.send(target, message)
            self.is_final = True

    async def refuse(self, error: HearthError) -> None:
        """Send an ErrorResponse as the final message: the request cannot be read, or has no response of its own."""
        if not self.reply_subject:
            logger.warning("%s on %s has no reply subject: %s", error.kind, self.request_subject, error.message)
            return
        await self.finish(messages_pb2.ErrorResponse(error=True, message=error.message, type=error.kind))
