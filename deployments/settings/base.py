"""What all settings have in common."""

import re

from pydantic import BaseModel, ConfigDict

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,200}")
_STREAM = re.compile(r"[^\s.*>/\\\x00-\x1f\x7f]{1,200}")


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys and infinite numbers refused.

    An error names the setting, and not its value. That may be a password, or an address that has one.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )


def bucket_name(text: str) -> str:
    """Return the name of a NATS key-value bucket.

    Raises:
        ValueError: It cannot be one.
    """
    if not _BUCKET.fullmatch(text):
        raise ValueError("the name of a bucket was expected, of letters, digits, '_' and '-'")
    return text


def stream_name(text: str) -> str:
    """Return the name of a NATS stream.

    Raises:
        ValueError: It cannot be one.
    """
    if not _STREAM.fullmatch(text):
        raise ValueError("the name of a stream was expected, without spaces, dots, slashes, '*' and '>'")
    return text
