"""The closed family of errors: what can go wrong with a request, as its client is told.

Foreign errors (Ray's, Milvus's, HTTP's, llama.cpp's) are translated into one of these once, where they enter.

An error is its fields: its kind, whether and when to try again, which field of the request is at fault, which limit was
broken, which back end failed. Code and tests decide by the fields and never by the text. The text is for people, and
safe for any client: it names no host, no path and no URL, and quotes no answer of a back end. Those are logged where
the error is made.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that a request has broken, or that was reached before it came.

    Attributes:
        name: The setting that holds the limit, such as "nats.max_waiting". A limit that no setting changes is named by
            what it bounds, with its unit, such as "utterance_s".
        value: The most that is allowed.
        given: How much it was; None where that is not known.
    """

    name: str
    value: float
    given: float | None = None


@dataclass(frozen=True, slots=True)
class BackEnd:
    """A server that Hearth needs and that failed.

    Attributes:
        role: What it does for Hearth, such as "embeddings server".
        status: The HTTP status of its answer; None where there was no answer, or it does not speak HTTP.
    """

    role: str
    status: int | None = None


class HearthError(Exception):
    """A request could not be answered as asked.

    Every kind is made with its reason alone, or with any of the fields besides. Pickled, an error keeps all of them.

    Attributes:
        kind: The class of the error, one of nine; the `type` that travels on the wire.
        reason: What was wrong and what was expected, safe to show to the client.
        retryable: Whether the same request may succeed later.
        retry_after_s: Seconds after which to try again; None where nobody knows.
        field: The field of the request that is at fault; empty where none is.
        limit: The limit that was broken or reached; None where there is none.
        back_end: The server that failed; None where none did.
    """

    kind: ClassVar[str] = "internal"
    retryable: bool = False

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        field: str = "",
        limit: Limit | None = None,
        back_end: BackEnd | None = None,
    ) -> None:
        # The reason is the only argument that is kept as one: `Exception` is pickled as its arguments and its
        # attributes, so that a class with more attributes needs nothing of its own.
        super().__init__(reason)
        self.reason = reason
        if retryable is not None:
            self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.field = field
        self.limit = limit
        self.back_end = back_end

    @property
    def message(self) -> str:
        """The reason, and when to try again where that is known: what the client is told."""
        if self.retry_after_s is None:
            return self.reason
        return f"{self.reason}; try again in {self.retry_after_s:.3g} s"

    def __str__(self) -> str:
        return self.message


class InvalidRequestError(HearthError):
    """The request cannot be understood or breaks a limit of its own."""

    kind = "invalid_request"


class NotFoundError(HearthError):
    """Something that the request names does not exist, such as a collection."""

    kind = "not_found"


class PayloadTooLargeError(HearthError):
    """Something is larger than what is to take it: a message, a recording, a text."""

    kind = "payload_too_large"


class OverloadedError(HearthError):
    """Queues are full; refused at once so that the client can act."""

    kind = "overloaded"
    retryable = True


class DeadlineExceededError(HearthError):
    """The time that the request was given has passed."""

    kind = "deadline_exceeded"
    retryable = True


class RequestEndedError(HearthError):
    """The request was ended from outside, by its client or by a shutdown."""

    kind = "cancelled"
    retryable = True


class UnavailableError(HearthError):
    """A deployment or a back end cannot be reached now."""

    kind = "unavailable"
    retryable = True


class ReplicaLostError(UnavailableError):
    """The replica that worked on the request is gone, or was gone before it began: another one may answer at once."""


class UpstreamFailedError(HearthError):
    """A back end answered with a failure of its own, or refused what Hearth asks of it.

    A refusal, such as for a wrong API key, is not retryable: only the operator can mend it.
    """

    kind = "upstream_failed"
    retryable = True


class InternalError(HearthError):
    """A fault of Hearth itself; the log of the replica has the details."""

    kind = "internal"


FAMILY: tuple[type[HearthError], ...] = (
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    OverloadedError,
    DeadlineExceededError,
    RequestEndedError,
    UnavailableError,
    UpstreamFailedError,
    InternalError,
)
"""Every kind there is, for tables and tests."""

_BY_KIND = {kind.kind: kind for kind in FAMILY}


def error_of(kind: str, reason: str) -> HearthError:
    """Return an error that arrived over the wire as its kind and its text.

    A kind that is not known, of a newer Hearth or none at all, is taken for `upstream_failed`.
    """
    return _BY_KIND.get(kind, UpstreamFailedError)(reason)
