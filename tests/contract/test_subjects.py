"""The subject table agrees with the contract."""

from bridges.subjects import (
    CHAT_RESPONSE,
    CHAT_STREAM,
    GREETING_RESPONSE,
    PIPELINE_STATUS,
    REQUESTS,
    SPEECH_AUDIO,
    SPEECH_STATUS,
    TRANSCRIPTION,
    VOICE_RESPONSE,
)

CONTRACT = {
    "ai.chat.user.{user_id}.message": "messages.v1.ChatRequest",
    "ai.chat.request": "messages.v1.ChatRequest",
    "ai.chat.user.{user_id}.login": "messages.v1.LoginEvent",
    "ai.chat.user.{user_id}.greeting.request": "messages.v1.GreetingRequest",
    "ai.voice.request": "messages.v1.VoiceRequest",
    "ai.voice.stream.{session_id}": "messages.v1.STTStreamMessage",
    "ai.voice.tts.request.{session_id}": "messages.v1.TTSRequest",
    "ai.voice.tts.voices.list": "",
    "ai.voice.tts.voices.refresh": "",
    "ai.pipeline.trigger": "messages.v1.PipelineTrigger",
}


def test_the_contract_s_subjects_carry_the_contract_s_messages() -> None:
    table = {row.pattern: row.request_type for row in REQUESTS}
    assert CONTRACT.items() <= table.items()


def test_subjects_of_our_own_stand_apart() -> None:
    own = [row for row in REQUESTS if row.pattern not in CONTRACT]
    assert own
    assert all(row.pattern.startswith("hearth.") for row in own)
    assert all(row.request_type.startswith("hearth.v1.") for row in own)


def test_answers_go_where_clients_listen() -> None:
    assert CHAT_RESPONSE == "ai.chat.response.{request_id}"
    assert CHAT_STREAM == "ai.chat.response.stream.{request_id}"
    assert VOICE_RESPONSE == "ai.voice.response.{request_id}"
    assert TRANSCRIPTION == "ai.voice.transcription.{session_id}"
    assert SPEECH_AUDIO == "ai.voice.tts.audio.{session_id}"
    assert SPEECH_STATUS == "ai.voice.tts.status.{session_id}"
    assert PIPELINE_STATUS == "ai.pipeline.status.{request_id}"
    assert GREETING_RESPONSE == "ai.chat.user.{user_id}.greeting.response"


def test_no_message_arrives_on_two_rows() -> None:
    for row in REQUESTS:
        concrete = row.wildcard.replace("*", "x")
        assert [other.name for other in REQUESTS if other.parameters(concrete) is not None] == [row.name]
