"""Calling models that run elsewhere: one pooled client, deadlines, retries, errors of the closed family."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from deployments.call import Call
from deployments.errors import (
    DeadlineExceededError,
    HearthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UpstreamFailedError,
)

_CONNECT_TIMEOUT_S = 5.0
_RETRY_PAUSES_S = (0.1, 0.4)
_SHOWN_CHARACTERS = 200


class HttpBackEnd:
    """One model server over HTTP.

    Args:
        base_url: Of the server, such as "http://vllm.ai-ml.svc.cluster.local:8000"; paths are added to it, so a "/v1"
            at its end is left out.
        api_key: Sent as a bearer token where it is not empty.
        max_connections: Kept in the pool and open at once.
        transport: How requests travel; tests may give one of their own.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        max_connections: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=limits,
            transport=transport,
        )

    async def post(self, call: Call, path: str, body: Mapping[str, object]) -> Any:
        """Return the JSON answer to a POST of JSON; see `fetch`."""
        return json_of(await self.fetch(call, "POST", path, json=dict(body)))

    async def fetch(self, call: Call, method: str, path: str, **content: Any) -> httpx.Response:
        """Return the whole answer to a request, tried up to three times while the server cannot be reached.

        Args:
            call: Whose deadline holds.
            method: Of HTTP.
            path: Behind the server's base URL.
            content: What httpx makes the request from: `json`, `params`, `data` or `files`.

        Raises:
            HearthError: The server cannot be reached, failed, refused the request or took too long.
        """
        for pause in (*_RETRY_PAUSES_S, None):
            try:
                async with self._open(call, method, path, content) as response:
                    await response.aread()
                    return response
            except HearthError as error:
                if pause is None or not isinstance(error, UnavailableError) or call.remaining() <= pause:
                    raise
            except httpx.HTTPError as error:
                raise _translate(error, self.base_url) from error
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def stream(self, call: Call, path: str, body: Mapping[str, object]) -> AsyncGenerator[httpx.Response]:
        """Send a POST of JSON and give the open response, its status checked; leaving the context closes it.

        What breaks while the caller reads the body is the caller's: an `httpx.HTTPError`.

        Raises:
            HearthError: As in `fetch`, for what happens before the body.
        """
        async with self._open(call, "POST", path, {"json": dict(body)}) as response:
            yield response

    @asynccontextmanager
    async def _open(
        self, call: Call, method: str, path: str, content: Mapping[str, Any]
    ) -> AsyncGenerator[httpx.Response]:
        call.check(f"a request to {self.base_url}")
        timeout = httpx.Timeout(call.remaining(), connect=min(_CONNECT_TIMEOUT_S, call.remaining()))
        request = self._client.build_request(method, path, timeout=timeout, **content)
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _translate(error, self.base_url) from error
        try:
            if not response.is_success:
                await response.aread()
                raise _refusal(response, self.base_url)
            yield response
        finally:
            await response.aclose()

    def translate(self, error: httpx.HTTPError) -> HearthError:
        """Turn what broke a response's body into one of the closed family."""
        return _translate(error, self.base_url)

    async def check(self) -> None:
        """Raise `UnavailableError` when the server takes no connection."""
        try:
            await self._client.get("/", timeout=_CONNECT_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise _translate(error, self.base_url) from error

    async def close(self) -> None:
        await self._client.aclose()


def json_of(response: httpx.Response) -> Any:
    """Return the JSON of an answer.

    Raises:
        UpstreamFailedError: It is none.
    """
    try:
        return cast("object", response.json())
    except ValueError as error:
        raise UpstreamFailedError(f"{response.url} answered with something that is not JSON") from error


def _translate(error: httpx.HTTPError, server: str) -> HearthError:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.PoolTimeout():
            return UnavailableError(f"{server} cannot be reached")
        case httpx.TimeoutException():
            return DeadlineExceededError(f"{server} did not answer in the time given")
        case httpx.RemoteProtocolError() | httpx.NetworkError():
            return UnavailableError(f"{server} closed the connection")
        case _:
            return UpstreamFailedError(f"{server} failed: {type(error).__name__}")


def _refusal(response: httpx.Response, server: str) -> HearthError:
    text = f"{server} answered {response.status_code}: {response.text[:_SHOWN_CHARACTERS].strip()}"
    match response.status_code:
        case httpx.codes.NOT_FOUND:
            return NotFoundError(text)
        case httpx.codes.TOO_MANY_REQUESTS:
            return OverloadedError(text)
        case httpx.codes.BAD_GATEWAY | httpx.codes.SERVICE_UNAVAILABLE | httpx.codes.GATEWAY_TIMEOUT:
            return UnavailableError(text)
        case status if httpx.codes.is_client_error(status):
            return InvalidRequestError(text)
        case _:
            return UpstreamFailedError(text)
