"""A protobuf encoder of a few lines, written from the published encoding and sharing nothing with protobuf's own.

It writes what a client in any language would put on the wire, so that the generated modules are held against
something that they did not make themselves.
"""

import struct

from tests.contract.contract import FIELDS, fields_of

Value = str | bytes | bool | int | float | dict[str, "Value"] | list["Value"]

_VARINT, _FIXED64, _LENGTH_DELIMITED = 0, 1, 2


def encode(message: str, values: dict[str, Value]) -> bytes:
    """Return a message of the contract on the wire, its fields in the order of their numbers."""
    return b"".join(_field(number, kind, values[name]) for name, number, kind in fields_of(message) if name in values)


def _field(number: int, kind: str, value: Value) -> bytes:
    match value:
        case dict() if kind.startswith("map<"):
            entries = (_field(1, "string", key) + _field(2, "string", entry) for key, entry in value.items())
            encoded = b"".join(_delimited(number, entry) for entry in entries)
        case list():
            encoded = b"".join(_field(number, kind.removeprefix("repeated "), entry) for entry in value)
        case bool() | int() if kind in {"bool", "int32", "int64"}:
            # Negative numbers travel as 64 bits of two's complement, whatever the field's width.
            encoded = _tag(number, _VARINT) + varint(int(value) & 0xFFFF_FFFF_FFFF_FFFF)
        case float() if kind == "double":
            encoded = _tag(number, _FIXED64) + struct.pack("<d", value)
        case str() if kind == "string":
            encoded = _delimited(number, value.encode())
        case bytes() if kind == "bytes":
            encoded = _delimited(number, value)
        case dict():
            encoded = _delimited(number, encode(kind, value))
        case _:
            raise TypeError(f"field {number} of type {kind} cannot hold {value!r}")
    return encoded


def varint(value: int) -> bytes:
    """Return an unsigned number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _delimited(number: int, payload: bytes) -> bytes:
    return _tag(number, _LENGTH_DELIMITED) + varint(len(payload)) + payload


def _tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def example(message: str) -> dict[str, Value]:
    """Return a value for every field of a message, no two alike."""
    return {name: _example(name, number, kind) for name, number, kind in fields_of(message)}


def _example(name: str, number: int, kind: str) -> Value:
    if kind.startswith("map<"):
        return {f"{name} key": "wört"}
    if kind.startswith("repeated "):
        inner = kind.removeprefix("repeated ")
        return [_example(name, number, inner), _example(name, number + 1, inner)]
    simple: dict[str, Value] = {
        "string": f"{name} «{number}» 火",
        "bytes": bytes(range(250, 256)) + name.encode() + b"\x00",
        "bool": True,
        "int32": -number,
        "int64": 1_790_000_000 + number,
        "double": number + 0.1,
    }
    return simple[kind] if kind in simple else example(kind)


def golden_lines() -> list[str]:
    """Return every message's name and example bytes, in hexadecimal: what `golden.txt` holds."""
    return [f"{message} {encode(message, example(message)).hex()}" for message in FIELDS]


if __name__ == "__main__":
    print("\n".join(golden_lines()))
