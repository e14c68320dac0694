from bridges.generated.hearth.v1 import conversation_pb2 as _conversation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AudioReplica(_message.Message):
    __slots__ = ("replica", "sessions", "leaving")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    replica: str
    sessions: _containers.RepeatedCompositeFieldContainer[AudioSession]
    leaving: bool
    def __init__(self, replica: _Optional[str] = ..., sessions: _Optional[_Iterable[_Union[AudioSession, _Mapping]]] = ..., leaving: _Optional[bool] = ...) -> None: ...

class AudioSession(_message.Message):
    __slots__ = ("session_id", "next_sequence", "state", "speaker_id", "language", "epoch", "conversation", "user_id", "turns")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_ID_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    next_sequence: int
    state: str
    speaker_id: str
    language: str
    epoch: int
    conversation: _conversation_pb2.ConversationRequest
    user_id: str
    turns: int
    def __init__(self, session_id: _Optional[str] = ..., next_sequence: _Optional[int] = ..., state: _Optional[str] = ..., speaker_id: _Optional[str] = ..., language: _Optional[str] = ..., epoch: _Optional[int] = ..., conversation: _Optional[_Union[_conversation_pb2.ConversationRequest, _Mapping]] = ..., user_id: _Optional[str] = ..., turns: _Optional[int] = ...) -> None: ...

class AudioInterruption(_message.Message):
    __slots__ = ("session_id", "replica", "epoch")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    replica: str
    epoch: int
    def __init__(self, session_id: _Optional[str] = ..., replica: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...
