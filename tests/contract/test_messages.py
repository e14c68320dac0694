"""The generated messages are the contract: every name, number and type, and the very bytes."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from bridges.generated.messages.v1 import messages_pb2
from tests.contract.contract import FIELDS, FIRST_NUMBER_OF_OUR_OWN, TAKEN_BY_LATER_VERSIONS, fields_of
from tests.contract.wire import example, golden_lines

GOLDEN = dict(line.split(" ") for line in Path(__file__).with_name("golden.txt").read_text().splitlines())
TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_DOUBLE: "double",
}


def message_class(name: str) -> type[Message]:
    return getattr(messages_pb2, name)


def kind_of(field: Any) -> str:
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map<{kind_of(key)}, {kind_of(value)}>"
    kind = TYPES.get(field.type) or field.message_type.name
    return f"repeated {kind}" if field.is_repeated else kind


def test_there_are_exactly_the_22_messages_of_the_contract() -> None:
    assert len(FIELDS) == 22
    assert set(messages_pb2.DESCRIPTOR.message_types_by_name) == set(FIELDS)


def test_the_package_is_the_contract_s() -> None:
    assert messages_pb2.DESCRIPTOR.package == "messages.v1"


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_its_name_number_and_type(name: str) -> None:
    descriptor = message_class(name).DESCRIPTOR
    ours = [field for field in descriptor.fields if field.number < FIRST_NUMBER_OF_OUR_OWN]
    assert [(field.name, field.number, kind_of(field)) for field in ours] == fields_of(name)


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_tells_absent_from_empty(name: str) -> None:
    descriptor = message_class(name).DESCRIPTOR
    scalar = [field for field in descriptor.fields if not field.is_repeated and field.message_type is None]
    assert not [field.name for field in scalar if field.has_presence]


@pytest.mark.parametrize("name", TAKEN_BY_LATER_VERSIONS)
def test_numbers_of_later_versions_are_kept_free(name: str) -> None:
    used = {field.number for field in message_class(name).DESCRIPTOR.fields}
    assert not used & set(TAKEN_BY_LATER_VERSIONS[name])


@pytest.mark.parametrize("name", FIELDS)
def test_golden_bytes_are_decoded_and_encoded_identically(name: str) -> None:
    golden = bytes.fromhex(GOLDEN[name])
    message = message_class(name)()
    message.ParseFromString(golden)
    assert message.SerializeToString(deterministic=True) == golden
    assert message == message_class(name)(**example(name))


def test_the_golden_bytes_are_what_the_independent_encoder_writes() -> None:
    assert [f"{name} {golden}" for name, golden in GOLDEN.items()] == golden_lines()


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_a_newer_client_are_not_in_the_way(name: str) -> None:
    unknown = bytes([0xF2, 0x3F, 3]) + b"new"  # field 1022, length-delimited
    message = message_class(name)()
    message.ParseFromString(bytes.fromhex(GOLDEN[name]) + unknown)
    assert message.SerializeToString(deterministic=True).startswith(bytes.fromhex(GOLDEN[name]))
