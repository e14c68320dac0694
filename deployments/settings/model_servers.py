"""Settings of a model server over HTTP: where it is, and who we are to it."""

import re
from collections.abc import Iterable
from typing import Any, Self

from pydantic import field_validator, model_validator

from deployments.settings.access import TlsSettings
from deployments.settings.base import Settings
from deployments.values.access import AUTHORIZATION, Secret, ServerAccess, ServerUrl

_SCHEMES = ("http", "https")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_HTTP_ITSELF = {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept"}


class ModelServerSettings(Settings):
    """A model server over HTTP. Its files are read again when they change, the API key for each request.

    Attributes:
        base_url: Of the server. A user and password in it, percent-encoded, are sent to it and shown nowhere.
        api_key_variable: Environment variable that holds the API key, where the server asks for one.
        api_key_file: File that holds it instead.
        api_key_header: Header that it is sent in. In `Authorization` it is a bearer token, unless it begins with
            another scheme, such as "Basic ".
        tls: How the server is known, and who we are to it.
    """

    base_url: str
    api_key_variable: str = ""
    api_key_file: str = ""
    api_key_header: str = AUTHORIZATION
    tls: TlsSettings = TlsSettings()

    @field_validator("base_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        found = ServerUrl.parse(url)
        if not found.address.lower().startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
            raise ValueError("expected http:// or https:// and a host")
        if "?" in url or "#" in url:
            raise ValueError("expected nothing behind the path")
        return url

    @field_validator("api_key_header")
    @classmethod
    def _is_a_header(cls, name: str) -> str:
        if not _HEADER.fullmatch(name) or name.lower() in _OF_HTTP_ITSELF:
            raise ValueError("expected the name of a header that HTTP has no other use for, such as x-api-key")
        return name

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if self.api_key_file and self.api_key_variable:
            raise ValueError("api_key_file and api_key_variable are both given: expected one of them")
        has_key = bool(self.api_key_file or self.api_key_variable)
        if has_key and self.api_key_header.lower() == AUTHORIZATION.lower() and ServerUrl.parse(self.base_url).user:
            raise ValueError("an API key and a user in base_url are both given: expected one of them")
        if self.tls.access() and not self.base_url.lower().startswith("https://"):
            raise ValueError("tls is given, and base_url is not https://")
        return self

    def access(self) -> ServerAccess:
        """Return the same for those that connect."""
        return ServerAccess(
            Secret(self.api_key_file, self.api_key_variable),
            self.tls.access(),
            header=self.api_key_header,
            setting="engine.api_key",
            tls_setting="engine.tls",
            url_setting="engine.base_url",
            is_needed=True,
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        shown = {"base_url": ServerUrl.parse(self.base_url).address}
        return [(name, shown.get(name or "", value)) for name, value in super().__repr_args__()]
