"""Who asks: whose turn a request takes, and whose limits hold for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from google.protobuf.message import DecodeError

from bridges.nats.trust import STRICT, Trust, inbox_user
from bridges.requests import Request
from deployments.errors import InvalidRequestError
from deployments.settings.orchestration import NatsSettings


class Arrival(Protocol):
    """A message of NATS, as far as it says who sent it."""

    @property
    def subject(self) -> str:
        """The subject that it was sent on."""
        ...

    @property
    def reply(self) -> str:
        """Its reply subject; empty where it has none."""
        ...

    @property
    def data(self) -> bytes:
        """Its payload."""
        ...

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Its headers; None where it has none."""
        ...


@dataclass(frozen=True)
class Asker:
    """Who asks.

    Attributes:
        kind: "user", "session" or "connection".
        name: The user's id, the session's, or the inbox of the connection; empty for a connection that has none. It
            shares its turns and its limits with all others that have none.
        header_user: The user that the header names and that subject and payload have to agree with; empty for none.
    """

    kind: str
    name: str
    header_user: str = field(default="", compare=False)

    @cached_property
    def key(self) -> str:
        """What tells them from all others."""
        return f"{self.kind} {self.name}"

    @property
    def user(self) -> str:
        """The user's id; empty where nobody named a user."""
        return self.name if self.kind == "user" else ""

    def check_user(self, of_payload: str) -> None:
        """Check that a request is whose its header says.

        Args:
            of_payload: The user that the payload names; empty where it names none.

        Raises:
            InvalidRequestError: Its subject or its payload names another user.
        """
        if not self.header_user:
            return
        for other in (self.user, of_payload):
            if other and other != self.header_user:
                raise InvalidRequestError(
                    f"the user is {other[:64]!r}, but {self.header_user[:64]!r} in the header; the same was expected",
                    field="user_id",
                )


class Askers:
    """Finds out who asks.

    It is the user of the subject. Where that names none, it is the user of the header that the settings name, else that
    of the payload, else that of the inbox which is a user's alone, else the session, else the connection, which is
    known by its inbox.

    Args:
        header: The header; empty where none is believed.
        trust: Says whether a payload may name another user than its subject, or its header.
        looks_inside: Whether payloads are read for it. Without that, a user whom the payload alone names counts as
            their connection.
    """

    def __init__(self, header: str, trust: Trust, *, looks_inside: bool) -> None:
        self._header = header
        self._trust = trust
        self._looks_inside = looks_inside

    @classmethod
    def of(cls, settings: NatsSettings) -> "Askers":
        """Return what finds out who asks where these settings hold."""
        return cls(settings.user_header, Trust.of(settings), looks_inside=bool(settings.users))

    def asker(self, row: Request, message: Arrival) -> Asker:
        """Return who asks with a request, before anything of it is refused."""
        parameters = row.subject.parameters(message.subject) or {}
        user = parameters.get("user_id", "")
        if not user or self._trust.any_user:
            user = self.header_user(message) or self._payload_user(row, message.data) or user
        if user := user or inbox_user(message.reply):
            return Asker("user", user, self._claimed(message))
        if session := parameters.get("session_id"):
            return Asker("session", session)
        return Asker("connection", ".".join(message.reply.split(".")[:2]))

    def of_session(self, session_id: str, message: Arrival, of_payload: str) -> Asker:
        """Return whose a live session is.

        Args:
            session_id: The session.
            message: Its "start".
            of_payload: The user that this one names; empty where it names none.
        """
        if user := self.header_user(message) or of_payload or inbox_user(message.reply):
            return Asker("user", user, self._claimed(message))
        return Asker("session", session_id)

    def header_user(self, message: Arrival) -> str:
        """Return the user that a message's header names; empty where it names none, or is not believed."""
        if not self._header or not message.headers:
            return ""
        return message.headers.get(self._header, "").strip()

    def _claimed(self, message: Arrival) -> str:
        """Return the header's user where nobody may say otherwise."""
        return "" if self._trust.any_user else self.header_user(message)

    def _payload_user(self, row: Request, payload: bytes) -> str:
        if not self._looks_inside or row.message is None or "user_id" not in row.message.DESCRIPTOR.fields_by_name:
            return ""
        message = row.message()
        try:
            message.ParseFromString(payload)
        except DecodeError:
            # It is refused for that when its turn has come.
            return ""
        return str(getattr(message, "user_id"))  # noqa: B009 - the message is one of several


BY_SUBJECT = Askers("", STRICT, looks_inside=False)
"""No header is believed, and no payload looked into."""
