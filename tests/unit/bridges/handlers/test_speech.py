"""Requests for speech that are answered before anything is said."""

from collections.abc import AsyncGenerator

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.collected_answer import CollectedAnswer
from bridges.handlers.speech import CUT, SpeechHandler, VoicesHandler
from bridges.nats.allowances import AllowedNames
from bridges.nats.demands import NameKind
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.sessions.epochs import SessionWork
from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, NotFoundError, OverloadedError
from deployments.settings.audio import SpeechOutputSettings
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo, Voices
from tests.conversation.scene import SlowSpeech, Wire

INBOX = "_INBOX.x"


class ThreeVoices(SlowSpeech):
    """Has one voice of its own and two custom ones, and a folder that is none."""

    async def voices(self, call: Call, rescan: bool) -> Voices:
        custom = (VoiceInfo("anna", "en", "vits"), VoiceInfo("bob", "en", "vits"))
        return Voices("ada", (VoiceInfo("ada", "en", "hibari"),), custom, faults=("carl: no model",))


async def told(session_id: str) -> Wire:
    """Have a request refused."""
    wire = Wire()
    handler = SpeechHandler(SlowSpeech(), SessionWork(), SpeechOutputSettings())
    reply = Reply(Sender(wire), f"ai.voice.tts.request.{session_id}", {"session_id": session_id}, INBOX)
    await handler.fail(messages_pb2.TTSRequest(text="Hello"), OverloadedError("too much"), reply)
    return wire


async def test_a_refusal_is_told_as_a_status_and_on_the_reply_subject() -> None:
    wire = await told("s")
    assert wire.on("ai.voice.tts.status.s")[0].read(messages_pb2.TTSStatus).status == "error"
    assert wire.on(INBOX)[0].read(messages_pb2.ErrorResponse).type == "overloaded"


async def test_a_session_that_nothing_can_be_published_to_is_refused_on_the_reply_subject() -> None:
    wire = await told("a*b")
    assert wire.on(INBOX)[0].read(messages_pb2.ErrorResponse).type == "overloaded"


@pytest.mark.parametrize("rescan", [False, True])
async def test_the_list_of_voices_has_those_that_its_asker_may_name(rescan: bool) -> None:
    wire = Wire()
    names = AllowedNames({NameKind.VOICE: ("a*",)})
    reply = Reply(Sender(wire), "ai.voice.tts.voices.list", {}, INBOX, names=names)
    await VoicesHandler(ThreeVoices(), rescan=rescan).handle(Call.within(5.0), None, reply)
    kind = messages_pb2.TTSVoiceRefreshResponse if rescan else messages_pb2.TTSVoiceListResponse
    told = wire.on(INBOX)[0].read(kind)
    assert [voice.name for voice in told.custom_voices] == ["anna"]
    assert list(told.faults) == []
    if rescan:
        assert told.count == 1
    else:
        assert [voice.name for voice in told.built_in_voices] == ["ada"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotFoundError("unknown voice 'bx'; known are ada, bob", field="speaker"), "unknown voice 'bx'"),
        (InvalidRequestError("speaker 'bx' is not one that you may name", field="speaker"), "speaker 'bx' is not one"),
    ],
)
async def test_an_error_does_not_list_voices_that_its_asker_may_not_name(error: HearthError, told: str) -> None:
    wire = Wire()
    names = AllowedNames({NameKind.VOICE: ("b*",)})
    reply = Reply(Sender(wire), "ai.voice.tts.request.s", {"session_id": "s"}, INBOX, names=names)
    handler = SpeechHandler(SlowSpeech(), SessionWork(), SpeechOutputSettings())
    await handler.fail(messages_pb2.TTSRequest(text="Hello", speaker="bx"), error, reply)
    for message in (
        wire.on(INBOX)[0].read(messages_pb2.ErrorResponse).message,
        wire.on("ai.voice.tts.status.s")[0].read(messages_pb2.TTSStatus).message,
    ):
        assert message.startswith(told)
        assert "ada" not in message


class EndlessSpeech(SlowSpeech):
    """Says a second of sound, again and again."""

    made: int = 0

    async def say(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        while True:
            self.made += 1
            yield SpokenChunk(bytes(32_000), 16_000, text.text)


async def test_no_more_is_said_than_one_message_takes() -> None:
    wire, speech = Wire(max_payload=200_000), EndlessSpeech()
    handler = SpeechHandler(speech, SessionWork(), SpeechOutputSettings())
    reply = Reply(Sender(wire), "ai.voice.tts.request.s", {"session_id": "s"}, INBOX)
    outcome = await handler.handle(Call.within(10), messages_pb2.TTSRequest(text="On and on"), reply)
    assert speech.made == 7
    assert outcome.error_kind == "payload_too_large"
    assert len(wire.on("ai.voice.tts.audio.s")[0].data) <= 200_000
    assert [sent.read(messages_pb2.TTSStatus).message for sent in wire.on("ai.voice.tts.status.s")][-1] == CUT


def test_of_the_speech_of_an_answer_no_more_is_kept_than_one_message_takes() -> None:
    answer = CollectedAnswer(100_000)
    for _ in range(100):
        answer.take(SpokenChunk(bytes(32_000), 16_000, "on and on"))
    assert len(answer.sound) == 100_000
    assert answer.sound_s == 100.0
    wav, is_whole = answer.wav(90_000)
    assert (len(wav), is_whole) == (90_000, False)
    assert not answer.wav(200_000)[1]
