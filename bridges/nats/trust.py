"""What a client may decide for others: whose words its requests are, and where Hearth speaks for it.

Hearth publishes with rights that its clients do not have. So an answer goes only where the asker may hear it: to an
inbox, to what the settings list, and to the subjects that the contract has for this very request.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from bridges.subjects import INBOX, USER_INBOX, is_publishable, may_be_answered
from deployments.errors import InvalidRequestError
from deployments.settings.orchestration import NatsSettings

_INBOXES = INBOX.inbox_prefix
"""What the subjects of all inboxes begin with, whoever's they are."""


@dataclass(frozen=True)
class Trust:
    """What is taken from clients on trust.

    Attributes:
        answer_subjects: Where answers may go besides inboxes and a request's own subjects, with NATS's wildcards.
        any_user: Whether a payload may name another user than its subject.
    """

    answer_subjects: tuple[str, ...] = ()
    any_user: bool = False

    @classmethod
    def of(cls, settings: NatsSettings) -> "Trust":
        """Return what the settings say."""
        return cls(settings.answer_subjects, settings.any_user)

    def user(self, of_subject: str, of_payload: str) -> str:
        """Return whose request it is: who may publish on a user's subject is that user.

        Args:
            of_subject: The user that the subject names; empty where it names none.
            of_payload: The user that the payload names; empty where it names none.

        Raises:
            InvalidRequestError: They differ, and the settings do not allow it.
        """
        if not of_subject or not of_payload or of_subject == of_payload:
            return of_subject or of_payload
        if self.any_user:
            return of_payload
        raise InvalidRequestError(
            f"user_id is {of_payload[:64]!r} on the subject of {of_subject[:64]!r}; the same or none was expected",
            field="user_id",
        )

    def allows_reply(self, subject: str, own: Iterable[str] = ()) -> bool:
        """Say whether a request is answered on its reply subject.

        Args:
            subject: The reply subject.
            own: The answer subjects of this very request.
        """
        if subject in own:
            return is_publishable(subject) and not subject.startswith("$")
        return may_be_answered(subject) and bool(self._expression.fullmatch(subject))

    def response_subject(self, chosen: str, reply: str, own: Iterable[str]) -> str:
        """Return the subject that a client chose for its answer.

        An inbox is the asker's own where the request's reply subject lies in the same one: nobody can tell whose any
        other inbox is.

        Args:
            chosen: What the payload names.
            reply: The reply subject of the request; empty where it has none.
            own: The answer subjects of this very request.

        Raises:
            InvalidRequestError: Nothing is published there for a client.
        """
        if chosen in own:
            return chosen
        if not self.allows_reply(chosen, own):
            raise _refused(chosen, "an inbox or one of nats.answer_subjects was expected")
        if is_inbox(chosen) and _inbox(chosen) != _inbox(reply):
            raise _refused(chosen, "an inbox has to be the one of the request's reply subject")
        return chosen

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        allowed = (INBOX.wildcard, USER_INBOX.wildcard, *self.answer_subjects)
        return re.compile("|".join(_expression(pattern) for pattern in allowed))


STRICT = Trust()
"""Nothing is taken on trust: what the settings say as shipped."""


def _refused(chosen: str, expected: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"response_subject {chosen[:64]!r} is not where this request is answered: {expected}", field="response_subject"
    )


def is_inbox(subject: str) -> bool:
    """Say whether a subject lies in an inbox, the settings' own kinds such as `_INBOX_alice.>` among them."""
    return subject.startswith(_INBOXES)


def inbox_user(subject: str) -> str:
    """Return the user whose alone a reply subject is; empty where it is anybody's."""
    return (USER_INBOX.parameters(subject) or {}).get("user_id", "")


def _inbox(subject: str) -> str:
    """Return the inbox that a subject lies in: all of a connection's own reply subjects lie in one."""
    tokens = 2 if USER_INBOX.parameters(subject) is None else 3
    return ".".join(subject.split(".")[:tokens])


def _expression(pattern: str) -> str:
    """Return the expression of what a subject with NATS's wildcards matches."""
    tokens = [re.escape(token) if token not in {"*", ">"} else token for token in pattern.split(".")]
    return r"\.".join({"*": r"[^.]+", ">": r".+"}.get(token, token) for token in tokens)
