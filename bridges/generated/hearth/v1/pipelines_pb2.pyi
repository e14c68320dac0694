from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PipelineListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PipelineListResponse(_message.Message):
    __slots__ = ("pipelines", "error")
    PIPELINES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    pipelines: _containers.RepeatedCompositeFieldContainer[Pipeline]
    error: str
    def __init__(self, pipelines: _Optional[_Iterable[_Union[Pipeline, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...

class Pipeline(_message.Message):
    __slots__ = ("name", "engine", "target", "deadline_s", "parameters")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    engine: str
    target: str
    deadline_s: float
    parameters: _containers.RepeatedCompositeFieldContainer[PipelineParameter]
    def __init__(self, name: _Optional[str] = ..., engine: _Optional[str] = ..., target: _Optional[str] = ..., deadline_s: _Optional[float] = ..., parameters: _Optional[_Iterable[_Union[PipelineParameter, _Mapping]]] = ...) -> None: ...

class PipelineParameter(_message.Message):
    __slots__ = ("name", "pattern", "default_value", "has_default", "required")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    HAS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    name: str
    pattern: str
    default_value: str
    has_default: bool
    required: bool
    def __init__(self, name: _Optional[str] = ..., pattern: _Optional[str] = ..., default_value: _Optional[str] = ..., has_default: _Optional[bool] = ..., required: _Optional[bool] = ...) -> None: ...

class PipelineReplica(_message.Message):
    __slots__ = ("replica", "leaving")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    replica: str
    leaving: bool
    def __init__(self, replica: _Optional[str] = ..., leaving: _Optional[bool] = ...) -> None: ...
