"""Calling models that run elsewhere: one pooled client, deadlines, retries, errors of the closed family."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from deployments.backoff import Backoff, retry, retry_after_s
from deployments.call import Call
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

_CONNECT_TIMEOUT_S = 5.0
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
_SETTINGS = {
    401: "engine.api_key_variable",
    403: "engine.api_key_variable",
    404: "engine.base_url and engine.model",
    405: "engine.base_url and engine.kind",
}
"""Where an operator finds what a status is about."""
_OTHER_SETTINGS = "engine.kind, engine.model and what else `engine` says of the server"
_CONTENT_TOO_LARGE = 413
_TOO_LONG_STATUSES = {400, 422}
_TOO_LONG = ("context_length_exceeded", "exceed_context_size_error", "maximum context length", "model's context length")
"""How servers say that an input is longer than a model reads: OpenAI by its code, llama.cpp by its type, vLLM and
SGLang by their sentence alone."""


class HttpBackEnd:
    """One model server over HTTP.

    What its answers mean for the client of a request:

    * 429: `OverloadedError`. 408, 425, 502, 503, 504, or no answer: `UnavailableError`. Where the answer has a
      Retry-After in seconds, the error has it too.
    * 5xx else, and 424: `UpstreamFailedError`.
    * 413, or a 400 or 422 that says that the input is longer than the model reads: `PayloadTooLargeError`, where the
      input is as long as the client made it. Texts for embeddings and passages to rerank are cut by Hearth, and sound
      comes in pieces of Hearth's own: there it is a refusal like any other.
    * Everything else, such as 400, 401, 403, 404 and 422: `UpstreamFailedError` that is not retryable. Hearth makes
      these requests from its settings, so only the operator can mend them. Servers do answer 400 for a voice that they
      do not know; but the names of voices are settings too, and are looked up before the server is asked.

    No error names the server's address or quotes its answer. Both are logged, with the settings to look at.

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
        self._role = role
        self._takes_client_input = takes_client_input
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=limits,
            transport=transport,
        )

    async def post(self, call: Call, path: str, body: Mapping[str, object]) -> Any:
        """Return the JSON answer to a POST of JSON; see `fetch`."""
        return self.json_of(await self.fetch(call, "POST", path, json=dict(body)))

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

        async def attempt() -> httpx.Response:
            async with self._open(call, method, path, content) as response:
                try:
                    await response.aread()
                except httpx.HTTPError as error:
                    raise self.translate(error) from error
                return response

        return await retry(attempt, short_backoff(), remaining_s=call.remaining)

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
        call.check(f"a request to the {self._role}")
        timeout = httpx.Timeout(call.remaining(), connect=min(_CONNECT_TIMEOUT_S, call.remaining()))
        request = self._client.build_request(method, path, timeout=timeout, **content)
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise self.translate(error) from error
        try:
            if not response.is_success:
                raise await self._refusal(response)
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
            UpstreamFailedError: It is none.
        """
        try:
            return cast("object", response.json())
        except ValueError as error:
            raise self.nonsense("something that is not JSON") from error

    def nonsense(self, what: str) -> UpstreamFailedError:
        """Return the error of an answer that is not what was asked for, such as "something that is not JSON"."""
        return UpstreamFailedError(f"the {self._role} sent {what}", back_end=self._back_end())

    def failure(self, said: object) -> UpstreamFailedError:
        """Return the error of a server that reports a failure within an answer; what it said of it is logged."""
        logger.warning("the %s at %s failed: %s", self._role, self.base_url, str(said)[:_LOGGED_CHARACTERS])
        return UpstreamFailedError(f"the {self._role} failed", back_end=self._back_end())

    def broken_off(self) -> UnavailableError:
        """Return the error of an answer that ended before its end."""
        return UnavailableError(f"the {self._role} ended the answer before its end", back_end=self._back_end())

    def out_of_time(self) -> DeadlineExceededError:
        """Return the error of an answer that takes longer than the call has."""
        return DeadlineExceededError(f"the {self._role} did not answer in the time given", back_end=self._back_end())

    def translate(self, error: httpx.HTTPError) -> HearthError:
        """Turn what kept a response, or broke its body, into one of the closed family."""
        back_end = self._back_end()
        logger.info("the %s at %s: %s", self._role, self.base_url, str(error) or type(error).__name__)
        match error:
            case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.PoolTimeout():
                return UnavailableError(f"the {self._role} cannot be reached", back_end=back_end)
            case httpx.TimeoutException():
                return self.out_of_time()
            case httpx.RemoteProtocolError() | httpx.NetworkError():
                return UnavailableError(f"the {self._role} closed the connection", back_end=back_end)
            case _:
                return UpstreamFailedError(f"the {self._role} failed: {type(error).__name__}", back_end=back_end)

    async def _refusal(self, response: httpx.Response) -> HearthError:
        """Return the error that an answer stands for which is none of success: see the class."""
        try:
            await response.aread()
        except httpx.HTTPError as error:
            return self.translate(error)
        status, back_end = response.status_code, self._back_end(response.status_code)
        if status in {_TOO_MANY_REQUESTS, _FAILED_DEPENDENCY, *_AWAY} or httpx.codes.is_server_error(status):
            self._log(logging.WARNING, response, "")
            return self._passing(status, back_end, retry_after_s(response.headers.get("Retry-After")))
        if self._takes_client_input and _is_too_long(response):
            self._log(logging.INFO, response, "")
            return PayloadTooLargeError(
                f"the {self._role} takes no input of this length (status {status})", back_end=back_end
            )
        self._log(logging.ERROR, response, f"; look at {_SETTINGS.get(status, _OTHER_SETTINGS)}")
        return UpstreamFailedError(
            f"the {self._role} refuses what Hearth asks of it (status {status}); only the operator can mend that",
            retryable=False,
            back_end=back_end,
        )

    def _passing(self, status: int, back_end: BackEnd, retry_after_s: float | None) -> HearthError:
        if status == _TOO_MANY_REQUESTS:
            kind, what = OverloadedError, "has too much to do"
        elif status in _AWAY:
            kind, what = UnavailableError, "is away"
        else:
            kind, what = UpstreamFailedError, "failed"
        return kind(f"the {self._role} {what} (status {status})", retry_after_s=retry_after_s, back_end=back_end)

    def _log(self, level: int, response: httpx.Response, hint: str) -> None:
        url = response.request.url.copy_with(query=None, username=None, password=None)
        said = " ".join(response.text.split())[:_LOGGED_CHARACTERS]
        logger.log(level, "the %s at %s answered %d: %s%s", self._role, url, response.status_code, said, hint)

    def _back_end(self, status: int | None = None) -> BackEnd:
        return BackEnd(self._role, status)


def short_backoff() -> Backoff:
    """Return the pauses between attempts at a server while somebody waits for its answer."""
    return Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, pauses=_PAUSES, total_s=_WAITED_S)


def _is_too_long(response: httpx.Response) -> bool:
    status = response.status_code
    if status == _CONTENT_TOO_LARGE:
        return True
    return status in _TOO_LONG_STATUSES and any(sign in response.text for sign in _TOO_LONG)
