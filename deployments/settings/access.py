"""Settings of who Hearth is to the NATS server."""

from typing import Self

from pydantic import model_validator

from deployments.settings.base import Settings
from deployments.values.access import NatsAccess, Secret, Tls


class TlsSettings(Settings):
    """How a server is known, and we to it. Every file is read again for each connection.

    Attributes:
        ca_file: The authorities that the server's certificate is checked with, in PEM; empty for the system's.
        certificate_file: A client certificate with its chain, in PEM; empty for none.
        key_file: Its key, where it is not in the same file.
        server_name: That the server's certificate has to have; empty for the host of the URL.
    """

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""

    @model_validator(mode="after")
    def _a_key_has_a_certificate(self) -> Self:
        if self.key_file and not self.certificate_file:
            raise ValueError("key_file is the key of certificate_file, which is missing")
        return self

    def access(self) -> Tls:
        """Return the same for those that connect."""
        return Tls(self.ca_file, self.certificate_file, self.key_file, self.server_name)


class NatsAccessSettings(Settings):
    """Who connects to NATS: one of four ways, each out of a file or an environment variable.

    Files and variables are read at each connection. A user and password in the URL hold where nothing is given here.

    Attributes:
        credentials_file: A JWT with its seed, as `nsc generate creds` writes them. `NATS_CREDS` overrides it.
        credentials_variable: Variable that holds the same.
        nkey_file: The seed of an nkey. `NATS_NKEY` overrides it.
        nkey_variable: Variable that holds it.
        user: `NATS_USER` overrides it, and its password is then in `NATS_PASSWORD`.
        password_file: Of the user.
        password_variable: Variable that holds it.
        token_file: A token.
        token_variable: Variable that holds it. `NATS_TOKEN` is one, and overrides what is given here.
        tls: How the server is known. Where any of it is given, a server without TLS is refused.
    """

    credentials_file: str = ""
    credentials_variable: str = ""
    nkey_file: str = ""
    nkey_variable: str = ""
    user: str = ""
    password_file: str = ""
    password_variable: str = ""
    token_file: str = ""
    token_variable: str = ""
    tls: TlsSettings = TlsSettings()

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        for name in ("credentials", "nkey", "password", "token"):
            if getattr(self, f"{name}_file") and getattr(self, f"{name}_variable"):
                raise ValueError(f"{name}_file and {name}_variable are both given: expected one of them")
        access = self.access()
        if len(access.ways) > 1:
            raise ValueError(f"{' and '.join(access.ways)} are given: expected one of them")
        if bool(access.user) != bool(access.password):
            raise ValueError("user and its password go together: expected password_file or password_variable")
        return self

    def access(self) -> NatsAccess:
        """Return the same for those that connect."""
        return NatsAccess(
            credentials=Secret(self.credentials_file, self.credentials_variable),
            nkey=Secret(self.nkey_file, self.nkey_variable),
            user=self.user,
            password=Secret(self.password_file, self.password_variable),
            token=Secret(self.token_file, self.token_variable),
            tls=self.tls.access(),
        )
