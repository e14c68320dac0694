"""Calling models that run elsewhere: one pooled client, deadlines, retries, errors of the closed family."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import httpx

from deployments.backoff import retry, retry_after_s
from deployments.call import Call
from deployments.engines.back_end import BackEndErrors, short_backoff
from deployments.errors import HearthError, UnavailableError, UpstreamFailedError
from deployments.http_access import NOT_LET_IN, HttpConnections
from deployments.values.access import ServerAccess

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_NOT_IMPLEMENTED = 501
_REDIRECTS = (301, 302, 303, 307, 308)
_SETTINGS = {
    **dict.fromkeys(_REDIRECTS, "engine.base_url: the server sends us elsewhere, where no key is carried"),
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


class HttpBackEnd:
    """One model server over HTTP.

    `BackEndErrors` says what its answers mean for the client of a request. No answer at all is an `UnavailableError`.
    Where an answer has a Retry-After in seconds, the error has it too.

    Args:
        base_url: Of the server, such as "http://vllm.ai-ml.svc.cluster.local:8000"; paths are added to it, so a "/v1"
            at its end is left out. A user and password in it are sent to the server.
        role: What it does for Hearth, for messages, such as "embeddings server".
        access: Who we are to it, and how it is known; None for nobody in particular.
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
        access: ServerAccess | None = None,
        takes_client_input: bool = False,
        max_connections: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._connections = HttpConnections(
            base_url.rstrip("/").removesuffix("/v1"),
            access or ServerAccess(setting="engine.api_key", tls_setting="engine.tls", url_setting="engine.base_url"),
            limits=limits,
            usual=httpx.create_ssl_context,
            transport=transport,
        )
        self.base_url = self._connections.address.rstrip("/")
        self.errors = BackEndErrors(
            role,
            self.base_url,
            takes_client_input=takes_client_input,
            settings={**_SETTINGS, **dict.fromkeys(NOT_LET_IN, self._place())},
            other_settings=_OTHER_SETTINGS,
            conceal=self._connections.conceal,
        )
        self._let_in_with: tuple[object, ...] | None = None
        self._was_refused = False

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
        async with AsyncExitStack() as stack:
            try:
                opened = self._connections.open(method, path, timeout=timeout, **content)
                response = await stack.enter_async_context(opened)
            except httpx.HTTPError as error:
                raise self.translate(error) from error
            except UnavailableError as error:
                raise self._unusable(error) from error
            self._note_admission(method, response.status_code)
            if not response.is_success:
                raise await self._refusal(response, refused)
            yield response

    async def check(self, path: str) -> None:
        """Raise `UnavailableError` when the server takes no connection, or does not let us in.

        Nothing is computed for it. While nothing is known of what the server thinks of us, or once it has refused us,
        it is sent a request without content, which it refuses in another way when it lets us in.

        Args:
            path: Of the requests that it is there for.
        """
        stamp = self._connections.access.stamp()
        is_unknown = self._connections.says_who_asks and self._let_in_with != stamp
        try:
            if not is_unknown and not self._was_refused:
                await self._status("GET", "/")
                return
            status = await self._status("POST", path, json={})
        except httpx.HTTPError as error:
            raise self.translate(error) from error
        except UnavailableError as error:
            raise self._unusable(error) from error
        self._was_refused = status in NOT_LET_IN
        if self._was_refused:
            raise self.errors.away(f"does not let Hearth in (status {status}); look at {self._place()}")
        if not httpx.codes.is_server_error(status):
            self._let_in_with = stamp

    async def _status(self, method: str, path: str, **content: Any) -> int:
        timeout = httpx.Timeout(_CONNECT_TIMEOUT_S)
        async with self._connections.open(method, path, timeout=timeout, **content) as response:
            return response.status_code

    def _note_admission(self, method: str, status: int) -> None:
        if status in NOT_LET_IN:
            self._was_refused = True
        # Lists, which are got, some servers give to anybody.
        elif method == "POST" and httpx.codes.is_success(status):
            self._was_refused = False
            self._let_in_with = self._connections.access.stamp()

    def _place(self) -> str:
        """Return where an operator finds who we are to the server."""
        access = self._connections.access
        # Else the server knows us by the user in its URL, or does not know us.
        return access.token_place if access.token else f"{access.token_setting}, or {access.url_setting}"

    def _unusable(self, error: UnavailableError) -> UnavailableError:
        return UnavailableError(f"the {self.errors.role}: {error.message}", back_end=self.errors.back_end())

    async def close(self) -> None:
        await self._connections.close()

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
        hint = self._connections.hint(error)
        logger.info("the %s at %s: %s", self.errors.role, self.base_url, hint or str(error) or type(error).__name__)
        if hint:
            return self.errors.away(f"cannot be reached by TLS: {hint}")
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
