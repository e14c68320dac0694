"""Deployments of the cluster that are not Hearth's: called by handle, with whatever methods they have.

`deployments.graph.door` leads to Hearth's own deployments, which take the call first and stream in batches. Others take
what they take; the deadline, the cancellation and the closed family of errors are added here, on the caller's side.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, cast

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.call import Call
from deployments.errors import BackEnd, HearthError, InternalError, UnavailableError, UpstreamFailedError
from deployments.graph.deadline import StreamDeadline
from deployments.graph.door import MethodHandles, answer_of, cause_of, grpc_code, has_no_method, translate
from deployments.graph.serve_state import deployment_states
from deployments.graph.tracing import call_span, stream_span

logger = logging.getLogger(__name__)

_LOGGED_CHARACTERS = 500


class ForeignDeployment:
    """A deployment of the cluster that is not Hearth's.

    It need not run yet when this is made. Errors:

    * Not deployed, no replica, a replica that died: `UnavailableError`.
    * Its queue is full, by its own `max_queued_requests`: `OverloadedError`.
    * No answer in the time of the call: `DeadlineExceededError`; the request is cancelled there.
    * An exception of its own, or an answer that this process cannot read: `UpstreamFailedError`, which quotes nothing;
      the log has the exception. It is retryable unless the deployment could not even read the request.
    * A `HearthError` passes as it is.

    Args:
        application: The Serve application.
        deployment: The deployment in it.
        role: What it does for Hearth, for messages, such as "language model".
    """

    def __init__(self, application: str, deployment: str, role: str) -> None:
        self._application = application
        self._deployment = deployment
        self._role = role
        # What others take and answer may be of a class that only cloudpickle can carry.
        self._handles = MethodHandles(self._find, serialization="cloudpickle")

    @property
    def description(self) -> str:
        """The deployment and its application, for status and logs."""
        return f"deployment {self._deployment} of application {self._application}"

    async def call(self, call: Call, method: str, /, *arguments: object, **named: object) -> Any:
        """Return what a method returns.

        Args:
            call: Whose deadline holds. Its session, if it has one, goes to the deployment's request router.
            method: Of the deployment's class.
            arguments: Of the method.
            named: Likewise.

        Raises:
            HearthError: As the class says.
        """
        with call_span(call, self._deployment, method) as traced:
            traced.check(f"a request to the {self._role}")
            response = await self._start(traced, method, arguments, named, stream=False)
            return await answer_of(traced, response, lambda error: self._translate(error, method))

    def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        """Yield what a method yields; closing the generator cancels the request. See `call`."""
        return stream_span(call, self._deployment, method, lambda traced: self._items(traced, method, arguments, named))

    async def check(self) -> None:
        """Raise `UnavailableError` where no replica of the deployment runs."""
        states = await deployment_states()
        state = next((one for one in states if (one.application, one.name) == self._place), None)
        if state is None:
            raise UnavailableError(f"{self.description} is not deployed")
        if not state.running:
            raise UnavailableError(f"{self.description} has no running replica; Serve says {state.status}")

    @property
    def _place(self) -> tuple[str, str]:
        return (self._application, self._deployment)

    def _find(self) -> DeploymentHandle[Any]:
        return cast("DeploymentHandle[Any]", serve.get_deployment_handle(self._deployment, self._application))

    async def _items(
        self, call: Call, method: str, arguments: tuple[object, ...], named: dict[str, object]
    ) -> AsyncGenerator[Any]:
        call.check(f"a request to the {self._role}")
        response = await self._start(call, method, arguments, named, stream=True)
        exhausted = False
        with StreamDeadline(call.remaining()) as deadline:
            try:
                while True:
                    try:
                        item = await deadline.next_of(response)
                    except StopAsyncIteration:
                        exhausted = True
                        return
                    except Exception as error:
                        raise self._translate(error, method) from error
                    yield item
            finally:
                if not exhausted:
                    response.cancel()

    async def _start(
        self, call: Call, method: str, arguments: tuple[object, ...], named: dict[str, object], *, stream: bool
    ) -> Any:
        try:
            # Serve's controller is asked for the handle, and it may hang.
            async with asyncio.timeout(call.remaining()):
                return await self._handles.start(call, method, arguments, named, stream=stream)
        except TimeoutError as error:
            raise self._translate(error, method) from error
        except KeyError as error:
            logger.warning("%s is not deployed", self.description)
            raise UnavailableError(f"the {self._role} is not deployed", back_end=BackEnd(self._role)) from error
        except (RayError, RayServeException) as error:
            raise self._translate(error, method) from error

    def _translate(self, error: Exception, method: str) -> HearthError:
        cause = cause_of(error)
        if isinstance(cause, HearthError):
            return cause
        self._log(method, cause)
        if grpc_code(cause) == "UNKNOWN" and _was_unreadable(cause):
            translated = UpstreamFailedError(f"the {self._role} could not read its request", retryable=False)
        elif has_no_method(cause):
            translated = UpstreamFailedError(f"the {self._role} has no method {method!r}", retryable=False)
        else:
            translated = translate(cause, f"the {self._role}")
        if isinstance(translated, InternalError):
            translated = UpstreamFailedError(f"the {self._role} failed")
        translated.back_end = BackEnd(self._role)
        return translated

    def _log(self, method: str, cause: BaseException) -> None:
        said = " ".join(str(cause).split())[:_LOGGED_CHARACTERS]
        logger.warning("%s, method %s, failed with %s: %s", self.description, method, type(cause).__name__, said)


def _was_unreadable(error: BaseException) -> bool:
    """Whether an exception while a replica unpickled the request is what kept it from answering.

    gRPC tells of an exception outside of Serve's own handling in these words, with the class behind them.
    """
    details: Any = getattr(error, "details", None)
    return callable(details) and str(details()).startswith("Unexpected <class")
