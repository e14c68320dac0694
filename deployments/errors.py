"""The closed family of errors: what can go wrong with a request, as its client is told.

Foreign errors (Ray's, Milvus's, HTTP's, llama.cpp's) are translated into one of these once, where they enter.
Every error carries a text that is safe for the client and says whether trying again makes sense; its `kind`
is the `type` that travels on the wire.
"""

from typing import ClassVar, Self


class HearthError(Exception):
    """A request could not be answered as asked.

    Attributes:
        message: What was wrong and what was expected, safe to show to the client.
        kind: The class of the error on the wire, one of nine.
        retryable: Whether the same request may succeed later.
    """

    kind: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        # Errors cross process borders pickled.
        return type(self), (self.message,)


class InvalidRequestError(HearthError):
    """The request cannot be understood or breaks a limit of its own."""

    kind = "invalid_request"


class NotFoundError(HearthError):
    """Something that the request names does not exist, such as a collection."""

    kind = "not_found"


class PayloadTooLargeError(HearthError):
    """A message does not fit into what its carrier takes."""

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


class UpstreamFailedError(HearthError):
    """A back end answered with a failure of its own."""

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
