"""What transcription servers refuse, told by its name: a language, or the form of the sound."""

import re
from collections.abc import Callable

from deployments.engines.back_end import BackEndErrors
from deployments.errors import InvalidRequestError, UpstreamFailedError

_REFUSED = {400, 415, 422}
_LANGUAGE = re.compile(r"\blang(?:uage)?s?\b|\bISO[- ]?639", re.IGNORECASE)
_FORM = re.compile(r"file format|audio format|unsupported format|decod(?:e|ing)|\bwave?\b|content.type", re.IGNORECASE)


def primary_language(language: str) -> str:
    """Return the ISO 639 code that a language tag begins with, such as "en" of "en-US"; servers know no more."""
    return re.split(r"[-_]", language.strip().lower())[0]


def named_refusal(language: str, errors: BackEndErrors) -> Callable[[int, str], None]:
    """Return what is told of a server's refusal, and raises it by the name of what it cannot read.

    Args:
        language: That the server was told; empty where it was not told any.
        errors: Of the server.
    """

    def refused(status: int, said: str) -> None:
        if status not in _REFUSED:
            return
        if language and _LANGUAGE.search(said):
            errors.note(status, said)
            raise InvalidRequestError(
                f"language {language!r}: the {errors.role} does not know it",
                field="language",
                back_end=errors.back_end(status),
            )
        if _FORM.search(said):
            raise UpstreamFailedError(
                f"the {errors.role} does not read WAV files of 16-bit sound at 16 kHz; only the operator can mend that",
                retryable=False,
                back_end=errors.back_end(status),
            ) from errors.refusal(status, said)

    return refused
