"""Calling models that run elsewhere: one pooled client, deadlines, retries, errors of the closed family."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from deployments.backoff import retry, retry_after_s
from deployments.call import Call
from deployments.engines.back_end import BackEndErrors, short_backoff
from deployments.errors import HearthError, UpstreamFailedError
from deployments.values.connections import KEEPALIVE

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_NOT_IMPLEMENTED = 501
_SETTINGS = {
    401: "engine.api_key_variable",
    403: "engine.api_key_variable",
    404: "engine.base_url and engine.model",
    405: "engine.base_url and engine.kind",
}
"""Where an operator finds what a status is about."""
_OTHER_SETTINGS = "engine.kind, engine.model and what else `engine` says of the server"


def _unheeded(status: int, said: str) -> None:
    del status, said


class _AbsentError(Exception):
    """A server has nothing at a path."""


def _raise_absent(status: int, said: str) -> None:
    del said
    if httpx.codes.is_client_error(status) or status == _NOT_IMPLEMENTED:
        raise _AbsentError


def _lasting_transport(limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(limits=limits, socket_options=KEEPALIVE)


class HttpBackEnd:
    """One model server over HTTP.

    `BackEndErrors` says what its answers mean for the client of a request. No answer at all is an `UnavailableError`.
    Where an answer has a Retry-After in seconds, the error has it too.

    Args:
        base_url: Of the server, such as "http://vllm.ai-ml.svc.cluster.local:8000"; paths are added to it, so a "/v1"
            at its end is left out.
        role: What it does for Hearth, for messages, such as "embeddings server".
        api_key: Sent as a bearer token where it is not empty.
        takes_client_input: Whether what is sent is as long as the client made it.
        max_connections: Kept in the pool and open at once.
        transport: How requests travel; tests may give one of their own.

    Attributes:
        base_url: Without credentials, for logs and for people who ask how the graph is.
        errors: Its errors, for those who read its answers.
    """

    def __init__(
        self,
        base_url: str,
        *,
        role: str,
        api_key: str = "",
        takes_client_input: bool = False,
        max_connections: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = httpx.URL(base_url.rstrip("/").removesuffix("/v1"))
        self.base_url = str(url.copy_with(username=None, password=None)).rstrip("/")
        self.errors = BackEndErrors(
            role,
            self.base_url,
            takes_client_input=takes_client_input,
            settings=_SETTINGS,
            other_settings=_OTHER_SETTINGS,
        )
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=limits,
            transport=transport,
            # Mounted and not given as the one transport, which would put proxies of the environment out of use.
            mounts=None if transport else {"all://": _lasting_transport(limits)},
        )

    async def post(self, call: Call, path: str, body: Mapping[str, object]) -> Any:
        """Return the JSON answer to a POST of JSON; see `fetch`."""
        return self.json_of(await self.fetch(call, "POST", path, json=dict(body)))

    async def fetch(
        self, call: Call, method: str, path: str, *, refused: Callable[[int, str], None] = _unheeded, **content: Any
    ) -> httpx.Response:
        """Return the whole answer to a request, tried up to three times while the server cannot be reached.

        Args:
            call: Whose deadline holds.
            method: Of HTTP.
            path: Behind the server's base URL.
            refused: Is told the status and the body of an answer that is none of success, before it is logged and
                raised.
            content: What httpx makes the request from: `json`, `params`, `data` or `files`.

        Raises:
            HearthError: The server cannot be reached, failed, refused the request or took too long.
        """

        async def attempt() -> httpx.Response:
            async with self._open(call, method, path, content, refused) as response:
                try:
                    await response.aread()
                except httpx.HTTPError as error:
                    raise self.translate(error) from error
                return response

        return await retry(attempt, short_backoff(), remaining_s=call.remaining)

    async def find(self, call: Call, path: str) -> Any | None:
        """Return the JSON at a path; None where the server has nothing there, or no JSON.

        Raises:
            HearthError: The server cannot be reached, failed or took too long.
        """
        try:
            async with self._open(call, "GET", path, {}, _raise_absent) as response:
                await response.aread()
                return cast("object", response.json())
        except (_AbsentError, ValueError):
            return None
        except httpx.HTTPError as error:
            raise self.translate(error) from error

    @asynccontextmanager
    async def stream(
        self, call: Call, path: str, body: Mapping[str, object], refused: Callable[[int, str], None] = _unheeded
    ) -> AsyncGenerator[httpx.Response]:
        """Send a POST of JSON and give the open response, its status checked; leaving the context closes it.

        What breaks while the caller reads the body is the caller's: an `httpx.HTTPError`.

        Args:
            call: Whose deadline holds.
            path: Behind the server's base URL.
            body: Of the request.
            refused: Is told the status and the body of an answer that is none of success, before it is logged and
                raised.

        Raises:
            HearthError: As in `fetch`, for what happens before the body.
        """
        async with self._open(call, "POST", path, {"json": dict(body)}, refused) as response:
            yield response

    @asynccontextmanager
    async def _open(
        self,
        call: Call,
        method: str,
        path: str,
        content: Mapping[str, Any],
        refused: Callable[[int, str], None] = _unheeded,
    ) -> AsyncGenerator[httpx.Response]:
        call.check(f"a request to the {self.errors.role}")
        timeout = httpx.Timeout(call.remaining(), connect=min(_CONNECT_TIMEOUT_S, call.remaining()))
        request = self._client.build_request(method, path, timeout=timeout, **content)
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise self.translate(error) from error
        try:
            if not response.is_success:
                raise await self._refusal(response, refused)
            yield response
        finally:
            await response.aclose()

    async def check(self) -> None:
        """Raise `UnavailableError` when the server takes no connection."""
        try:
            await self._client.get("/", timeout=_CONNECT_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise self.translate(error) from error

    async def close(self) -> None:
        await self._client.aclose()

    def json_of(self, response: httpx.Response) -> Any:
        """Return the JSON of an answer.

        Raises:
            HearthError: It is none, or tells a failure in spite of its status.
        """
        try:
            answer = cast("object", response.json())
        except ValueError as error:
            raise self.errors.nonsense("something that is not JSON") from error
        told = cast("Mapping[str, object]", answer).get("error") if isinstance(answer, Mapping) else None
        if told:
            raise self.errors.failure(told)
        return cast("object", answer)

    def translate(self, error: httpx.HTTPError) -> HearthError:
        """Turn what kept a response, or broke its body, into one of the closed family."""
        logger.info("the %s at %s: %s", self.errors.role, self.base_url, str(error) or type(error).__name__)
        match error:
            case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.PoolTimeout():
                return self.errors.away("cannot be reached")
            case httpx.TimeoutException():
                return self.errors.out_of_time()
            case httpx.RemoteProtocolError() | httpx.NetworkError():
                return self.errors.away("closed the connection")
            case _:
                return UpstreamFailedError(
                    f"the {self.errors.role} failed: {type(error).__name__}", back_end=self.errors.back_end()
                )

    async def _refusal(self, response: httpx.Response, refused: Callable[[int, str], None]) -> HearthError:
        """Return the error that an answer stands for which is none of success."""
        try:
            await response.aread()
        except httpx.HTTPError as error:
            return self.translate(error)
        refused(response.status_code, response.text)
        return self.errors.refusal(
            response.status_code,
            response.text,
            str(response.request.url.copy_with(query=None, username=None, password=None)),
            retry_after_s=retry_after_s(response.headers.get("Retry-After")),
        )
