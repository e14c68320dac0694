"""An engine's server over HTTP: credentials out of files that may rotate, errors of the closed family."""

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import httpx

from deployments.backoff import retry_after_s
from deployments.errors import BackEnd, HearthError, UnavailableError, UpstreamFailedError
from deployments.http_access import NOT_LET_IN, HttpConnections
from deployments.pipelines.ports import EngineNotFoundError, EngineUnavailableError
from deployments.settings.pipelines import EngineConnectionSettings

logger = logging.getLogger(__name__)

Parameters = Mapping[str, str]
Json = dict[str, Any]

_CONNECT_TIMEOUT_S = 5.0
_LOGGED_CHARACTERS = 300
_TRY_AGAIN = {408, 410, 425, 429}
"""410 is how a Kubernetes API may say that a version is too old to watch from."""
_MAY_HAVE_ACTED = {408, 500, 502, 504}
"""A gateway that waits in vain for what is behind it does not know what that does."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NOT_FOUND = 404
_SERVER_ERROR = 500
_MAX_RETRY_AFTER_S = 60.0
_MAX_LINE_CHARACTERS = 32 << 20
"""A workflow with thousands of steps is some megabytes in one line of a watch."""
_NO_LIMIT = httpx.Limits(max_connections=None, max_keepalive_connections=20)
"""Each followed run keeps a connection; how many there are is bounded by `max_runs`."""


class EngineClient:
    """One engine's server.

    What a refusal means: a run is made from the pipeline table and from parameters that the table allows, so that a
    400, 401, 403, 404 or 422 is for the operator to mend and no error of the client. Errors name neither the server's
    address nor what it said. Both are logged, with the settings to look at.

    Args:
        name: Of the engine, for messages, and where its settings are: under `pipelines`.
        settings: Where it is and how it is reached.
        headers: Sent with every request.
    """

    def __init__(self, name: str, settings: EngineConnectionSettings, headers: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.failure = ""
        self._has_answered = False
        self._settings = settings
        self._headers = dict(headers or {})
        self._connections = HttpConnections(settings.url, settings.access(name), limits=_NO_LIMIT)

    def described(self, description: str) -> str:
        """Return a description of the engine that says so where nothing is known of it yet."""
        return description if self._has_answered else f"{description}: not asked for anything yet"

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters | None = None,
        body: Json | None = None,
        accept: frozenset[int] = frozenset(),
        content_type: str = "application/json",
    ) -> tuple[int, Json]:
        """Return the status and the JSON object that a request is answered with.

        Args:
            method: Of HTTP.
            path: Behind the server's URL.
            parameters: Of the query.
            body: Sent as JSON.
            accept: Statuses that are no error, besides those of success.
            content_type: Of the body.

        Raises:
            EngineUnavailableError: It may be answered when it is sent again.
            EngineNotFoundError: 404.
            UpstreamFailedError: It was refused, which is not retryable, or answered with something that is not JSON.
        """
        content = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": content_type} if content is not None else {}
        limits = httpx.Timeout(self._settings.timeout_s, connect=_CONNECT_TIMEOUT_S)
        async with self._opened(method, path, parameters, content, headers, limits, accept) as response:
            try:
                await response.aread()
            except httpx.HTTPError as error:
                raise self._away(error) from error
            return response.status_code, self._object(response)

    @asynccontextmanager
    async def watch(self, path: str, parameters: Parameters, accept: str) -> AsyncGenerator[AsyncGenerator[str]]:
        """Open a stream of lines; its lines end when the server ends it, breaks off, or says nothing for too long.

        Raises:
            HearthError: As in `fetch`, for what happens before the first line.
        """
        limits = httpx.Timeout(self._settings.watch_idle_s, connect=_CONNECT_TIMEOUT_S)
        headers = {"Accept": accept}
        async with self._opened("GET", path, parameters, None, headers, limits, frozenset()) as response:
            yield self._lines(response)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _lines(self, response: httpx.Response) -> AsyncGenerator[str]:
        rest = ""
        try:
            async for text in response.aiter_text():
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    yield line.rstrip("\r")
                if len(rest) > _MAX_LINE_CHARACTERS:
                    logger.warning("%s: a line of a watch has more than %d characters", self.name, _MAX_LINE_CHARACTERS)
                    return
        except httpx.HTTPError as error:
            logger.info("%s: a watch broke off: %s", self.name, str(error) or type(error).__name__)

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        path: str,
        parameters: Parameters | None,
        content: bytes | None,
        headers: Mapping[str, str],
        limits: httpx.Timeout,
        accept: frozenset[int],
    ) -> AsyncGenerator[httpx.Response]:
        async with AsyncExitStack() as stack:
            try:
                opened = self._connections.open(
                    method,
                    path,
                    headers={**self._headers, **headers},
                    timeout=limits,
                    params=parameters,
                    content=content,
                )
                response = await stack.enter_async_context(opened)
            except httpx.HTTPError as error:
                raise self._away(error) from error
            except UnavailableError as error:
                self.failure = f"{self.name}: {error.message}"
                raise self._unavailable(self.failure) from error
            if not response.is_success and response.status_code not in accept:
                raise await self._refusal(response)
            self.failure = ""
            self._has_answered = True
            yield response

    def _away(self, error: httpx.HTTPError) -> EngineUnavailableError:
        hint = self._connections.hint(error)
        reason = hint or str(error) or type(error).__name__
        logger.warning("%s at %s cannot be reached: %s", self.name, self._connections.address, reason)
        self.failure = f"{self.name} cannot be reached by TLS: {hint}" if hint else f"{self.name} cannot be reached"
        return self._unavailable(self.failure, may_have_acted=not isinstance(error, _NOT_SENT))

    def _unavailable(self, reason: str, *, may_have_acted: bool = False) -> EngineUnavailableError:
        return EngineUnavailableError(reason, back_end=BackEnd(self.name), may_have_acted=may_have_acted)

    async def _refusal(self, response: httpx.Response) -> HearthError:
        try:
            await response.aread()
        except httpx.HTTPError as error:
            return self._away(error)
        status = response.status_code
        back_end = BackEnd(self.name, status)
        if status in _TRY_AGAIN or status >= _SERVER_ERROR:
            self._log(logging.WARNING, response)
            self.failure = f"{self.name} cannot do it now (status {status})"
            return EngineUnavailableError(
                self.failure,
                retry_after_s=_retry_after(response),
                back_end=back_end,
                may_have_acted=status in _MAY_HAVE_ACTED,
            )
        if status == _NOT_FOUND:
            # That nothing is there may be what was to be found out.
            self._log(logging.INFO, response)
            self.failure = ""
            return EngineNotFoundError(f"{self.name} has nothing of this name (status {status})", back_end=back_end)
        self._log(logging.ERROR, response, f"; look at {self._settings_for(status)}")
        text = f"{self.name} refuses what Hearth asks of it (status {status}); only the operator can mend that"
        # Else it answers, and this request is what it does not like.
        self.failure = f"{text}; look at {self._settings_for(status)}" if status in NOT_LET_IN else ""
        return UpstreamFailedError(text, retryable=False, back_end=back_end)

    def _log(self, level: int, response: httpx.Response, hint: str = "") -> None:
        url = response.request.url.copy_with(query=None, username=None, password=None)
        logger.log(
            level, "%s at %s answered %d: %s%s", self.name, url, response.status_code, self._message(response), hint
        )

    def _message(self, response: httpx.Response) -> str:
        """Return what the server says is wrong: Argo, Kubernetes and Kubeflow all put it under "message"."""
        try:
            message = cast("Json", read_json(response.content))["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text
        said = " ".join(self._connections.conceal(str(message)).split())
        return said[:_LOGGED_CHARACTERS] or response.reason_phrase

    def _settings_for(self, status: int) -> str:
        section = f"pipelines.{self.name}"
        if status in NOT_LET_IN:
            return f"{self._connections.access.token_place} and {section}.tls.certificate_file"
        return f"{section} and the pipeline's row in pipelines.table"

    def _object(self, response: httpx.Response) -> Json:
        try:
            decoded = read_json(response.content)
        except ValueError:
            decoded = None
        if not isinstance(decoded, dict):
            self._log(logging.WARNING, response)
            raise UpstreamFailedError(
                f"{self.name} did not answer with a JSON object",
                back_end=BackEnd(self.name, response.status_code),
            )
        return cast("Json", decoded)


def read_json(text: str | bytes) -> object:
    """Return what JSON holds.

    Raises:
        ValueError: It is none, or is nested deeper than can be read.
    """
    try:
        return cast("object", json.loads(text))
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def object_at(document: Json, name: str) -> Json:
    """Return the object under a name of another, an empty one where there is none."""
    found = document.get(name)
    return cast("Json", found) if isinstance(found, dict) else {}


def _retry_after(response: httpx.Response) -> float | None:
    seconds = retry_after_s(response.headers.get("Retry-After"))
    return None if seconds is None else min(seconds, _MAX_RETRY_AFTER_S)
