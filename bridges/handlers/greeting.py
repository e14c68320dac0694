"""Login and greeting on the wire: what happens before somebody's first question."""

import logging

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.reply import Reply
from bridges.nats.trust import Trust
from bridges.operations.outcome import Outcome
from bridges.subjects import GREETING_RESPONSE, own_subjects, subject_for
from deployments.call import Call
from deployments.errors import HearthError
from deployments.services import ChatService

logger = logging.getLogger(__name__)


class LoginHandler:
    """Takes LoginEvents, which nobody waits for an answer to, and has the graph warm up."""

    def __init__(self, chat: ChatService) -> None:
        self._chat = chat

    async def handle(self, call: Call, request: messages_pb2.LoginEvent, reply: Reply) -> Outcome:
        """Warm what the first question will need."""
        del request, reply
        await self._chat.warm(call)
        return Outcome()

    async def fail(self, request: messages_pb2.LoginEvent, error: HearthError, reply: Reply) -> None:
        """Tell an error to who wants an answer."""
        del request
        await reply.refuse(error)


class GreetingHandler:
    """Answers GreetingRequests with a greeting that the model writes.

    Args:
        chat: Writes it.
        trust: What a client may decide for others.
    """

    def __init__(self, chat: ChatService, trust: Trust) -> None:
        self._chat = chat
        self._trust = trust

    async def handle(self, call: Call, request: messages_pb2.GreetingRequest, reply: Reply) -> Outcome:
        """Answer one request, on its user's subject and its reply subject."""
        self._trust.user(reply.parameters["user_id"], request.user_id)
        greeting = await self._chat.greet(call, request.nickname.strip() or request.username)
        response = _response(request, reply, greeting)
        await reply.finish(response, _subject(reply))
        return Outcome(answer_bytes=response.ByteSize())

    async def fail(self, request: messages_pb2.GreetingRequest, error: HearthError, reply: Reply) -> None:
        """Answer a request that failed: with no greeting, since the response cannot tell an error."""
        logger.warning("no greeting: %s", error.message)
        # The server delivers an id with a "*" in it, and lets nobody publish to it.
        for subject in own_subjects((GREETING_RESPONSE,), {"user_id": reply.parameters["user_id"]}):
            await reply.sender.send(subject, _response(request, reply, ""))
        if reply.reply_subject:
            await reply.refuse(error)


def _subject(reply: Reply) -> str:
    return subject_for(GREETING_RESPONSE, user_id=reply.parameters["user_id"])


def _response(request: messages_pb2.GreetingRequest, reply: Reply, greeting: str) -> messages_pb2.GreetingResponse:
    return messages_pb2.GreetingResponse(user_id=request.user_id or reply.parameters["user_id"], greeting=greeting)
