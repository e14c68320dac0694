"""Who Hearth is to a server, and how it knows the server: secrets by where they are, never by what they are."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deployments.errors import UnavailableError


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

    def read(self) -> str:
        """Return the secret as it is now, without white space around it.

        Raises:
            UnavailableError: It is not there, or empty; the message names the place alone.
        """
        try:
            found = Path(self.file).read_text(encoding="utf-8") if self.file else os.environ.get(self.variable, "")
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            raise UnavailableError(f"{self} cannot be read: {reason}") from None
        if not found.strip():
            raise UnavailableError(f"{self} is empty")
        return found.strip()


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server's certificate is checked, and our own. The files are read for each connection.

    Attributes:
        ca_file: The authorities that the server's certificate is checked with, in PEM; empty for the system's.
        certificate_file: A client certificate with its chain, in PEM; empty for none.
        key_file: Its key, where it is not in the same file.
        server_name: That the server's certificate has to have; empty for the host of the address.
    """

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""

    def __bool__(self) -> bool:
        return bool(self.ca_file or self.certificate_file or self.server_name)

    def context(self) -> ssl.SSLContext:
        """Return what a connection is made with.

        Raises:
            UnavailableError: A file cannot be read or used; the message names it.
        """
        files = {name: file for name in ("ca_file", "certificate_file", "key_file") if (file := getattr(self, name))}
        for name, file in files.items():
            if not os.access(file, os.R_OK):
                raise UnavailableError(f"tls.{name} {file} cannot be read")
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.certificate_file:
                # A key that asks for a passphrase would wait for somebody at the terminal.
                context.load_cert_chain(self.certificate_file, self.key_file or None, password="")
        except (OSError, ssl.SSLError) as error:
            places = " and ".join(files.values())
            raise UnavailableError(f"{places} cannot be used for TLS: {error}") from error
        return context


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """Who we are to a server that asks for one secret, and how we know it.

    Attributes:
        token: The secret. A variable that is not set stands for none.
        tls: How the server is known.
    """

    token: Secret = Secret()
    tls: Tls = Tls()

    def current_token(self) -> str:
        """Return the secret as it is now, empty where there is none.

        Raises:
            UnavailableError: Its file cannot be read.
        """
        return self.token.read() if self.token.file else os.environ.get(self.token.variable, "")

    def stamp(self) -> tuple[object, ...]:
        """Return what is another one once the secret or a file has changed.

        Raises:
            UnavailableError: The file of the secret cannot be read.
        """
        files = (self.tls.ca_file, self.tls.certificate_file, self.tls.key_file)
        return (self.current_token(), *(_changed_at(file) for file in files if file))


def _changed_at(file: str) -> int:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return 0


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
    """Return the URLs of servers, separated by commas, without users, passwords and tokens.

    >>> without_credentials("nats://hearth:p@ss/word@one:4222,token@two")
    'nats://one:4222,two'
    """
    return ",".join(_without_credentials(one) for one in url.split(","))


def _without_credentials(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
