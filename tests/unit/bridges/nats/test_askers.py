"""Whose request it is."""

from dataclasses import dataclass, field

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.askers import BY_SUBJECT, Asker, Askers
from bridges.requests import REQUESTS
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


def test_a_header_goes_before_the_payload() -> None:
    assert asker("chat-request", Arrived("ai.chat.request", NAMED), header="Hearth-User") == Asker("user", "carol")


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
