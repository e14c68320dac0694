"""Requests for speech that are answered before anything is said."""

from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.speech import SpeechHandler
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.sessions.epochs import SessionWork
from deployments.errors import OverloadedError
from deployments.settings.audio import SpeechOutputSettings
from tests.conversation.scene import SlowSpeech, Wire

INBOX = "_INBOX.x"


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
