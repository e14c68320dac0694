"""Whether the last request to a model was answered: what a look at its server alone does not tell."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, PayloadTooLargeError


class LastRequest:
    """What became of the last request that a model was asked.

    Attributes:
        has_failed: Whether it was not answered, and that was not for what its client asked.
    """

    def __init__(self) -> None:
        self.has_failed = False

    @contextmanager
    def watched(self, call: Call) -> Generator[None]:
        """Take note of how a request ends; one that its client leaves in time counts for nothing."""
        try:
            yield
        except (InvalidRequestError, PayloadTooLargeError):
            raise
        except HearthError:
            self.has_failed = True
            raise
        except asyncio.CancelledError:
            self.has_failed = self.has_failed or call.remaining() == 0.0
            raise
        self.has_failed = False
