from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConversationRequest(_message.Message):
    __slots__ = ("voice", "collection", "system_prompt", "without_documents")
    VOICE_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_PROMPT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    voice: str
    collection: str
    system_prompt: str
    without_documents: bool
    def __init__(self, voice: _Optional[str] = ..., collection: _Optional[str] = ..., system_prompt: _Optional[str] = ..., without_documents: _Optional[bool] = ...) -> None: ...

class PlaybackReport(_message.Message):
    __slots__ = ("turn", "milliseconds")
    TURN_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    turn: int
    milliseconds: int
    def __init__(self, turn: _Optional[int] = ..., milliseconds: _Optional[int] = ...) -> None: ...

class SpokenWord(_message.Message):
    __slots__ = ("word", "start_ms", "end_ms")
    WORD_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    word: str
    start_ms: int
    end_ms: int
    def __init__(self, word: _Optional[str] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ...) -> None: ...

class TurnRecord(_message.Message):
    __slots__ = ("session_id", "turn", "revision", "epoch", "user_id", "speech_ended_at_ms", "question", "answer", "heard", "outcome", "error", "trace_id", "stages", "decisions")
    class DecisionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SPEECH_ENDED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn: int
    revision: int
    epoch: int
    user_id: str
    speech_ended_at_ms: int
    question: str
    answer: str
    heard: str
    outcome: str
    error: str
    trace_id: str
    stages: _containers.RepeatedCompositeFieldContainer[TurnStage]
    decisions: _containers.ScalarMap[str, str]
    def __init__(self, session_id: _Optional[str] = ..., turn: _Optional[int] = ..., revision: _Optional[int] = ..., epoch: _Optional[int] = ..., user_id: _Optional[str] = ..., speech_ended_at_ms: _Optional[int] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ..., heard: _Optional[str] = ..., outcome: _Optional[str] = ..., error: _Optional[str] = ..., trace_id: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[TurnStage, _Mapping]]] = ..., decisions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TurnStage(_message.Message):
    __slots__ = ("name", "start_ms", "end_ms", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_ms: int
    end_ms: int
    detail: str
    def __init__(self, name: _Optional[str] = ..., start_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...
