"""A reply is one final message, wherever the client waits for it."""

from dataclasses import dataclass, field

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from deployments.errors import PayloadTooLargeError, UnavailableError

ANSWER = messages_pb2.ChatResponse(response="It opens at nine.")


@dataclass
class Connection:
    """Remembers what was published."""

    max_payload: int = 1 << 20
    published: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.published.append((subject, payload))


def reply_over(connection: Connection, reply_subject: str = "inbox") -> Reply:
    return Reply(Sender(connection), "question", {}, reply_subject)


async def test_the_final_message_goes_to_its_subject_and_to_the_reply_subject() -> None:
    connection = Connection()
    await reply_over(connection).finish(ANSWER, "answer")
    assert connection.published == [("answer", ANSWER.SerializeToString()), ("inbox", ANSWER.SerializeToString())]


async def test_the_final_message_goes_once_to_a_subject_that_is_both() -> None:
    connection = Connection()
    await reply_over(connection).finish(ANSWER, "inbox")
    assert [subject for subject, _ in connection.published] == ["inbox"]


async def test_a_second_final_message_is_not_sent() -> None:
    connection = Connection()
    reply = reply_over(connection)
    await reply.finish(ANSWER)
    await reply.refuse(UnavailableError("no model"))
    await reply.finish(ANSWER, "answer")
    assert [subject for subject, _ in connection.published] == ["inbox"]


async def test_what_the_server_would_not_take_leaves_room_for_an_error() -> None:
    connection = Connection(max_payload=32)
    reply = reply_over(connection)
    with pytest.raises(PayloadTooLargeError):
        await reply.finish(messages_pb2.ChatResponse(response="x" * 33))
    await reply.refuse(UnavailableError("too large"))
    (subject, payload) = connection.published[0]
    assert subject == "inbox"
    assert messages_pb2.ErrorResponse.FromString(payload).message == "too large"


async def test_who_asked_may_be_told_another_message_than_the_subject() -> None:
    connection = Connection()
    error = messages_pb2.ErrorResponse(error=True, message="no model")
    await reply_over(connection).finish(ANSWER, "answer", error)
    assert connection.published == [("answer", ANSWER.SerializeToString()), ("inbox", error.SerializeToString())]
