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
    __slots__ = ("ready", "components", "version", "deployments", "in_flight", "waiting", "last_errors")
    READY_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    LAST_ERRORS_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    components: _containers.RepeatedCompositeFieldContainer[ComponentStatus]
    version: str
    deployments: _containers.RepeatedCompositeFieldContainer[DeploymentState]
    in_flight: int
    waiting: int
    last_errors: _containers.RepeatedCompositeFieldContainer[RequestError]
    def __init__(self, ready: _Optional[bool] = ..., components: _Optional[_Iterable[_Union[ComponentStatus, _Mapping]]] = ..., version: _Optional[str] = ..., deployments: _Optional[_Iterable[_Union[DeploymentState, _Mapping]]] = ..., in_flight: _Optional[int] = ..., waiting: _Optional[int] = ..., last_errors: _Optional[_Iterable[_Union[RequestError, _Mapping]]] = ...) -> None: ...

class DeploymentState(_message.Message):
    __slots__ = ("application", "name", "status", "running", "starting", "message")
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    application: str
    name: str
    status: str
    running: int
    starting: int
    message: str
    def __init__(self, application: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[str] = ..., running: _Optional[int] = ..., starting: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class RequestError(_message.Message):
    __slots__ = ("at", "subject", "error_type", "error")
    AT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    at: float
    subject: str
    error_type: str
    error: str
    def __init__(self, at: _Optional[float] = ..., subject: _Optional[str] = ..., error_type: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

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
