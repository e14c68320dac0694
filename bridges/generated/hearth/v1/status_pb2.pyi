from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("ready", "components", "version")
    READY_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    components: _containers.RepeatedCompositeFieldContainer[ComponentStatus]
    version: str
    def __init__(self, ready: _Optional[bool] = ..., components: _Optional[_Iterable[_Union[ComponentStatus, _Mapping]]] = ..., version: _Optional[str] = ...) -> None: ...

class ComponentStatus(_message.Message):
    __slots__ = ("name", "ready", "required", "detail", "process_id", "resident_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    ready: bool
    required: bool
    detail: str
    process_id: int
    resident_bytes: int
    def __init__(self, name: _Optional[str] = ..., ready: _Optional[bool] = ..., required: _Optional[bool] = ..., detail: _Optional[str] = ..., process_id: _Optional[int] = ..., resident_bytes: _Optional[int] = ...) -> None: ...
