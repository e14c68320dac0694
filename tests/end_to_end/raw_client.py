"""A NATS client with nothing of Python's NATS or protobuf libraries in it: a socket, text lines, bytes.

It stands for the clients in other languages: what they know is the NATS protocol, the contract's subjects and the
contract's field numbers.
"""

import json
import socket
import struct
from types import TracebackType
from typing import Self
from urllib.parse import urlparse

from tests.contract.contract import FIRST_NUMBER_OF_OUR_OWN, fields_of
from tests.contract.wire import Value, encode

_DEADLINE_S = 60.0


class RawClient:
    """One connection. Subscriptions are numbered in the order in which they are made, from 1."""

    def __init__(self, url: str) -> None:
        server = urlparse(url)
        self._socket = socket.create_connection((server.hostname, server.port or 4222), timeout=_DEADLINE_S)
        self._lines = self._socket.makefile("rb")
        self.info = json.loads(self._lines.readline().split(b" ", 1)[1])
        who = {"user": server.username, "pass": server.password} if server.username else {}
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, **who}
        self._send(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        self._until(b"PONG")
        self._subscriptions = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def subscribe(self, subject: str) -> None:
        self._subscriptions += 1
        self._send(f"SUB {subject} {self._subscriptions}\r\nPING\r\n".encode())
        self._until(b"PONG")

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        head = f"PUB {subject} {reply} {len(payload)}" if reply else f"PUB {subject} {len(payload)}"
        self._send(head.encode() + b"\r\n" + payload + b"\r\n")

    def next(self) -> tuple[str, bytes]:
        """Return the subject and the payload of the next message; of a message with headers, they are left out."""
        while True:
            words = self._lines.readline().decode().split()
            if not words:
                raise ConnectionError("the server closed the connection")
            match words[0].upper():
                case "MSG":
                    return words[1], self._payload(int(words[-1]))
                case "HMSG":
                    return words[1], self._payload(int(words[-1]))[int(words[-2]) :]
                case "PING":
                    self._send(b"PONG\r\n")
                case "-ERR":
                    raise ConnectionError(" ".join(words))
                case _:
                    continue

    def _payload(self, size: int) -> bytes:
        payload = self._lines.read(size)
        self._lines.read(2)
        return payload

    def _until(self, word: bytes) -> None:
        while not self._lines.readline().startswith(word):
            pass

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)


def encode_request(message: str, **values: Value) -> bytes:
    """Return a message of the contract in bytes."""
    return encode(message, values)


def decode(message: str, payload: bytes) -> dict[str, object]:
    """Read a message of the contract by its field numbers; fields that are not there have no entry.

    Numbers of Hearth's own are skipped, as every reader of protobuf skips what it does not know.
    """
    kinds = {number: (name, kind) for name, number, kind in fields_of(message)}
    values: dict[str, object] = {}
    at = 0
    while at < len(payload):
        tag, at = _varint(payload, at)
        value, at = _value(payload, at, tag & 7)
        if tag >> 3 >= FIRST_NUMBER_OF_OUR_OWN:
            continue
        name, kind = kinds[tag >> 3]
        if isinstance(value, bytes) and "string" in kind:
            value = value.decode()
        if kind == "bool":
            value = bool(value)
        if kind.startswith("repeated "):
            entries = values.setdefault(name, [])
            assert isinstance(entries, list)
            entries.append(value)
        else:
            values[name] = value
    return values


def _value(payload: bytes, at: int, wire_type: int) -> tuple[object, int]:
    match wire_type:
        case 0:
            return _varint(payload, at)
        case 1:
            return struct.unpack_from("<d", payload, at)[0], at + 8
        case 2:
            size, at = _varint(payload, at)
            return payload[at : at + size], at + size
        case _:
            raise ValueError(f"wire type {wire_type} is not in the contract")


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
