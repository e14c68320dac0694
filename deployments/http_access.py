"""Speaking to a server over HTTP as somebody: what model servers and workflow engines have in common.

Who we are stands in files and variables, which may change while we run: a secret is read for each request, and
connections are made anew once a certificate has changed. Neither is ever sent elsewhere: redirects are not followed.
"""

import asyncio
import base64
import logging
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from deployments.errors import UnavailableError
from deployments.values.access import AUTHORIZATION, ServerAccess, ServerUrl
from deployments.values.connections import KEEPALIVE

logger = logging.getLogger(__name__)

_REMEMBERED_SECRETS = 8
_CONCEALED = "…"

NOT_LET_IN = frozenset({401, 403})
"""What a server answers with that does not take us for somebody who may ask it."""


@dataclass(slots=True)
class _Generation:
    """A client made from the files as they were at one time, and how many requests use it."""

    stamp: tuple[object, ...]
    client: httpx.AsyncClient
    uses: int = 0


class _UnansweredError(httpx.ReadError):
    """A connection by TLS was closed without an answer, as servers do it that do not trust us."""


class HttpConnections:
    """The connections to one server.

    Args:
        url: Of the server; paths are added to it. A user and password in it are sent to it, and are in no message.
        access: Who we are, and how the server is known.
        limits: Of the pool of connections.
        usual: Makes what connections by TLS are made with where no authorities are given.
        transport: How requests travel; tests may give one of their own.

    Attributes:
        address: The URL without user and password, for logs and people.
        access: As given.
    """

    def __init__(
        self,
        url: str,
        access: ServerAccess,
        *,
        limits: httpx.Limits,
        usual: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = ServerUrl.parse(url)
        self.address = self._url.address
        self.access = access
        self._limits = limits
        self._usual = usual
        self._transport = transport
        self._sent: deque[str] = deque(maxlen=_REMEMBERED_SECRETS)
        self._generation: _Generation | None = None
        self._renewing = asyncio.Lock()

    @property
    def says_who_asks(self) -> bool:
        """Say whether the server is told who asks it."""
        return bool(self.access.token or self.access.tls.certificate_file or self._user_and_password())

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout,  # noqa: ASYNC109 - of HTTP, for each step
        **content: Any,
    ) -> AsyncGenerator[httpx.Response]:
        """Send a request and give the open response, whatever its status; leaving the context closes it.

        Args:
            method: Of HTTP.
            path: Behind the server's URL.
            headers: Besides the one that says who asks.
            timeout: Seconds of each step.
            content: What httpx makes the request from, such as `json`.

        Raises:
            UnavailableError: A secret or a certificate cannot be used; the message names its setting alone.
            httpx.HTTPError: There is no answer.
        """
        async with self._lent() as client:
            given = {**(headers or {}), **await self._identity()}
            # The certificate is checked for this name; the request goes to the host of the URL all the same.
            name = {"sni_hostname": self.access.tls.server_name} if self.access.tls.server_name else {}
            request = client.build_request(method, path, headers=given, timeout=timeout, extensions=name, **content)
            try:
                response = await client.send(request, stream=True)
            except ssl.SSLError as error:
                # httpx leaves this one as it is, with which a server says after the handshake that we are nobody.
                raise httpx.ReadError(tls_reason(error), request=request) from error
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
                # Or the server has closed the connection before what it said was read.
                if request.url.scheme != "https":
                    raise
                raise _UnansweredError(str(error), request=request) from error
            try:
                yield response
            finally:
                await response.aclose()

    async def close(self) -> None:
        """Close the connections."""
        if self._generation is not None:
            await self._generation.client.aclose()
            self._generation = None

    def hint(self, error: Exception) -> str:
        """Return what is wrong with TLS where that kept a response, with the setting to look at; else an empty text."""
        reason, setting = tls_reason(error), self.access.tls_setting
        if reason:
            return f"{reason}; look at {setting}"
        if isinstance(error, _UnansweredError):
            return f"closed without an answer; if the server asks for a certificate, look at {setting}"
        return ""

    def conceal(self, said: str) -> str:
        """Return what the server said without the secrets that it was sent: some quote what they refuse."""
        for secret in self._sent:
            said = said.replace(secret, _CONCEALED)
        return said

    def _remember(self, *secrets: str) -> None:
        self._sent.extend(secret for secret in secrets if secret and secret not in self._sent)

    async def _identity(self) -> dict[str, str]:
        """Return the header that says who asks, as the file or the variable has it now."""
        headers: dict[str, str] = {}
        if given := self._user_and_password():
            encoded = base64.b64encode(given.encode()).decode()
            headers[AUTHORIZATION] = f"Basic {encoded}"
            self._remember(encoded, self._url.password or self._url.user)
        access = self.access
        try:
            # A file may be on a disk that is slow; a variable is at hand.
            value = await asyncio.to_thread(access.header_value) if access.token.file else access.header_value()
        except UnavailableError as error:
            logger.warning("%s at %s: %s", error.message, self.address, access.token)
            raise
        self._remember(value.rpartition(" ")[2])
        return {**headers, access.header: value} if value else headers

    def _user_and_password(self) -> str:
        url = self._url
        return f"{url.user}:{url.password}" if url.user or url.password else ""

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[httpx.AsyncClient]:
        """Give a client made from the files as they are now; one of older files is closed after its last use."""
        generation = await self._current()
        generation.uses += 1
        try:
            yield generation.client
        finally:
            generation.uses -= 1
            if generation is not self._generation and not generation.uses:
                await generation.client.aclose()

    async def _current(self) -> _Generation:
        async with self._renewing:
            tls = self.access.tls
            stamp = await asyncio.to_thread(tls.stamp) if tls else ()
            if self._generation is None or self._generation.stamp != stamp:
                await self._replace(_Generation(stamp, await self._client()))
            return cast("_Generation", self._generation)

    async def _replace(self, generation: _Generation) -> None:
        old, self._generation = self._generation, generation
        if old is not None and not old.uses:
            await old.client.aclose()

    def _lasting_transport(self, context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=context, limits=self._limits, socket_options=KEEPALIVE)

    async def _client(self) -> httpx.AsyncClient:
        try:
            context = await asyncio.to_thread(self.access.tls_context, self._usual)
        except UnavailableError as error:
            logger.warning("%s: %s", error.message, error.__cause__)
            raise
        return httpx.AsyncClient(
            base_url=self._url.address,
            verify=context,
            limits=self._limits,
            transport=self._transport,
            # Mounted and not given as the one transport, which would put proxies of the environment out of use.
            mounts=None if self._transport else {"all://": self._lasting_transport(context)},
            follow_redirects=False,
        )


def tls_reason(error: BaseException) -> str:
    """Return what is wrong with TLS, such as "CERTIFICATE_VERIFY_FAILED"; empty where something else is wrong."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"{found.reason}: {found.verify_message}"
        if isinstance(found, ssl.SSLError):
            return str(found.reason or "TLS failed")
        found = found.__cause__ or found.__context__
    return ""
