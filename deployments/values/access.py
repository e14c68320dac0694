"""Who Hearth is to a server, and how it knows the server: secrets by where they are, never by what they are."""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from deployments.errors import UnavailableError

_IN_A_HEADER = re.compile(r"[!-~]+")
_WITH_ITS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]* [!-~]+")
_SCHEME = re.compile(r"(?:nats|tls|wss?|https?|tcp|unix|file)://", re.IGNORECASE)
_HOST = re.compile(
    rf"(?:{_SCHEME.pattern})?(?:[\w.-]*|\[[\da-f:.%]+\])(?::\d*)?(?:/(?!/).*)?", re.IGNORECASE | re.DOTALL
)
_HIDDEN = "…"
_USERINFO = re.compile(r"(?:\w+:)?//.*@", re.DOTALL)
_QUERY = re.compile(r"(//[^\s?]*)\?.*", re.DOTALL)
AUTHORIZATION = "Authorization"
"""The header that a secret is sent in, unless a server wants another."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is. It is read when it is needed, so that a new one holds from the next connection on.

    Attributes:
        file: That holds it; empty for none.
        variable: Environment variable that holds it, where no file does; empty for none.
    """

    file: str = ""
    variable: str = ""

    def __bool__(self) -> bool:
        return bool(self.file or self.variable)

    def __str__(self) -> str:
        """Return the place, for messages."""
        return self.file or f"the environment variable {self.variable}"

    def read(self, setting: str = "") -> str:
        """Return the secret as it is now, without white space around it.

        Args:
            setting: That the message names; empty for the place itself.

        Raises:
            UnavailableError: It is not there, or empty; the message never has the secret.
        """
        try:
            found = Path(self.file).read_text(encoding="utf-8") if self.file else os.environ.get(self.variable, "")
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            raise UnavailableError(f"{setting or self} cannot be read: {reason}") from None
        if not found.strip():
            raise UnavailableError(f"{setting or self} is empty")
        return found.strip()


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server's certificate is checked, and our own. The files are read for each connection.

    Attributes:
        ca_file: The authorities that the server's certificate is checked with, in PEM; empty for the system's.
        certificate_file: A client certificate with its chain, in PEM; empty for none.
        key_file: Its key, where it is not in the same file.
        server_name: That the server's certificate has to have; empty for the host of the address.
        verify: Whether it is checked.
    """

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""
    verify: bool = True

    def __bool__(self) -> bool:
        return bool(self.ca_file or self.certificate_file or self.server_name or not self.verify)

    def stamp(self) -> tuple[object, ...]:
        """Return what is another one once a file has changed, be it by another one in its place."""
        return tuple(_stamp_of(file) for file in (self.ca_file, self.certificate_file, self.key_file) if file)

    def context(self, usual: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> ssl.SSLContext:
        """Return what a connection is made with.

        Args:
            usual: Makes one that trusts the usual authorities, for where no others are given.

        Raises:
            UnavailableError: A file cannot be read or used; the message names it.
        """
        files = {name: file for name in ("ca_file", "certificate_file", "key_file") if (file := getattr(self, name))}
        for name, file in files.items():
            if not os.access(file, os.R_OK):
                raise UnavailableError(f"tls.{name} {file} cannot be read")
        try:
            context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else usual()
            if self.certificate_file:
                # A key that asks for a passphrase would wait for somebody at the terminal.
                context.load_cert_chain(self.certificate_file, self.key_file or None, password="")
        except (OSError, ssl.SSLError) as error:
            places = " and ".join(files.values())
            raise UnavailableError(f"{places} cannot be used for TLS: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a server is, and who we are to it as far as the URL says that.

    Attributes:
        address: The URL without user and password, as it may be shown.
        user: As it is sent; empty for none.
        password: The same.
    """

    address: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the parts of a URL.

        >>> ServerUrl.parse("https://ada:s%40fe@models.example:8443/v1")
        ServerUrl(address='https://models.example:8443/v1')

        Raises:
            ValueError: It is none. The message does not quote it, for it may have a password.
        """
        if not _is_url(url):
            raise ValueError("expected a URL with a host; a user and password in it are percent-encoded")
        parts = urlsplit(url)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return cls(address, unquote(parts.username or ""), unquote(parts.password or ""))


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.scheme and parts.hostname) and parts.port != 0
    except ValueError:
        return False
    # A password that is not encoded may move the host behind a slash.
    behind = parts.path + parts.query + parts.fragment
    return has_host and "@" not in behind and not re.search(r"[\s\x00-\x1f\x7f]", url)


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Who we are to a server that asks for one secret, and how we know it.

    Attributes:
        token: The secret. A variable that is not set stands for none, unless `is_needed`.
        tls: How the server is known.
        header: That the secret is sent in over HTTP. In `Authorization` it is a bearer token, unless it begins with
            another scheme, such as "Basic ".
        setting: The name of its settings without "_file" and "_variable", for messages, such as "engine.api_key".
        tls_setting: The name of the settings of `tls`, for messages.
        url_setting: The name of the setting with the URL, for messages.
        is_needed: Whether a variable that is not set is an error.
    """

    token: Secret = Secret()
    tls: Tls = Tls()
    header: str = AUTHORIZATION
    setting: str = "token"
    tls_setting: str = "tls"
    url_setting: str = "url"
    is_needed: bool = False

    @property
    def token_setting(self) -> str:
        """Return which setting names the place of the secret, or could."""
        if not self.token:
            return f"{self.setting}_file or {self.setting}_variable"
        return f"{self.setting}_file" if self.token.file else f"{self.setting}_variable"

    @property
    def token_place(self) -> str:
        """Return the same with the place itself, for the operator."""
        place = self.token.file or self.token.variable
        return f"{self.token_setting} ({place})" if place else self.token_setting

    def current_token(self) -> str:
        """Return the secret as it is now, empty where there is none.

        Raises:
            UnavailableError: It cannot be read; the message names the setting alone.
        """
        if self.token.file or self.is_needed:
            return self.token.read(self.token_setting) if self.token else ""
        return os.environ.get(self.token.variable, "").strip()

    def header_value(self) -> str:
        """Return the secret as it is now and as it is sent in `header`, empty where there is none.

        Raises:
            UnavailableError: It cannot be read, or not be sent; the message names the setting alone.
        """
        token = self.current_token()
        if not token:
            return ""
        is_authorization = self.header.lower() == AUTHORIZATION.lower()
        if is_authorization and _WITH_ITS_SCHEME.fullmatch(token):
            return token
        if not _IN_A_HEADER.fullmatch(token):
            raise UnavailableError(
                f"{self.token_setting} holds what no header can: a line break, a space, or a character beyond ASCII"
            )
        return f"Bearer {token}" if is_authorization else token

    def tls_context(self, usual: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> ssl.SSLContext:
        """Return what a connection by TLS is made with; see `Tls.context`.

        Raises:
            UnavailableError: A file cannot be used. The message names the settings alone, its cause the file.
        """
        try:
            return self.tls.context(usual)
        except UnavailableError as error:
            raise UnavailableError(f"a certificate of {self.tls_setting} cannot be used") from error

    def stamp(self) -> tuple[object, ...]:
        """Return what is another one once the secret or a file has changed."""
        secret = _stamp_of(self.token.file) if self.token.file else os.environ.get(self.token.variable, "")
        return (secret, *self.tls.stamp())


def _stamp_of(file: str) -> tuple[int, ...]:
    """Return what tells a file from the one that was there before, also where a symbolic link leads elsewhere now."""
    try:
        found = Path(file).stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ino, found.st_size)


NATS_ACCESS_VARIABLES = (
    *("NATS_CREDS", "NATS_NKEY", "NATS_USER", "NATS_PASSWORD", "NATS_TOKEN"),
    *("NATS_CA", "NATS_CERT", "NATS_KEY"),
)
"""The environment variables that say who connects, as the `nats` command has them, too."""


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """How the NATS server is told who connects: in one of four ways, or not at all.

    A user and password inside the server's URL hold where none of them is given.

    Attributes:
        credentials: A JWT with its seed, as `nsc generate creds` writes them.
        nkey: The seed of an nkey.
        user: With
        password: its password.
        token: A token.
        tls: How the server is known. Where it is given, a server without TLS is refused.
    """

    credentials: Secret = Secret()
    nkey: Secret = Secret()
    user: str = ""
    password: Secret = Secret()
    token: Secret = Secret()
    tls: Tls = Tls()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Return what the variables say that the `nats` command reads, too."""
        return cls(
            credentials=Secret(file=environment.get("NATS_CREDS", "")),
            nkey=Secret(file=environment.get("NATS_NKEY", "")),
            user=environment.get("NATS_USER", ""),
            password=Secret(variable="NATS_PASSWORD") if environment.get("NATS_USER") else Secret(),
            token=Secret(variable="NATS_TOKEN") if environment.get("NATS_TOKEN") else Secret(),
            tls=Tls(environment.get("NATS_CA", ""), environment.get("NATS_CERT", ""), environment.get("NATS_KEY", "")),
        )

    @property
    def ways(self) -> tuple[str, ...]:
        """Return in which ways the server is told who connects; one at most makes sense."""
        given = {"credentials": self.credentials, "nkey": self.nkey, "user": self.user, "token": self.token}
        return tuple(name for name, is_given in given.items() if is_given)


def without_credentials(url: str) -> str:
    """Return the URLs of servers, separated by commas, without users, passwords, tokens and queries.

    Of what may be a part of a password, nothing is shown: neither what stands before the last "@", be it another
    server, nor a port that is no number.

    >>> without_credentials("nats://hearth:p@ss/w,ord@one:4222,two")
    'nats://one:4222,two'
    """
    before, at, servers = url.rpartition("@")
    scheme = _SCHEME.match(url)
    if at and re.search(r"[?#]", before):
        # A query with an "@", or a password with a "?".
        servers = _HIDDEN
    shown = ",".join(_shown(server) for server in re.split(r"[?#]", servers)[0].split(","))
    return f"{scheme[0]}{shown}" if at and scheme else shown


def _shown(server: str) -> str:
    return server if _HOST.fullmatch(server) else f"{scheme[0] if (scheme := _SCHEME.match(server)) else ''}{_HIDDEN}"


def text_without_credentials(text: str) -> str:
    """Return a text, such as an error, without what may be a credential in a URL that it quotes.

    >>> text_without_credentials("no answer of nats://hearth:p ss@one?token=x, nor of anybody")
    'no answer of //one?…'
    """
    return _QUERY.sub(rf"\1?{_HIDDEN}", _USERINFO.sub("//", text))
