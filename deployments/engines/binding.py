"""A role bound to a deployment of the cluster that is not Hearth's, called by its handle through an adapter.

A model of the user's own, in a deployment of the user's own, stays as it is; `deployments.engines.adapter_protocols`
says what an adapter is.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from deployments.backoff import retry
from deployments.call import Call
from deployments.engines.adapter_protocols import Arguments
from deployments.engines.back_end import BackEndErrors, short_backoff
from deployments.engines.protocols import DeployedModel
from deployments.engines.shapes import FailureToldError, ShapeError
from deployments.errors import UpstreamFailedError

T = TypeVar("T")

logger = logging.getLogger(__name__)


def text_by(read: Callable[[Any], object]) -> Callable[[Any], str]:
    """Return what reads text as an adapter does, and refuses what the adapter returns that is none."""

    def text(answer: Any) -> str:
        said = read(answer)
        if not isinstance(said, str):
            raise TypeError(f"its text() returned {type(said).__name__} where a str was expected")
        return said

    return text


class Binding:
    """A deployment with the adapter that says how it is called.

    Args:
        model: The deployment.
        method: See `Adapter`.
        streams: See `Adapter`.
        errors: What its failures mean.
    """

    def __init__(self, model: DeployedModel, method: str, errors: BackEndErrors, *, streams: bool) -> None:
        self.errors = errors
        self._model = model
        self._method = method
        self._streams = streams

    @property
    def description(self) -> str:
        """The deployment, for status and logs."""
        return f"{self._method} of {self._model.description}"

    def arguments(self, request: Callable[..., object], *given: object) -> Arguments:
        """Return what the method is called with, as the adapter says.

        Args:
            request: Of the adapter.
            given: What it makes a request of.

        Raises:
            UpstreamFailedError: It made none. Only whoever wrote it can mend that.
        """
        try:
            made = request(*given)
        except Exception as error:  # of whatever kind: the adapter is not Hearth's
            raise self._no_request(f"{type(error).__name__}: {error}") from error
        if not isinstance(made, Arguments):
            raise self._no_request(f"its request() returned {type(made).__name__} where Arguments were expected")
        return made

    async def answer(self, call: Call, arguments: Arguments, read: Callable[[Any], T]) -> T:
        """Return what an answer holds; asked for again, twice at most, while the deployment cannot be reached.

        Args:
            call: Whose deadline holds.
            arguments: Of the method.
            read: Of the adapter.
        """

        async def attempt() -> Any:
            if not self._streams:
                return await self._model.call(call, self._method, *arguments.positional, **arguments.named)
            async with aclosing(self._items(call, arguments)) as items:
                return [item async for item in items]

        return self.read(read, await retry(attempt, short_backoff(), remaining_s=call.remaining))

    async def items(self, call: Call, arguments: Arguments, read: Callable[[Any], T]) -> AsyncGenerator[T]:
        """Yield what each item of an answer holds; the whole answer as one item where the method is no generator."""
        if not self._streams:
            yield await self.answer(call, arguments, read)
            return
        async with aclosing(self._items(call, arguments)) as items:
            async for item in items:
                yield self.read(read, item)

    def read(self, read: Callable[[Any], T], answer: Any) -> T:
        """Return what an answer holds.

        Raises:
            UpstreamFailedError: The adapter cannot read it.
            HearthError: The answer tells a failure; see `BackEndErrors.failure`.
        """
        try:
            return read(answer)
        except FailureToldError as error:
            raise self.errors.failure(error.told) from error
        except ShapeError as error:
            logger.warning("%s sent %s", self.description, error)
            raise self.errors.nonsense(str(error)) from error
        except Exception as error:  # of whatever kind: the adapter is not Hearth's, nor is what it reads
            logger.warning(
                "the adapter cannot read what %s answered: %s: %s", self.description, type(error).__name__, error
            )
            raise self.errors.nonsense("something that its adapter cannot read") from error

    async def check(self) -> None:
        """Raise `UnavailableError` where no replica of the deployment runs."""
        await self._model.check()

    def _no_request(self, why: str) -> UpstreamFailedError:
        logger.error("the adapter makes no request to %s: %s; look at engine.adapter", self.description, why)
        return UpstreamFailedError(
            f"the adapter of the {self.errors.role} makes no request; only the operator can mend that",
            retryable=False,
            back_end=self.errors.back_end(),
        )

    def _items(self, call: Call, arguments: Arguments) -> AsyncGenerator[Any]:
        return self._model.stream(call, self._method, *arguments.positional, **arguments.named)
