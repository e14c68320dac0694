"""The wire contract as data, apart from the code: messages with their fields by number and type, and subjects."""

FIELDS: dict[str, str] = {
    "ErrorResponse": "error 1 bool, message 2 string, type 3 string",
    "LoginEvent": "user_id 1 string, username 2 string, nickname 3 string, premium 4 bool, timestamp 5 int64",
    "GreetingRequest": "user_id 1 string, username 2 string, nickname 3 string, premium 4 bool",
    "GreetingResponse": "user_id 1 string, greeting 2 string",
    "ChatRequest": (
        "request_id 1 string, user_id 2 string, username 3 string, message 4 string, query 5 string, premium 6 bool, "
        "enable_rag 7 bool, enable_reranker 8 bool, enable_streaming 9 bool, top_k 10 int32, collection 11 string, "
        "enable_tts 12 bool, system_prompt 13 string, response_subject 14 string"
    ),
    "ChatResponse": (
        "user_id 1 string, response 2 string, response_text 3 string, used_rag 4 bool, rag_sources 5 repeated string, "
        "success 6 bool, audio 7 bytes, error 8 string"
    ),
    "ChatStreamChunk": "request_id 1 string, type 2 string, content 3 string, done 4 bool, timestamp 5 int64",
    "VoiceRequest": "request_id 1 string, audio 2 bytes, language 3 string, collection 4 string",
    "DocumentSource": "text 1 string, score 2 double",
    "VoiceResponse": (
        "request_id 1 string, response 2 string, audio 3 bytes, transcription 4 string, "
        "sources 5 repeated DocumentSource, error 6 string"
    ),
    "TTSRequest": "text 1 string, speaker 2 string, language 3 string, speaker_wav_b64 4 string, stream 5 bool",
    "TTSAudioChunk": (
        "session_id 1 string, chunk_index 2 int32, total_chunks 3 int32, audio 4 bytes, is_last 5 bool, "
        "timestamp 6 int64, sample_rate 7 int32"
    ),
    "TTSFullResponse": "session_id 1 string, audio 2 bytes, timestamp 3 int64, sample_rate 4 int32",
    "TTSStatus": "session_id 1 string, status 2 string, message 3 string, timestamp 4 int64",
    "TTSVoiceInfo": "name 1 string, language 2 string, model_type 3 string, created_at 4 string",
    "TTSVoiceListResponse": (
        "default_speaker 1 string, custom_voices 2 repeated TTSVoiceInfo, last_refresh 3 int64, timestamp 4 int64"
    ),
    "TTSVoiceRefreshResponse": "count 1 int32, custom_voices 2 repeated TTSVoiceInfo, timestamp 3 int64",
    "STTStreamMessage": (
        "type 1 string, audio 2 bytes, state 3 string, speaker_id 4 string, "
        "sample_rate 5 int32, channels 6 int32, bit_depth 7 int32, user_id 13 string"
    ),
    "STTTranscription": (
        "session_id 1 string, transcript 2 string, sequence 3 int32, is_partial 4 bool, is_final 5 bool, "
        "timestamp 6 int64, speaker_id 7 string, has_voice_activity 8 bool, state 9 string"
    ),
    "STTInterrupt": "session_id 1 string, type 2 string, timestamp 3 int64, speaker_id 4 string",
    "PipelineTrigger": "request_id 1 string, pipeline 2 string, parameters 3 map<string;string>",
    "PipelineStatus": (
        "request_id 1 string, status 2 string, run_id 3 string, engine 4 string, pipeline 5 string, "
        "submitted_at 6 string, error 7 string, available_pipelines 8 repeated string"
    ),
}

TAKEN_BY_LATER_VERSIONS: dict[str, range | tuple[int, ...]] = {
    "TTSAudioChunk": range(8, 11),
    "TTSFullResponse": range(5, 8),
    "STTStreamMessage": (*range(8, 13), *range(14, 19)),
    "STTTranscription": range(10, 30),
    "STTInterrupt": range(5, 12),
}
"""Numbers that have a meaning in a later public version of the contract, and are not used here."""

FIRST_NUMBER_OF_OUR_OWN = 100

REQUEST_SUBJECTS: dict[str, str] = {
    "ai.chat.user.{user_id}.login": "LoginEvent",
    "ai.chat.user.{user_id}.greeting.request": "GreetingRequest",
    "ai.chat.user.{user_id}.message": "ChatRequest",
    "ai.chat.request": "ChatRequest",
    "ai.voice.request": "VoiceRequest",
    "ai.voice.stream.{session_id}": "STTStreamMessage",
    "ai.voice.tts.request.{session_id}": "TTSRequest",
    "ai.voice.tts.voices.list": "",
    "ai.voice.tts.voices.refresh": "",
    "ai.pipeline.trigger": "PipelineTrigger",
}
"""By subject, what clients send there; empty where any body will do."""

ANSWER_SUBJECTS: dict[str, set[str]] = {
    "ai.chat.user.{user_id}.greeting.response": {"GreetingResponse"},
    "ai.chat.response.{request_id}": {"ChatResponse"},
    "ai.chat.response.stream.{request_id}": {"ChatStreamChunk"},
    "ai.voice.response.{request_id}": {"VoiceResponse"},
    "ai.voice.transcription.{session_id}": {"STTTranscription", "STTInterrupt"},
    "ai.voice.tts.audio.{session_id}": {"TTSAudioChunk", "TTSFullResponse"},
    "ai.voice.tts.status.{session_id}": {"TTSStatus"},
    "ai.pipeline.status.{request_id}": {"PipelineStatus"},
}
"""By subject, what clients hear there."""


def fields_of(message: str) -> list[tuple[str, int, str]]:
    """Return name, number and type of each field of a message."""
    fields = [field.split(" ", 2) for field in FIELDS[message].split(", ")]
    return [(name, int(number), kind.replace(";", ", ")) for name, number, kind in fields]
