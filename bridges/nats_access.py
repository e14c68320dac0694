"""Connecting to a NATS server as somebody: what the replicas' connection and the command line's have in common."""

import asyncio
import base64
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import nats.errors
import nkeys
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from deployments.errors import UnavailableError
from deployments.values.access import NatsAccess, Secret

T = TypeVar("T")

_JWT = "NATS USER JWT"
_SEED = "USER NKEY SEED"
_SCHEMES = {"nats", "tls", "ws", "wss"}
_CLOSE_S = 2.0
_NO_URL = (
    "that is not the URL of a NATS server, such as nats://host:4222. In a password, percent-encode what is no letter "
    "and no digit: a comma is %2C. Of several servers, separated by commas, each with a user or token begins with nats://"
)
_LOGIN_REFUSED = ("authoriz", "authentic", "expired", "revoked")
_VIOLATION = re.compile(
    r'permissions violation for (subscription|publish)(?: to| with reply of) "(.+?)"', re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Violation:
    """What the server refused.

    Attributes:
        subject: In small letters, as nats-py gives it.
        is_subscription: Whether it was a subscription; else a message.
    """

    subject: str
    is_subscription: bool


def violation_of(error: Exception) -> Violation | None:
    """Return what the server refused; None where an error is another one."""
    found = _VIOLATION.search(str(error))
    return Violation(found[2].lower(), is_subscription=found[1].lower() == "subscription") if found else None


def named(violation: Violation, subjects: Iterable[str]) -> str:
    """Return the subject that was refused as it is written among others, else in small letters."""
    return next((one for one in subjects if one.lower() == violation.subject), violation.subject)


class AccessClient(Client):
    """A NATS client that says who it is with what stands in files and variables at the moment in which it connects.

    Where access says how the server is known, or its URL begins with "tls://", a server without TLS is refused before
    it is told anything. A secret, or a certificate, that cannot be read is a failed attempt to connect like any other.
    So is a server that says what no NATS server does.

    nats-py ends its reading, for good and without a word, over the PONG of a flush that nobody waits for any more,
    because its time was over or its task was cancelled; here such a PONG is nothing special.

    Args:
        access: Who connects.
    """

    def __init__(self, access: NatsAccess | None = None) -> None:
        super().__init__()
        self._access = access or NatsAccess()

    async def connect_to(self, url: str, **options: Any) -> None:
        """Connect to a server, or to one of several separated by commas, with the options of `nats.connect`.

        Raises:
            nats.errors.Error: As `nats.connect` does, or the URL is none.
        """
        if not are_server_urls(url):
            # Here, because nats-py's error would carry a part of what may be a password.
            raise nats.errors.Error(_NO_URL)
        try:
            await self.connect(url.split(","), **self._identity(), **options)
        except (OSError, nats.errors.Error):
            # nats-py leaves the socket open over which it was refused.
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection; where the server does not let go of it in time, it is cut off."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await super().close()
        except TimeoutError:
            self._cut_off()

    @property
    def given_up_over(self) -> str:
        """Why a connection that was lost is sought no more, of which nats-py tells nobody; empty where it is not so."""
        seeking = self._reconnection_task
        if seeking is None or not seeking.done() or self.is_connected or self.is_closed:
            return ""
        error = None if seeking.cancelled() else seeking.exception()
        return type(error).__name__

    @property
    def offers_jetstream(self) -> bool:
        """Whether the server has JetStream, by its own word: to ask what it keeps would need a right."""
        return bool(self._server_info.get("jetstream"))

    @property
    def subscribed(self) -> list[str]:
        """The subjects that are subscribed to."""
        return [subscription.subject for subscription in self._subs.values()]

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """What the next connection by TLS is made with."""
        return _or_nats_error(self._access.tls.context)

    def _identity(self) -> dict[str, Any]:
        access = self._access
        hostname = {"tls_hostname": access.tls.server_name} if access.tls.server_name else {}
        if access.credentials:
            return {**hostname, "user_jwt_cb": self._jwt, "signature_cb": self._signed_by_credentials}
        if access.nkey:
            return {**hostname, "signature_cb": self._signed_by_nkey}
        if access.user:
            return {**hostname, "user": access.user, "password": lambda: _read(access.password)}
        if access.token:
            return {**hostname, "token": lambda: _read(access.token)}
        return hostname

    def _jwt(self) -> bytes:
        return _section(self._access.credentials, _JWT).encode()

    def _signed_by_credentials(self, nonce: str) -> bytes:
        return _signed(nonce, _section(self._access.credentials, _SEED), self._access.credentials)[0]

    def _signed_by_nkey(self, nonce: str) -> bytes:
        signature, public_key = _signed(nonce, _read(self._access.nkey), self._access.nkey)
        # nats-py reads a file of its own once, and would go on to name the key that was in it then.
        self._public_nkey = public_key
        return signature

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
            self._ask_for_pong()
        except (OSError, nats.errors.Error, asyncio.CancelledError):
            self._cut_off()
            raise
        except Exception as error:
            # nats-py would end its attempts, for good and without a word, over another kind of error.
            self._cut_off()
            self._server_info = {}
            raise nats.errors.Error(f"the server does not speak as NATS does ({type(error).__name__})") from error

    def _ask_for_pong(self) -> None:
        """Refuse what nats-py would wait with for ever: another answer to the first PING."""
        if not self.is_connected:
            raise nats.errors.Error("the server did not answer the first PING")

    def _cut_off(self) -> None:
        """End the connection without a farewell.

        Where TLS could not be agreed upon, nats-py would wait for ever for the end of what is closed already, and never
        try again.
        """
        for name in ("_reading_task", "_ping_interval_task", "_flusher_task"):
            working: asyncio.Task[None] | None = getattr(self, name)
            if working is not None:
                working.cancel()
        transport, self._transport = self._transport, None
        # To close it would wait for the server's farewell; nats-py has no name for what does not.
        writer = transport._io_writer if isinstance(transport, TcpTransport) else None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if writer is not None:
            writer.transport.abort()
        elif transport is not None:
            transport.close()

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            if not isinstance(info.get("max_payload", 0), int):
                raise nats.errors.Error("the server's limit of a message, max_payload, is no number")
            self._ask_for_tls(info)
        await super()._process_info(info, initial_connection)

    def _ask_for_tls(self, info: dict[str, Any]) -> None:
        """Have nats-py, which encrypts where the server requires it, do so where we do."""
        scheme = self._current_server.uri.scheme if self._current_server else ""
        if scheme == "wss" or not (self._access.tls or scheme == "tls"):
            return
        if scheme == "ws" or not (info.get("tls_required") or info.get("tls_available")):
            raise nats.errors.Error("the server offers no TLS, which its address or the settings of access ask for")
        info["tls_required"] = True


def are_server_urls(url: str) -> bool:
    """Say whether something is the URL of a NATS server, or of several separated by commas.

    A host with or without a port is one, too. Behind a comma, a user or token without a scheme may as well be the rest
    of a password: such a URL is none.
    """
    first, *others = url.split(",")
    return all(_is_server_url(server) for server in (first, *others)) and not any(
        "@" in other and "://" not in other for other in others
    )


def _is_server_url(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        is_one = bool(parts.hostname) and parts.scheme in _SCHEMES and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    # A password that is not encoded may move the host behind a slash.
    return is_one and "@" not in parts.path + parts.query + parts.fragment


def is_login_refused(error: Exception | str) -> bool:
    """Say whether an error is the server's word that it does not know who connects, or knows them no more."""
    text = str(error).lower()
    return any(part in text for part in _LOGIN_REFUSED)


def _signed(nonce: str, seed: str, place: Secret) -> tuple[bytes, str]:
    """Return the signature of a nonce in base 64, and the public key that it is checked with."""
    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))
        signed = base64.b64encode(pair.sign(nonce.encode()))
        # Bytes, whatever its hint says.
        public_key = bytes(cast("Any", pair).public_key).decode()
    except (nkeys.NkeysError, ValueError) as error:
        # What was wrong with it may say what it was.
        raise nats.errors.Error(f"{place} holds no seed of an nkey ({type(error).__name__})") from None
    pair.wipe()
    return signed, public_key


def _section(place: Secret, name: str) -> str:
    """Return what stands in a credentials file between the marks of a section."""
    lines = [line.strip() for line in _read(place).splitlines()]
    for at, line in enumerate(lines[:-1]):
        if f"BEGIN {name}" in line:
            return lines[at + 1]
    raise nats.errors.Error(f"{place} holds no {name}: it is no credentials file")


def _read(place: Secret) -> str:
    return _or_nats_error(place.read)


def _or_nats_error(read: Callable[[], T]) -> T:
    """Return what is read; where it cannot be, nats-py takes its own kind of error for a failed attempt."""
    try:
        return read()
    except UnavailableError as error:
        raise nats.errors.Error(error.message) from error
