from bridges.generated.hearth.v1 import conversation_pb2 as _conversation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AudioReplica(_message.Message):
    __slots__ = ("replica", "leaving", "version", "changed", "gone", "all", "asks_everybody", "asks", "beat")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    ASKS_EVERYBODY_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    replica: str
    leaving: bool
    version: int
    changed: _containers.RepeatedCompositeFieldContainer[AudioSession]
    gone: _containers.RepeatedScalarFieldContainer[str]
    all: AllSessions
    asks_everybody: bool
    asks: str
    beat: int
    def __init__(self, replica: _Optional[str] = ..., leaving: _Optional[bool] = ..., version: _Optional[int] = ..., changed: _Optional[_Iterable[_Union[AudioSession, _Mapping]]] = ..., gone: _Optional[_Iterable[str]] = ..., all: _Optional[_Union[AllSessions, _Mapping]] = ..., asks_everybody: _Optional[bool] = ..., asks: _Optional[str] = ..., beat: _Optional[int] = ...) -> None: ...

class AllSessions(_message.Message):
    __slots__ = ("piece", "pieces", "sessions")
    PIECE_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    piece: int
    pieces: int
    sessions: _containers.RepeatedCompositeFieldContainer[AudioSession]
    def __init__(self, piece: _Optional[int] = ..., pieces: _Optional[int] = ..., sessions: _Optional[_Iterable[_Union[AudioSession, _Mapping]]] = ...) -> None: ...

class AudioSession(_message.Message):
    __slots__ = ("session_id", "next_sequence", "state", "speaker_id", "epoch", "turns", "terms", "generation", "taken", "last_taken", "kept", "answering", "format")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    LAST_TAKEN_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    ANSWERING_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    next_sequence: int
    state: str
    speaker_id: str
    epoch: int
    turns: int
    terms: SessionTerms
    generation: int
    taken: int
    last_taken: int
    kept: int
    answering: int
    format: SoundFormat
    def __init__(self, session_id: _Optional[str] = ..., next_sequence: _Optional[int] = ..., state: _Optional[str] = ..., speaker_id: _Optional[str] = ..., epoch: _Optional[int] = ..., turns: _Optional[int] = ..., terms: _Optional[_Union[SessionTerms, _Mapping]] = ..., generation: _Optional[int] = ..., taken: _Optional[int] = ..., last_taken: _Optional[int] = ..., kept: _Optional[int] = ..., answering: _Optional[int] = ..., format: _Optional[_Union[SoundFormat, _Mapping]] = ...) -> None: ...

class SoundFormat(_message.Message):
    __slots__ = ("sample_rate", "channels", "bits", "codec")
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    sample_rate: int
    channels: int
    bits: int
    codec: int
    def __init__(self, sample_rate: _Optional[int] = ..., channels: _Optional[int] = ..., bits: _Optional[int] = ..., codec: _Optional[int] = ...) -> None: ...

class SessionTerms(_message.Message):
    __slots__ = ("language", "user_id", "conversation")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    language: str
    user_id: str
    conversation: _conversation_pb2.ConversationRequest
    def __init__(self, language: _Optional[str] = ..., user_id: _Optional[str] = ..., conversation: _Optional[_Union[_conversation_pb2.ConversationRequest, _Mapping]] = ...) -> None: ...

class AudioInterruption(_message.Message):
    __slots__ = ("session_id", "replica", "epoch")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    replica: str
    epoch: int
    def __init__(self, session_id: _Optional[str] = ..., replica: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class AudioDispatchRequest(_message.Message):
    __slots__ = ("replica", "asks", "releases", "taken")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    replica: str
    asks: bool
    releases: bool
    taken: str
    def __init__(self, replica: _Optional[str] = ..., asks: _Optional[bool] = ..., releases: _Optional[bool] = ..., taken: _Optional[str] = ...) -> None: ...

class AudioDispatchReply(_message.Message):
    __slots__ = ("dispatches",)
    DISPATCHES_FIELD_NUMBER: _ClassVar[int]
    dispatches: bool
    def __init__(self, dispatches: _Optional[bool] = ...) -> None: ...
