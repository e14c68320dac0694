"""ChatRequest to a question, an answer to chunks and a response: which bytes go to which subject."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.chat import NO_SPEECH, ChatHandler
from bridges.handlers.collected_answer import TEXT_CUT, CollectedAnswer
from bridges.handlers.greeting import GreetingHandler, LoginHandler
from bridges.nats.allowances import AllowedNames
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.nats.trust import Trust
from bridges.subjects import CHAT_RESPONSE, CHAT_STREAM, own_subjects
from deployments.call import Call
from deployments.errors import (
    HearthError,
    InvalidRequestError,
    Limit,
    PayloadTooLargeError,
    ReplicaLostError,
    UnavailableError,
)
from deployments.settings.orchestration import MemorySettings
from deployments.values.chat import AnswerEnd, AnswerItem, AnswerToken, ChatQuestion, Preparation
from deployments.values.retrieval import Passage
from deployments.values.status import ComponentStatus
from tests.refusals import refused

INBOX = "_INBOX.reply"
FORGETFUL = ConversationMemory(MemorySettings(enabled=False))


@dataclass
class Connection:
    """Keeps what is published."""

    max_payload: int = 1 << 20
    published: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    headers: list[dict[str, str] | None] = field(default_factory=list[dict[str, str] | None])

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        del reply
        self.published.append((subject, payload))
        self.headers.append(headers)

    def subjects(self) -> list[str]:
        return [subject for subject, _ in self.published]

    def response(self, subject: str) -> messages_pb2.ChatResponse:
        """Return the one response on a subject, which is the last message there."""
        payloads = [payload for published, payload in self.published if published == subject]
        assert len(payloads) == 1
        return messages_pb2.ChatResponse.FromString(payloads[0])

    def chunks(self, subject: str) -> list[messages_pb2.ChatStreamChunk]:
        return [
            messages_pb2.ChatStreamChunk.FromString(payload)
            for published, payload in self.published
            if published == subject
        ]


@dataclass
class ScriptedChat:
    """Answers with the items that it was given."""

    items: tuple[AnswerItem, ...] = (AnswerToken("Yes"), AnswerToken("."), AnswerEnd())
    error: Exception | None = None
    asked: list[ChatQuestion] = field(default_factory=list[ChatQuestion])

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        del call
        self.asked.append(question)
        for item in self.items:
            yield item
        if self.error:
            raise self.error

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        raise AssertionError("nothing is prepared for a written question")

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        raise AssertionError("nothing is read for a written question")

    async def greet(self, call: Call, name: str) -> str:
        del call
        if self.error:
            raise self.error
        return f"Hello {name}!"

    async def warm(self, call: Call) -> None:
        del call
        if self.error:
            raise self.error

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        del call
        return ()


@dataclass
class LosingChat(ScriptedChat):
    """Loses its replica some times before it answers: then it has made some items, and ends or raises."""

    lost: tuple[AnswerItem, ...] = ()
    lost_with: HearthError | None = None
    losses: int = 0

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        if len(self.asked) >= self.losses:
            async for item in super().answer(call, question):
                yield item
            return
        self.asked.append(question)
        for item in self.lost:
            yield item
        if self.lost_with:
            raise self.lost_with


def reply_to(connection: Connection, reply: str = "", user_id: str = "u1", request_id: str = "r1") -> Reply:
    own = own_subjects((CHAT_STREAM, CHAT_RESPONSE), {"request_id": request_id})
    return Reply(Sender(connection), f"ai.chat.user.{user_id}.message", {"user_id": user_id}, reply, own)


async def handle(chat: ScriptedChat, reply: str = "", max_payload: int = 1 << 20, **fields: Any) -> Connection:
    connection = Connection(max_payload)
    request = messages_pb2.ChatRequest(**fields)
    await ChatHandler(chat, None, FORGETFUL, Trust()).handle(Call.within(5.0), request, reply_to(connection, reply))
    return connection


async def test_a_streamed_answer_is_a_chunk_for_each_token_a_done_chunk_and_the_response() -> None:
    connection = await handle(ScriptedChat(), request_id="r1", message="?", enable_streaming=True)
    assert connection.subjects() == ["ai.chat.response.stream.r1"] * 3 + ["ai.chat.response.r1"]
    chunks = connection.chunks("ai.chat.response.stream.r1")
    assert [(chunk.type, chunk.content, chunk.done) for chunk in chunks] == [
        ("chunk", "Yes", False),
        ("chunk", ".", False),
        ("done", "", True),
    ]
    assert {chunk.request_id for chunk in chunks} == {"r1"}
    assert all(chunk.timestamp > 1_700_000_000 for chunk in chunks)
    response = connection.response("ai.chat.response.r1")
    assert response.response == response.response_text == "Yes."
    assert response.success
    assert response.error == ""
    assert response.user_id == "u1"


async def test_without_streaming_only_the_response_is_sent() -> None:
    assert (await handle(ScriptedChat(), request_id="r1", message="?")).subjects() == ["ai.chat.response.r1"]


async def test_the_client_may_choose_where_the_response_goes() -> None:
    connection = Connection()
    request = messages_pb2.ChatRequest(
        request_id="r1", message="?", response_subject="my.answers", enable_streaming=True
    )
    handler = ChatHandler(ScriptedChat(), None, FORGETFUL, Trust(answer_subjects=("my.>",)))
    await handler.handle(Call.within(5.0), request, reply_to(connection))
    assert connection.subjects()[-1] == "my.answers"
    assert connection.subjects()[0] == "ai.chat.response.stream.r1"
    assert "ai.chat.response.r1" not in connection.subjects()


async def test_a_payload_does_not_speak_for_another_user_than_its_subject() -> None:
    connection, chat = Connection(), ScriptedChat()
    request = messages_pb2.ChatRequest(request_id="r1", message="?", user_id="bob")
    handler = ChatHandler(chat, None, FORGETFUL, Trust())
    with refused(InvalidRequestError, field="user_id") as raised:
        await handler.handle(Call.within(5.0), request, reply_to(connection, user_id="alice"))
    assert connection.published == []
    await handler.fail(request, raised.value, reply_to(connection, user_id="alice"))
    assert connection.response("ai.chat.response.r1").error == (
        "user_id is 'bob' on the subject of 'alice'; the same or none was expected"
    )


async def test_a_reply_subject_gets_the_response_too() -> None:
    connection = await handle(ScriptedChat(), INBOX, request_id="r1", message="?")
    assert connection.subjects() == ["ai.chat.response.r1", INBOX]
    assert connection.response(INBOX) == connection.response("ai.chat.response.r1")


async def test_a_reply_subject_is_enough() -> None:
    assert (await handle(ScriptedChat(), INBOX, message="?", enable_streaming=True)).subjects() == [INBOX]


@pytest.mark.parametrize(
    ("message", "query", "text"), [("m", "q", "m"), ("", "q", "q"), ("  ", "q", "q"), ("m", "", "m"), ("", "", "")]
)
async def test_the_question_is_the_first_that_is_not_empty(message: str, query: str, text: str) -> None:
    chat = ScriptedChat()
    await handle(chat, INBOX, message=message, query=query)
    assert chat.asked[0].text == text


async def test_every_wish_of_the_request_reaches_the_graph() -> None:
    chat = ScriptedChat()
    await handle(
        chat,
        INBOX,
        user_id="u1",
        message="?",
        enable_rag=True,
        enable_reranker=True,
        top_k=3,
        collection="rules",
        system_prompt="Be brief.",
    )
    assert chat.asked == [ChatQuestion("?", "u1", True, True, 3, "rules", "Be brief.")]


async def test_sources_are_named_once_in_their_order() -> None:
    passages = (Passage("x", "b.md"), Passage("y", "a.md"), Passage("z", "b.md"), Passage("w", ""))
    end = AnswerEnd(passages, used_retrieval=True)
    connection = await handle(ScriptedChat((AnswerToken("Yes."), end)), INBOX, message="?")
    response = connection.response(INBOX)
    assert list(response.rag_sources) == ["b.md", "a.md"]
    assert response.used_rag


async def test_sources_lead_to_section_and_page_and_programs_get_these_apart() -> None:
    passages = (
        Passage("x", "pump.pdf", "Pump > Oil", page=12),
        Passage("y", "pump.pdf", "Pump > Oil", page=13),
        Passage("z", "pump.pdf", "Pump > Oil", page=12),
        Passage("w", "roof.md", "Roof > Tiles"),
    )
    end = AnswerEnd(passages, used_retrieval=True)
    connection = await handle(ScriptedChat((AnswerToken("Yes."), end)), INBOX, message="?")
    response = connection.response(INBOX)
    assert list(response.rag_sources) == ["pump.pdf (Oil, page 12)", "pump.pdf (Oil, page 13)", "roof.md (Tiles)"]
    assert [(one.source, one.section, one.page) for one in response.citations] == [
        ("pump.pdf", "Oil", 12),
        ("pump.pdf", "Oil", 13),
        ("roof.md", "Tiles", 0),
    ]


async def test_a_failed_answer_ends_its_stream_and_says_why() -> None:
    end = AnswerEnd(error="the language model cannot be reached", error_kind="unavailable")
    connection = await handle(ScriptedChat((end,)), request_id="r1", message="?", enable_streaming=True)
    assert [chunk.type for chunk in connection.chunks("ai.chat.response.stream.r1")] == ["done"]
    response = connection.response("ai.chat.response.r1")
    assert not response.success
    assert response.error == "the language model cannot be reached"


@pytest.mark.parametrize("error", [UnavailableError("Chat.answer broke off, its replica is gone")])
async def test_a_graph_that_dies_in_mid_answer_leaves_the_text_so_far(error: Exception) -> None:
    chat = ScriptedChat((AnswerToken("So "), AnswerToken("far")), error=error)
    connection = await handle(chat, request_id="r1", message="?", enable_streaming=True)
    response = connection.response("ai.chat.response.r1")
    assert (response.success, response.response) == (False, "So far")
    assert response.error == "the answer broke off: Chat.answer broke off, its replica is gone"
    assert connection.chunks("ai.chat.response.stream.r1")[-1].done


LOST = (
    ((AnswerToken("So"), AnswerEnd(error="gone", error_kind="unavailable", replica_lost=True)), None),
    ((AnswerToken("So"),), ReplicaLostError("gone")),
)
"""A model below Chat, and Chat itself."""


@pytest.mark.parametrize(("items", "error"), LOST)
async def test_an_answer_whose_replica_is_lost_is_made_anew_where_nothing_was_told(
    items: tuple[AnswerItem, ...], error: HearthError | None
) -> None:
    chat = LosingChat(lost=items, lost_with=error, losses=2)
    connection = await handle(chat, request_id="r1", message="?")
    response = connection.response("ai.chat.response.r1")
    assert (response.success, response.response, response.error) == (True, "Yes.", "")
    assert len(chat.asked) == 3


async def test_a_question_that_ends_each_replica_is_asked_three_times() -> None:
    chat = LosingChat(lost=LOST[0][0], losses=9)
    response = (await handle(chat, request_id="r1", message="?")).response("ai.chat.response.r1")
    assert not response.success
    assert len(chat.asked) == 3


async def test_an_answer_that_was_streamed_in_part_is_not_made_anew() -> None:
    chat = LosingChat(lost=LOST[0][0], losses=1)
    connection = await handle(chat, request_id="r1", message="?", enable_streaming=True)
    assert [chunk.content for chunk in connection.chunks("ai.chat.response.stream.r1")] == ["So", ""]
    assert (connection.response("ai.chat.response.r1").response, len(chat.asked)) == ("So", 1)


async def test_a_stream_that_was_told_nothing_is_told_the_answer_that_is_made_anew() -> None:
    chat = LosingChat(lost=(AnswerEnd(error="gone", error_kind="unavailable", replica_lost=True),), losses=1)
    connection = await handle(chat, request_id="r1", message="?", enable_streaming=True)
    assert [chunk.content for chunk in connection.chunks("ai.chat.response.stream.r1")] == ["Yes", ".", ""]


async def test_an_answer_that_was_cut_at_the_model_s_limit_stands_and_says_so() -> None:
    end = AnswerEnd(error="the answer was cut", unfinished="It clo")
    connection = await handle(
        ScriptedChat((AnswerToken("It opens at nine."), AnswerToken(" It clo"), end)), request_id="r1", message="?"
    )
    response = connection.response("ai.chat.response.r1")
    assert response.success
    assert (response.response, response.error) == ("It opens at nine. It clo", "the answer was cut")


@pytest.mark.parametrize(
    ("tokens", "unfinished", "remembered"),
    [
        (("It opens at nine.", " It clo"), "It clo", "It opens at nine."),
        (("It opens at nine.", " It clo", " \n"), "It clo", "It opens at nine."),
        (("It op",), "It op", ""),
        (("It opens at nine.", " It closes."), "", "It opens at nine. It closes."),
    ],
)
def test_a_sentence_that_was_broken_off_is_not_remembered(
    tokens: tuple[str, ...], unfinished: str, remembered: str
) -> None:
    answer = CollectedAnswer(0)
    for token in tokens:
        answer.take(AnswerToken(token))
    answer.take(AnswerEnd(error="the answer was cut", unfinished=unfinished))
    assert answer.remembered == remembered


async def test_an_answer_over_the_server_s_limit_is_cut_and_says_so() -> None:
    chat = ScriptedChat((AnswerToken("ü" * 5000), AnswerEnd()))
    connection = await handle(chat, INBOX, max_payload=1000, message="?")
    (payload,) = [payload for _, payload in connection.published]
    assert 900 < len(payload) <= 1000
    response = connection.response(INBOX)
    assert response.success
    assert response.error == TEXT_CUT
    assert response.response == response.response_text == "ü" * len(response.response)


async def test_speech_that_is_not_there_is_told_beside_the_answer() -> None:
    response = (await handle(ScriptedChat(), INBOX, message="?", enable_tts=True)).response(INBOX)
    assert (response.success, response.audio, response.error) == (True, b"", NO_SPEECH)


@pytest.mark.parametrize("request_id", ["has space", "*", "a.b", "stream.r1", "a.>", "a..b", ".", "\x00", "x" * 2000])
async def test_an_id_that_cannot_stand_in_a_subject_is_refused_and_told(request_id: str) -> None:
    connection = Connection()
    request = messages_pb2.ChatRequest(request_id=request_id, message="?", enable_streaming=True)
    handler = ChatHandler(ScriptedChat(), None, FORGETFUL, Trust())
    with refused(InvalidRequestError, field="request_id") as raised:
        await handler.handle(Call.within(5.0), request, reply_to(connection, INBOX))
    await handler.fail(request, raised.value, reply_to(connection, INBOX))
    assert connection.subjects() == [INBOX]
    assert not connection.response(INBOX).success


@pytest.mark.parametrize(
    "subject",
    [
        "ai.chat.request",
        "ai.chat.user.x.message",
        "$SYS.x",
        "a.*",
        "hearth.audio.replicas",
        "ai.pipeline.status.r1",
        "ai.chat.response.stream.another",
        "_INBOX.another.client",
        "my.answers",
    ],
)
async def test_a_response_subject_that_would_do_harm_is_refused(subject: str) -> None:
    connection = Connection()
    request = messages_pb2.ChatRequest(request_id="r1", message="?", response_subject=subject)
    handler = ChatHandler(ScriptedChat(), None, FORGETFUL, Trust())
    with refused(InvalidRequestError, field="response_subject") as raised:
        await handler.handle(Call.within(5.0), request, reply_to(connection))
    assert connection.published == []
    await handler.fail(request, raised.value, reply_to(connection))
    assert not connection.response("ai.chat.response.r1").success, "the usual subject has to do"


async def test_nothing_over_the_limit_is_ever_published() -> None:
    connection = Connection(max_payload=10)
    with refused(PayloadTooLargeError, limit=Limit("max_payload", 10, 14)):
        await reply_to(connection).sender.send("x", messages_pb2.ChatResponse(response="x" * 12))
    assert connection.published == []


async def greet(chat: ScriptedChat, reply: str = "", user_id: str = "u1", **fields: Any) -> Connection:
    connection = Connection()
    request, handler = messages_pb2.GreetingRequest(**fields), GreetingHandler(chat, Trust())
    box = reply_to(connection, reply, user_id)
    try:
        await handler.handle(Call.within(5.0), request, box)
    except HearthError as error:
        await handler.fail(request, error, box)
    return connection


@pytest.mark.parametrize(
    ("nickname", "username", "name"),
    [("Nick", "user", "Nick"), ("", "user", "user"), (" ", "user", "user"), ("", "", "")],
)
async def test_a_greeting_is_for_the_nickname_else_the_username(nickname: str, username: str, name: str) -> None:
    connection = await greet(ScriptedChat(), INBOX, nickname=nickname, username=username)
    assert connection.subjects() == ["ai.chat.user.u1.greeting.response", INBOX]
    for _, payload in connection.published:
        response = messages_pb2.GreetingResponse.FromString(payload)
        assert (response.user_id, response.greeting) == ("u1", f"Hello {name}!")


async def test_a_greeting_that_fails_keeps_nobody_waiting() -> None:
    connection = await greet(ScriptedChat(error=UnavailableError("no model")), INBOX, nickname="Nick")
    (subject, payload), (reply, refusal) = connection.published
    assert subject == "ai.chat.user.u1.greeting.response"
    assert messages_pb2.GreetingResponse.FromString(payload) == messages_pb2.GreetingResponse(user_id="u1")
    assert reply == INBOX
    error = messages_pb2.ErrorResponse.FromString(refusal)
    assert (error.error, error.message, error.type) == (True, "no model", "unavailable")


async def test_a_greeting_for_a_name_that_nothing_can_be_published_to_is_refused_on_the_reply_subject() -> None:
    connection = await greet(ScriptedChat(), INBOX, user_id="a*b", nickname="Nick")
    ((subject, refusal),) = connection.published
    assert subject == INBOX
    assert messages_pb2.ErrorResponse.FromString(refusal).type == "invalid_request"


async def test_a_login_is_answered_by_nothing() -> None:
    connection = Connection()
    await LoginHandler(ScriptedChat()).handle(Call.within(5.0), messages_pb2.LoginEvent(), reply_to(connection, INBOX))
    assert connection.published == []


@pytest.mark.parametrize(("payload", "asks"), [("", "carol"), ("bob", "bob")])
async def test_a_question_of_nobody_is_that_of_who_asks(payload: str, asks: str) -> None:
    chat, connection = ScriptedChat(), Connection()
    reply = Reply(Sender(connection), "ai.chat.request", {}, "_INBOX.x.1", names=AllowedNames(user="carol"))
    request = messages_pb2.ChatRequest(message="?", user_id=payload)
    await ChatHandler(chat, None, FORGETFUL, Trust()).handle(Call.within(5.0), request, reply)
    assert [question.user_id for question in chat.asked] == [asks]
