from bridges.generated.hearth.v1 import conversation_pb2 as _conversation_pb2
from bridges.generated.hearth.v1 import documents_pb2 as _documents_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorResponse(_message.Message):
    __slots__ = ("error", "message", "type")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    error: bool
    message: str
    type: str
    def __init__(self, error: _Optional[bool] = ..., message: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class LoginEvent(_message.Message):
    __slots__ = ("user_id", "username", "nickname", "premium", "timestamp")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    NICKNAME_FIELD_NUMBER: _ClassVar[int]
    PREMIUM_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    username: str
    nickname: str
    premium: bool
    timestamp: int
    def __init__(self, user_id: _Optional[str] = ..., username: _Optional[str] = ..., nickname: _Optional[str] = ..., premium: _Optional[bool] = ..., timestamp: _Optional[int] = ...) -> None: ...

class GreetingRequest(_message.Message):
    __slots__ = ("user_id", "username", "nickname", "premium")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    NICKNAME_FIELD_NUMBER: _ClassVar[int]
    PREMIUM_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    username: str
    nickname: str
    premium: bool
    def __init__(self, user_id: _Optional[str] = ..., username: _Optional[str] = ..., nickname: _Optional[str] = ..., premium: _Optional[bool] = ...) -> None: ...

class GreetingResponse(_message.Message):
    __slots__ = ("user_id", "greeting")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    GREETING_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    greeting: str
    def __init__(self, user_id: _Optional[str] = ..., greeting: _Optional[str] = ...) -> None: ...

class ChatRequest(_message.Message):
    __slots__ = ("request_id", "user_id", "username", "message", "query", "premium", "enable_rag", "enable_reranker", "enable_streaming", "top_k", "collection", "enable_tts", "system_prompt", "response_subject")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    PREMIUM_FIELD_NUMBER: _ClassVar[int]
    ENABLE_RAG_FIELD_NUMBER: _ClassVar[int]
    ENABLE_RERANKER_FIELD_NUMBER: _ClassVar[int]
    ENABLE_STREAMING_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ENABLE_TTS_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_PROMPT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_SUBJECT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    user_id: str
    username: str
    message: str
    query: str
    premium: bool
    enable_rag: bool
    enable_reranker: bool
    enable_streaming: bool
    top_k: int
    collection: str
    enable_tts: bool
    system_prompt: str
    response_subject: str
    def __init__(self, request_id: _Optional[str] = ..., user_id: _Optional[str] = ..., username: _Optional[str] = ..., message: _Optional[str] = ..., query: _Optional[str] = ..., premium: _Optional[bool] = ..., enable_rag: _Optional[bool] = ..., enable_reranker: _Optional[bool] = ..., enable_streaming: _Optional[bool] = ..., top_k: _Optional[int] = ..., collection: _Optional[str] = ..., enable_tts: _Optional[bool] = ..., system_prompt: _Optional[str] = ..., response_subject: _Optional[str] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("user_id", "response", "response_text", "used_rag", "rag_sources", "success", "audio", "error", "citations")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TEXT_FIELD_NUMBER: _ClassVar[int]
    USED_RAG_FIELD_NUMBER: _ClassVar[int]
    RAG_SOURCES_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    response: str
    response_text: str
    used_rag: bool
    rag_sources: _containers.RepeatedScalarFieldContainer[str]
    success: bool
    audio: bytes
    error: str
    citations: _containers.RepeatedCompositeFieldContainer[_documents_pb2.Citation]
    def __init__(self, user_id: _Optional[str] = ..., response: _Optional[str] = ..., response_text: _Optional[str] = ..., used_rag: _Optional[bool] = ..., rag_sources: _Optional[_Iterable[str]] = ..., success: _Optional[bool] = ..., audio: _Optional[bytes] = ..., error: _Optional[str] = ..., citations: _Optional[_Iterable[_Union[_documents_pb2.Citation, _Mapping]]] = ...) -> None: ...

class ChatStreamChunk(_message.Message):
    __slots__ = ("request_id", "type", "content", "done", "timestamp", "turn", "epoch")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    type: str
    content: str
    done: bool
    timestamp: int
    turn: int
    epoch: int
    def __init__(self, request_id: _Optional[str] = ..., type: _Optional[str] = ..., content: _Optional[str] = ..., done: _Optional[bool] = ..., timestamp: _Optional[int] = ..., turn: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class VoiceRequest(_message.Message):
    __slots__ = ("request_id", "audio", "language", "collection")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    audio: bytes
    language: str
    collection: str
    def __init__(self, request_id: _Optional[str] = ..., audio: _Optional[bytes] = ..., language: _Optional[str] = ..., collection: _Optional[str] = ...) -> None: ...

class DocumentSource(_message.Message):
    __slots__ = ("text", "score", "citation")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CITATION_FIELD_NUMBER: _ClassVar[int]
    text: str
    score: float
    citation: _documents_pb2.Citation
    def __init__(self, text: _Optional[str] = ..., score: _Optional[float] = ..., citation: _Optional[_Union[_documents_pb2.Citation, _Mapping]] = ...) -> None: ...

class VoiceResponse(_message.Message):
    __slots__ = ("request_id", "response", "audio", "transcription", "sources", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: str
    audio: bytes
    transcription: str
    sources: _containers.RepeatedCompositeFieldContainer[DocumentSource]
    error: str
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[str] = ..., audio: _Optional[bytes] = ..., transcription: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[DocumentSource, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...

class TTSRequest(_message.Message):
    __slots__ = ("text", "speaker", "language", "speaker_wav_b64", "stream")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_WAV_B64_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    text: str
    speaker: str
    language: str
    speaker_wav_b64: str
    stream: bool
    def __init__(self, text: _Optional[str] = ..., speaker: _Optional[str] = ..., language: _Optional[str] = ..., speaker_wav_b64: _Optional[str] = ..., stream: _Optional[bool] = ...) -> None: ...

class TTSAudioChunk(_message.Message):
    __slots__ = ("session_id", "chunk_index", "total_chunks", "audio", "is_last", "timestamp", "sample_rate", "epoch", "turn", "text", "words")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    TOTAL_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    chunk_index: int
    total_chunks: int
    audio: bytes
    is_last: bool
    timestamp: int
    sample_rate: int
    epoch: int
    turn: int
    text: str
    words: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.SpokenWord]
    def __init__(self, session_id: _Optional[str] = ..., chunk_index: _Optional[int] = ..., total_chunks: _Optional[int] = ..., audio: _Optional[bytes] = ..., is_last: _Optional[bool] = ..., timestamp: _Optional[int] = ..., sample_rate: _Optional[int] = ..., epoch: _Optional[int] = ..., turn: _Optional[int] = ..., text: _Optional[str] = ..., words: _Optional[_Iterable[_Union[_conversation_pb2.SpokenWord, _Mapping]]] = ...) -> None: ...

class TTSFullResponse(_message.Message):
    __slots__ = ("session_id", "audio", "timestamp", "sample_rate")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    audio: bytes
    timestamp: int
    sample_rate: int
    def __init__(self, session_id: _Optional[str] = ..., audio: _Optional[bytes] = ..., timestamp: _Optional[int] = ..., sample_rate: _Optional[int] = ...) -> None: ...

class TTSStatus(_message.Message):
    __slots__ = ("session_id", "status", "message", "timestamp")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    status: str
    message: str
    timestamp: int
    def __init__(self, session_id: _Optional[str] = ..., status: _Optional[str] = ..., message: _Optional[str] = ..., timestamp: _Optional[int] = ...) -> None: ...

class TTSVoiceInfo(_message.Message):
    __slots__ = ("name", "language", "model_type", "created_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    language: str
    model_type: str
    created_at: str
    def __init__(self, name: _Optional[str] = ..., language: _Optional[str] = ..., model_type: _Optional[str] = ..., created_at: _Optional[str] = ...) -> None: ...

class TTSVoiceListResponse(_message.Message):
    __slots__ = ("default_speaker", "custom_voices", "last_refresh", "timestamp", "built_in_voices", "faults")
    DEFAULT_SPEAKER_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_VOICES_FIELD_NUMBER: _ClassVar[int]
    LAST_REFRESH_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    BUILT_IN_VOICES_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    default_speaker: str
    custom_voices: _containers.RepeatedCompositeFieldContainer[TTSVoiceInfo]
    last_refresh: int
    timestamp: int
    built_in_voices: _containers.RepeatedCompositeFieldContainer[TTSVoiceInfo]
    faults: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, default_speaker: _Optional[str] = ..., custom_voices: _Optional[_Iterable[_Union[TTSVoiceInfo, _Mapping]]] = ..., last_refresh: _Optional[int] = ..., timestamp: _Optional[int] = ..., built_in_voices: _Optional[_Iterable[_Union[TTSVoiceInfo, _Mapping]]] = ..., faults: _Optional[_Iterable[str]] = ...) -> None: ...

class TTSVoiceRefreshResponse(_message.Message):
    __slots__ = ("count", "custom_voices", "timestamp", "faults")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_VOICES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    count: int
    custom_voices: _containers.RepeatedCompositeFieldContainer[TTSVoiceInfo]
    timestamp: int
    faults: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, count: _Optional[int] = ..., custom_voices: _Optional[_Iterable[_Union[TTSVoiceInfo, _Mapping]]] = ..., timestamp: _Optional[int] = ..., faults: _Optional[_Iterable[str]] = ...) -> None: ...

class STTStreamMessage(_message.Message):
    __slots__ = ("type", "audio", "state", "speaker_id", "sample_rate", "channels", "bit_depth", "user_id", "language", "conversation", "played")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    BIT_DEPTH_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    PLAYED_FIELD_NUMBER: _ClassVar[int]
    type: str
    audio: bytes
    state: str
    speaker_id: str
    sample_rate: int
    channels: int
    bit_depth: int
    user_id: str
    language: str
    conversation: _conversation_pb2.ConversationRequest
    played: _conversation_pb2.PlaybackReport
    def __init__(self, type: _Optional[str] = ..., audio: _Optional[bytes] = ..., state: _Optional[str] = ..., speaker_id: _Optional[str] = ..., sample_rate: _Optional[int] = ..., channels: _Optional[int] = ..., bit_depth: _Optional[int] = ..., user_id: _Optional[str] = ..., language: _Optional[str] = ..., conversation: _Optional[_Union[_conversation_pb2.ConversationRequest, _Mapping]] = ..., played: _Optional[_Union[_conversation_pb2.PlaybackReport, _Mapping]] = ...) -> None: ...

class STTTranscription(_message.Message):
    __slots__ = ("session_id", "transcript", "sequence", "is_partial", "is_final", "timestamp", "speaker_id", "has_voice_activity", "state", "epoch", "stable_characters", "error", "error_type", "turn", "revision")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    IS_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_ID_FIELD_NUMBER: _ClassVar[int]
    HAS_VOICE_ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STABLE_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    transcript: str
    sequence: int
    is_partial: bool
    is_final: bool
    timestamp: int
    speaker_id: str
    has_voice_activity: bool
    state: str
    epoch: int
    stable_characters: int
    error: str
    error_type: str
    turn: int
    revision: int
    def __init__(self, session_id: _Optional[str] = ..., transcript: _Optional[str] = ..., sequence: _Optional[int] = ..., is_partial: _Optional[bool] = ..., is_final: _Optional[bool] = ..., timestamp: _Optional[int] = ..., speaker_id: _Optional[str] = ..., has_voice_activity: _Optional[bool] = ..., state: _Optional[str] = ..., epoch: _Optional[int] = ..., stable_characters: _Optional[int] = ..., error: _Optional[str] = ..., error_type: _Optional[str] = ..., turn: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class STTInterrupt(_message.Message):
    __slots__ = ("session_id", "type", "timestamp", "speaker_id", "epoch")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    type: str
    timestamp: int
    speaker_id: str
    epoch: int
    def __init__(self, session_id: _Optional[str] = ..., type: _Optional[str] = ..., timestamp: _Optional[int] = ..., speaker_id: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class PipelineTrigger(_message.Message):
    __slots__ = ("request_id", "pipeline", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    pipeline: str
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, request_id: _Optional[str] = ..., pipeline: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class PipelineStatus(_message.Message):
    __slots__ = ("request_id", "status", "run_id", "engine", "pipeline", "submitted_at", "error", "available_pipelines")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_PIPELINES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    status: str
    run_id: str
    engine: str
    pipeline: str
    submitted_at: str
    error: str
    available_pipelines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., status: _Optional[str] = ..., run_id: _Optional[str] = ..., engine: _Optional[str] = ..., pipeline: _Optional[str] = ..., submitted_at: _Optional[str] = ..., error: _Optional[str] = ..., available_pipelines: _Optional[_Iterable[str]] = ...) -> None: ...
