"""Whose request it is."""

from dataclasses import dataclass, field

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.askers import BY_SUBJECT, Asker, Askers
from bridges.nats.trust import STRICT
from bridges.requests import REQUESTS
from deployments.errors import InvalidRequestError
from deployments.settings.orchestration import NatsSettings
from deployments.settings.users import UserLimits

ROWS = {row.name: row for row in REQUESTS}
NAMED = messages_pb2.ChatRequest(message="?", user_id="bob").SerializeToString()


@dataclass
class Arrived:
    subject: str
    data: bytes = b""
    reply: str = "_INBOX.mine.1"
    headers: dict[str, str] | None = field(default_factory=lambda: {"Hearth-User": "carol"})


def asker(row: str, message: Arrived, *, header: str = "", any_user: bool = False) -> Asker:
    settings = NatsSettings(users={"*": UserLimits()}, user_header=header, any_user=any_user)
    return Askers.of(settings).asker(ROWS[row], message)


def test_the_user_of_the_subject_is_who_asks_whatever_else_is_claimed() -> None:
    message = Arrived("ai.chat.user.alice.message", NAMED)
    assert asker("chat-message", message, header="Hearth-User") == Asker("user", "alice")


def test_where_the_payload_is_believed_it_is_who_asks() -> None:
    assert asker("chat-message", Arrived("ai.chat.user.alice.message", NAMED), any_user=True) == Asker("user", "bob")
    unnamed = Arrived("ai.chat.user.alice.message", messages_pb2.ChatRequest().SerializeToString())
    assert asker("chat-message", unnamed, any_user=True) == Asker("user", "alice")


def test_where_the_subject_names_nobody_the_payload_may() -> None:
    assert asker("chat-request", Arrived("ai.chat.request", NAMED)) == Asker("user", "bob")


def test_a_header_names_the_user_only_where_the_settings_believe_it() -> None:
    message = Arrived("hearth.documents.ingest")
    assert asker("documents-ingest", message, header="Hearth-User") == Asker("user", "carol")
    assert asker("documents-ingest", message) == Asker("connection", "_INBOX.mine")


def test_a_header_goes_before_the_payload_and_that_may_not_name_another_user() -> None:
    carol = asker("chat-request", Arrived("ai.chat.request", NAMED), header="Hearth-User")
    assert carol == Asker("user", "carol")
    carol.check_user("carol")
    carol.check_user("")
    with pytest.raises(InvalidRequestError, match=r"'bob'.*'carol'") as raised:
        carol.check_user("bob")
    assert raised.value.field == "user_id"


def test_a_header_may_not_name_another_user_than_the_subject() -> None:
    alice = asker("login", Arrived("ai.chat.user.alice.login"), header="Hearth-User")
    assert alice == Asker("user", "alice")
    with pytest.raises(InvalidRequestError, match=r"'alice'.*'carol'"):
        alice.check_user("")
    asker("login", Arrived("ai.chat.user.carol.login"), header="Hearth-User").check_user("")


def test_where_the_payload_is_believed_or_the_header_is_not_they_may_differ() -> None:
    asker("chat-request", Arrived("ai.chat.request", NAMED), header="Hearth-User", any_user=True).check_user("bob")
    asker("chat-request", Arrived("ai.chat.request", NAMED)).check_user("bob")


def test_the_inbox_of_one_user_names_that_user_where_nothing_else_does() -> None:
    inbox = "_INBOX_USER.dan.x.1"
    assert asker("documents-ingest", Arrived("hearth.documents.ingest", reply=inbox)) == Asker("user", "dan")
    assert asker("speech-request", Arrived("ai.voice.tts.request.s1", reply=inbox)) == Asker("user", "dan")
    assert asker("chat-request", Arrived("ai.chat.request", NAMED, inbox)) == Asker("user", "bob")
    assert asker("chat-message", Arrived("ai.chat.user.alice.message", reply=inbox)) == Asker("user", "alice")
    ingest = Arrived("hearth.documents.ingest", reply=inbox)
    assert asker("documents-ingest", ingest, header="Hearth-User") == Asker("user", "carol")


@pytest.mark.parametrize("reply", ["_INBOX_USER.dan", "_INBOX_USERS.dan.1", "my._INBOX_USER.dan.1"])
def test_what_only_looks_like_a_user_s_inbox_names_nobody(reply: str) -> None:
    assert asker("pipelines-list", Arrived("hearth.pipelines.list", reply=reply)).kind == "connection"


def test_a_live_session_is_whose_header_payload_or_inbox_says() -> None:
    askers = Askers("Hearth-User", STRICT, looks_inside=True)
    start = Arrived("ai.voice.stream.s1", reply="_INBOX_USER.dan.1")
    assert askers.of_session("s1", start, "bob") == Asker("user", "carol")
    assert BY_SUBJECT.of_session("s1", start, "bob") == Asker("user", "bob")
    assert BY_SUBJECT.of_session("s1", start, "") == Asker("user", "dan")
    assert BY_SUBJECT.of_session("s1", Arrived("ai.voice.stream.s1"), "") == Asker("session", "s1")


@pytest.mark.parametrize("headers", [None, {}, {"Hearth-User": " "}])
def test_without_the_header_it_is_the_connection(headers: dict[str, str] | None) -> None:
    message = Arrived("hearth.pipelines.list", headers=headers)
    assert asker("pipelines-list", message, header="Hearth-User") == Asker("connection", "_INBOX.mine")


def test_speech_to_a_session_is_that_session_s() -> None:
    assert asker("speech-request", Arrived("ai.voice.tts.request.s1")) == Asker("session", "s1")


def test_who_can_be_known_by_nothing_shares_with_all_such() -> None:
    assert asker("voice-request", Arrived("ai.voice.request", reply="")) == Asker("connection", "")


def test_a_payload_that_cannot_be_read_names_nobody() -> None:
    assert asker("chat-request", Arrived("ai.chat.request", b"\xff\xff")) == Asker("connection", "_INBOX.mine")


def test_payloads_are_not_read_where_nobody_is_limited() -> None:
    assert BY_SUBJECT.asker(ROWS["chat-request"], Arrived("ai.chat.request", NAMED)).user == ""


def test_a_user_a_session_and_a_connection_of_one_name_are_three() -> None:
    assert len({Asker(kind, "x").key for kind in ("user", "session", "connection")}) == 3
