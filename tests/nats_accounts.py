"""Keys and signed claims of NATS, as an operator makes them with `nsc`."""

import base64
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nkeys


@dataclass(frozen=True)
class Key:
    """An nkey.

    Attributes:
        seed: To sign with.
        public: To be known by.
    """

    seed: str
    public: str

    def sign(self, text: str) -> bytes:
        return nkeys.from_seed(bytearray(self.seed.encode())).sign(text.encode())


def new_key(prefix: int = nkeys.PREFIX_BYTE_USER) -> Key:
    seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
    public: Any = nkeys.from_seed(bytearray(seed)).public_key
    return Key(bytes(seed).decode(), bytes(public).decode())


def signed(issuer: Key, subject: Key, claims: Mapping[str, Any], *, lifetime_s: float | None = None) -> str:
    """Return a JWT that says something of a key."""
    body = {
        "jti": base64.b32encode(os.urandom(16)).decode().rstrip("="),
        "iat": int(time.time()),
        "iss": issuer.public,
        "sub": subject.public,
        "name": "test",
        "nats": {"version": 2, **claims},
    }
    if lifetime_s is not None:
        body["exp"] = int(time.time() + lifetime_s)
    head = f"{_encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encoded(body)}"
    return f"{head}.{base64.urlsafe_b64encode(issuer.sign(head)).decode().rstrip('=')}"


def _encoded(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


class Operator:
    """An operator with one account."""

    def __init__(self) -> None:
        self._key = new_key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = new_key(nkeys.PREFIX_BYTE_ACCOUNT)

    def configuration(self) -> str:
        """Return what a server is configured with."""
        unlimited = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        limits = {**unlimited, "wildcards": True, "mem_storage": -1, "disk_storage": -1}
        account = signed(self._key, self._account, {"type": "account", "limits": limits})
        operator = signed(self._key, self._key, {"type": "operator"})
        return f"operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {self._account.public}: {account} }}\n"

    def credentials(self, claims: Mapping[str, Any] | None = None, *, lifetime_s: float | None = None) -> str:
        """Return a credentials file for a user of the account, who may do what the claims say."""
        user = new_key()
        unlimited = {"subs": -1, "data": -1, "payload": -1}
        given = {"type": "user", "pub": {}, "sub": {}, **unlimited, **(claims or {})}
        jwt = signed(self._account, user, given, lifetime_s=lifetime_s)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
