"""What a back end's failures mean for the client of a request: the same over HTTP and by handle."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import cast

from deployments.backoff import Backoff
from deployments.errors import (
    BackEnd,
    DeadlineExceededError,
    HearthError,
    OverloadedError,
    PayloadTooLargeError,
    UnavailableError,
    UpstreamFailedError,
)

logger = logging.getLogger(__name__)

_LOGGED_CHARACTERS = 200
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 0.4
_PAUSES = 2
_WAITED_S = 2.0
"""Somebody waits for the answer: where a server asks for more, the client is told how much, and may come back."""
_TOO_MANY_REQUESTS = 429
_AWAY = {408, 425, 502, 503, 504}
_FAILED_DEPENDENCY = 424
"""How text-embeddings-inference says that its model failed."""
_CLIENT_ERROR = 400
_SERVER_ERROR = 500
_CONTENT_TOO_LARGE = 413
_TOO_LONG_STATUSES = {400, 422}
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size_error|maximum context length|model's context length"
    r"|ContextWindowExceeded|context window (?:is )?exceeded|exceeds?\b[^.]{0,40}\bcontext (?:size|window|length)"
    r"|(?:prompt|input) is too long|input token count\b.{0,40}\bexceeds"
    r"|`inputs` tokens \+ `max_new_tokens` must be <=|`inputs` must have less than \d+ tokens",
    re.IGNORECASE,
)
"""How servers say that an input is longer than a model reads: OpenAI by its code, llama.cpp by its type, vLLM, SGLang,
Anthropic, Bedrock, Gemini, text-generation-inference and older llama.cpp by their sentence alone."""


class BackEndErrors:
    """The errors of one back end.

    What a status of HTTP, or its like in an answer by handle, means:

    * 429: `OverloadedError`. 408, 425, 502, 503, 504: `UnavailableError`.
    * 5xx else, and 424: `UpstreamFailedError`.
    * 413, or a 400 or 422 that says that the input is longer than the model reads: `PayloadTooLargeError`, where the
      input is as long as the client made it. Texts for embeddings and passages to rerank are cut by Hearth, and sound
      comes in pieces of Hearth's own: there it is a refusal like any other.
    * Everything else, such as 400, 401, 403, 404 and 422: `UpstreamFailedError` that is not retryable. Hearth makes
      these requests from its settings, so only the operator can mend them. Servers do answer 400 for a voice that they
      do not know; but the names of voices are settings too, and are looked up before the server is asked.

    No error names the back end's address or quotes its answer. Both are logged, with the settings to look at.

    Args:
        role: What the back end does for Hearth, for messages, such as "embeddings server".
        address: Where it is, for logs.
        takes_client_input: Whether what is sent is as long as the client made it.
        settings: By status, where an operator finds what it is about.
        other_settings: The same for all other statuses.
        conceal: Takes what must not be logged out of what the back end says; None where it says no such thing.
    """

    def __init__(
        self,
        role: str,
        address: str,
        *,
        takes_client_input: bool = False,
        settings: Mapping[int, str] | None = None,
        other_settings: str = "engine",
        conceal: Callable[[str], str] | None = None,
    ) -> None:
        self.role = role
        self.address = address
        self._takes_client_input = takes_client_input
        self._settings = settings or {}
        self._other_settings = other_settings
        self._conceal = conceal or str

    def nonsense(self, what: str) -> UpstreamFailedError:
        """Return the error of an answer that is not what was asked for, such as "something that is not JSON"."""
        return UpstreamFailedError(f"the {self.role} sent {what}", back_end=self.back_end())

    def failure(self, said: object) -> HearthError:
        """Return the error of an answer that tells a failure, and log what it `said`.

        Where it has a status as `code`, that decides, as in `refusal`. Gateways write it as a text. Where it has none
        and says that the input is too long, it is a 400.
        """
        status = status_told(said)
        if status is None and is_too_long(_CLIENT_ERROR, str(said)):
            status = _CLIENT_ERROR
        if status is not None:
            return self.refusal(status, str(said))
        logger.warning("the %s at %s failed: %s", self.role, self.address, self._in_short(str(said)))
        return UpstreamFailedError(f"the {self.role} failed", back_end=self.back_end())

    def broken_off(self) -> UnavailableError:
        """Return the error of an answer that ended before its end."""
        return UnavailableError(f"the {self.role} ended the answer before its end", back_end=self.back_end())

    def out_of_time(self) -> DeadlineExceededError:
        """Return the error of an answer that takes longer than the call has."""
        return DeadlineExceededError(f"the {self.role} did not answer in the time given", back_end=self.back_end())

    def away(self, what: str) -> UnavailableError:
        """Return the error of a back end that cannot be asked now: `what` says how it is, such as "is away"."""
        return UnavailableError(f"the {self.role} {what}", back_end=self.back_end())

    def refusal(self, status: int, said: str, address: str = "", *, retry_after_s: float | None = None) -> HearthError:
        """Return the error that a status stands for which is none of success, and log it.

        Args:
            status: Of HTTP, or its like.
            said: The answer, or what it says of the error.
            address: What was asked, for the log; empty for the back end itself.
            retry_after_s: Seconds after which the back end wants to be asked again; None where it does not say.
        """
        address = address or self.address
        back_end = self.back_end(status)
        if status in {_TOO_MANY_REQUESTS, _FAILED_DEPENDENCY, *_AWAY} or status >= _SERVER_ERROR:
            self._log(logging.WARNING, status, said, address, "")
            return self._passing(status, back_end, retry_after_s)
        if self._takes_client_input and is_too_long(status, said):
            self._log(logging.INFO, status, said, address, "")
            return PayloadTooLargeError(
                f"the {self.role} takes no input of this length (status {status})", back_end=back_end
            )
        hint = f"; look at {self._settings.get(status, self._other_settings)}"
        self._log(logging.ERROR, status, said, address, hint)
        return UpstreamFailedError(
            f"the {self.role} refuses what Hearth asks of it (status {status}); only the operator can mend that",
            retryable=False,
            back_end=back_end,
        )

    def note(self, status: int, said: str) -> None:
        """Log a refusal that the client of the request can mend."""
        self._log(logging.INFO, status, said, self.address, "")

    def back_end(self, status: int | None = None) -> BackEnd:
        """Return the back end as errors carry it."""
        return BackEnd(self.role, status)

    def _passing(self, status: int, back_end: BackEnd, retry_after_s: float | None) -> HearthError:
        if status == _TOO_MANY_REQUESTS:
            kind, what = OverloadedError, "has too much to do"
        elif status in _AWAY:
            kind, what = UnavailableError, "is away"
        else:
            kind, what = UpstreamFailedError, "failed"
        return kind(f"the {self.role} {what} (status {status})", retry_after_s=retry_after_s, back_end=back_end)

    def _in_short(self, said: str) -> str:
        return " ".join(self._conceal(said).split())[:_LOGGED_CHARACTERS]

    def _log(self, level: int, status: int, said: str, address: str, hint: str) -> None:
        logger.log(level, "the %s at %s answered %d: %s%s", self.role, address, status, self._in_short(said), hint)


def status_told(said: object) -> int | None:
    """Return the status of HTTP that a told failure has as its `code`, a number or a text; None where it has none."""
    code = str(cast("Mapping[str, object]", said).get("code")) if isinstance(said, Mapping) else ""
    return int(code) if code.isdecimal() and int(code) >= _CLIENT_ERROR else None


def short_backoff() -> Backoff:
    """Return the pauses between attempts at a back end while somebody waits for its answer."""
    return Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, pauses=_PAUSES, total_s=_WAITED_S)


def is_too_long(status: int, said: str) -> bool:
    """Say whether a refusal means that an input is longer than a model reads."""
    if status == _CONTENT_TOO_LARGE:
        return True
    return status in _TOO_LONG_STATUSES and _TOO_LONG.search(said) is not None
