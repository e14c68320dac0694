"""What a client's message may hold: its type, the state that it names, and how long its texts may be."""

from enum import StrEnum

from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import is_publishable
from deployments.errors import InvalidRequestError, Limit

_NAME_BYTES = 256
_LANGUAGE_BYTES = 64
_SYSTEM_PROMPT_BYTES = 16_384
"""Each replica keeps the sessions of the others, too, with all that their clients asked for, and tells a new replica of
all its own: so what a session may ask for is bounded."""


class SessionState(StrEnum):
    """What the assistant does, as its client says."""

    LISTENING = "listening"
    RESPONDING = "responding"


class StreamStep(StrEnum):
    """The types of STTStreamMessage."""

    START = "start"
    CHUNK = "chunk"
    STATE_CHANGE = "state_change"
    END = "end"


def state_of(state: str) -> SessionState:
    """Return a state as a client writes it.

    Raises:
        InvalidRequestError: There is none of that name.
    """
    try:
        return SessionState(state.strip().lower())
    except ValueError as error:
        expected = " or ".join(SessionState)
        raise InvalidRequestError(f"state {state[:64]!r}: expected {expected}", field="state") from error


def check_texts(session_id: str, step: messages_pb2.STTStreamMessage) -> None:
    """Check that a session can be answered, and that no text of a message is longer than replicas tell each other.

    Raises:
        InvalidRequestError: Nothing can be published to a session of this id, or a text is too long. The error names
            the field, and the message its size and the limit.
    """
    if not is_publishable(session_id):
        raise InvalidRequestError(
            f"session_id {session_id[:64]!r} cannot stand in a subject: no space, '*', '>' or empty part",
            field="session_id",
        )
    _check("session_id", session_id, _NAME_BYTES)
    _check("speaker_id", step.speaker_id, _NAME_BYTES)
    _check("user_id", step.user_id, _NAME_BYTES)
    _check("language", step.language, _LANGUAGE_BYTES)
    if step.HasField("conversation"):
        _check("conversation.voice", step.conversation.voice, _NAME_BYTES)
        _check("conversation.collection", step.conversation.collection, _NAME_BYTES)
        _check("conversation.system_prompt", step.conversation.system_prompt, _SYSTEM_PROMPT_BYTES)


def _check(field: str, text: str, limit: int) -> None:
    # No character takes more than four bytes, so most texts need not be encoded to be measured.
    if len(text) * 4 <= limit:
        return
    size = len(text.encode())
    if size > limit:
        raise InvalidRequestError(
            f"{field} takes {size} bytes: at most {limit} are taken", field=field, limit=Limit(field, limit, size)
        )
