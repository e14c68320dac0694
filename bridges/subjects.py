"""The one table of subjects: what arrives where, what it is answered with, and which graph method does the work.

Adding a subject is adding a row here and a handler in `bridges.application`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from google.protobuf.message import Message

from bridges.generated.hearth.v1 import documents_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import InvalidRequestError


class Delivery(StrEnum):
    """How requests on a subject reach the graph."""

    CORE = "core"
    """A queue group on core NATS: each request goes to one ingress, or to none when none is there."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject on which requests arrive.

    Attributes:
        name: Of the endpoint in the NATS micro service; letters, digits and dashes.
        pattern: The subject, with `{…}` for each token that varies.
        request: The message that arrives.
        response: The message that answers it last; none where nobody waits for an answer.
        method: The graph method that does the work.
        delivery: How requests are taken.
    """

    name: str
    pattern: str
    request: type[Message]
    response: type[Message] | None
    method: str
    delivery: Delivery = Delivery.CORE

    @property
    def wildcard(self) -> str:
        """The subject to subscribe to: `*` for each token that varies."""
        return re.sub(r"\{\w+\}", "*", self.pattern)

    def parameters(self, subject: str) -> dict[str, str] | None:
        """Return the varying tokens of a concrete subject, None where it is not of this pattern."""
        match = _pattern(self.pattern).fullmatch(subject)
        return match.groupdict() if match else None


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    literal = re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^.]+)", literal))


REQUESTS: tuple[Subject, ...] = (
    Subject(
        "chat-message",
        "ai.chat.user.{user_id}.message",
        messages_pb2.ChatRequest,
        messages_pb2.ChatResponse,
        "Chat.answer",
    ),
    # The subject that older clients still use.
    Subject("chat-request", "ai.chat.request", messages_pb2.ChatRequest, messages_pb2.ChatResponse, "Chat.answer"),
    Subject("login", "ai.chat.user.{user_id}.login", messages_pb2.LoginEvent, None, "Chat.warm"),
    Subject(
        "greeting",
        "ai.chat.user.{user_id}.greeting.request",
        messages_pb2.GreetingRequest,
        messages_pb2.GreetingResponse,
        "Chat.greet",
    ),
    Subject(
        "documents-ingest",
        "hearth.documents.ingest",
        documents_pb2.IngestRequest,
        documents_pb2.IngestResponse,
        "Ingestion.ingest",
    ),
    Subject("status", "hearth.status", status_pb2.StatusRequest, status_pb2.StatusResponse, "Chat.components"),
)

CHAT_MESSAGE = "ai.chat.user.{user_id}.message"
CHAT_RESPONSE = "ai.chat.response.{request_id}"
GREETING_RESPONSE = "ai.chat.user.{user_id}.greeting.response"
CHAT_STREAM = "ai.chat.response.stream.{request_id}"
DOCUMENTS_INGEST = "hearth.documents.ingest"
STATUS = "hearth.status"

_PUBLISHABLE = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_SUBJECT_BYTES = 1024


def subject_for(pattern: str, **tokens: str) -> str:
    """Return a pattern's concrete subject.

    Raises:
        InvalidRequestError: A token is empty or cannot stand in a subject; the message names it.
    """
    for name, token in tokens.items():
        if not is_publishable(token):
            raise InvalidRequestError(
                f"{name} {token[:64]!r} cannot stand in a subject: no space, '*', '>' or empty part"
            )
    return pattern.format(**tokens)


def is_publishable(subject: str) -> bool:
    """Say whether a message may be published on `subject`."""
    return (
        bool(_PUBLISHABLE.fullmatch(subject))
        and not _CONTROL.search(subject)
        and len(subject.encode()) <= _MAX_SUBJECT_BYTES
    )


def check_response_subject(subject: str, requests: Iterable[Subject] = REQUESTS) -> str:
    """Return a subject that a client chose for its answer.

    Raises:
        InvalidRequestError: Nothing can be published there, the server keeps it for itself, or requests arrive
            there, so that the answer would be read as a request.
    """
    if not is_publishable(subject) or subject.startswith("$"):
        raise InvalidRequestError(f"response_subject {subject[:64]!r} is not a subject that can be published on")
    if any(row.parameters(subject) is not None for row in requests):
        raise InvalidRequestError(f"response_subject {subject[:64]!r} is a subject that requests arrive on")
    return subject
