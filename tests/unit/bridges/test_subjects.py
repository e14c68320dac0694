"""The table of subjects: what a row stands for, where answers may go, and that no subject is written elsewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridges.subjects import (
    CHAT_MESSAGE,
    CHAT_RESPONSE,
    CHAT_STREAM,
    GREETING_RESPONSE,
    INBOX,
    STATUS_VALUE,
    SUBJECTS,
    Direction,
    Subject,
    may_be_answered,
    own_subjects,
    subject_for,
)
from deployments.errors import InvalidRequestError

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "bridges" / "subjects.py"
SUBJECT = re.compile(r"(ai|hearth)\.[a-z{*>]|\$(JS|KV|SRV|SYS)\b|_INBOX\b")
NO_SUBJECTS = {"hearth.deployment"}
"""Texts that look like subjects: the name of an attribute of spans."""


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module, also those inside of f-strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def subjects_in(tree: ast.AST) -> list[str]:
    return [text for text in texts(tree) if SUBJECT.match(text) and text not in NO_SUBJECTS]


def test_no_subject_is_written_outside_of_the_table() -> None:
    files = [path for folder in ("bridges", "deployments") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {
        str(path.relative_to(ROOT)): subjects_in(ast.parse(path.read_text(encoding="utf-8")))
        for path in files
        if path != TABLE and "generated" not in path.parts
    }
    assert len(found) > 100
    assert {path: subjects for path, subjects in found.items() if subjects} == {}


@pytest.mark.parametrize(
    "code",
    [
        'client.publish("ai.chat.request")',
        'f"ai.voice.stream.{session_id}"',
        "SUBJECT = 'hearth.audio.replicas'",
        'f"$KV.{bucket}.status.>"',
        'subscribe("$SRV.PING")',
        'subscribe("_INBOX.>")',
    ],
)
def test_a_subject_that_is_written_elsewhere_would_be_found(code: str) -> None:
    assert subjects_in(ast.parse(code))


def test_a_subject_is_taken_apart_into_its_tokens() -> None:
    assert CHAT_MESSAGE.parameters("ai.chat.user.u1.message") == {"user_id": "u1"}
    assert CHAT_MESSAGE.parameters("ai.chat.user.u1.x.message") is None
    assert CHAT_MESSAGE.parameters("aixchat.user.u1.message") is None
    assert INBOX.parameters("_INBOX.a.b") == {"inbox": "a.b"}


def test_an_id_is_one_token() -> None:
    with pytest.raises(InvalidRequestError, match=r"request_id 'stream\.r1' cannot stand in a subject"):
        subject_for(CHAT_RESPONSE, request_id="stream.r1")
    assert CHAT_RESPONSE.wildcard == "ai.chat.response.*"
    assert CHAT_MESSAGE.wildcard == "ai.chat.user.*.message"


@pytest.mark.parametrize(("size", "is_taken"), [(1007, True), (1008, False), (1024, False)])
def test_an_id_leaves_room_for_the_rest_of_its_subject(size: int, is_taken: bool) -> None:
    request_id = "x" * size
    assert bool(own_subjects([CHAT_RESPONSE], {"request_id": request_id})) is is_taken
    if is_taken:
        assert len(subject_for(CHAT_RESPONSE, request_id=request_id)) == 1024
        return
    with pytest.raises(InvalidRequestError, match="too long") as raised:
        subject_for(CHAT_RESPONSE, request_id=request_id)
    assert raised.value.field == "request_id"


def test_the_name_of_an_inbox_may_hold_dots() -> None:
    assert INBOX.wildcard == "_INBOX.>"


def test_the_answers_of_a_request_are_those_whose_tokens_it_has() -> None:
    rows = (CHAT_RESPONSE, CHAT_STREAM, GREETING_RESPONSE)
    own = {"ai.chat.response.r1", "ai.chat.response.stream.r1"}
    assert own_subjects(rows, {"request_id": "r1"}) == own
    assert own_subjects(rows, {"request_id": "stream.r1", "user_id": "u1"}) == {"ai.chat.user.u1.greeting.response"}
    assert own_subjects(rows, {"request_id": ""}) == set()


def test_known_tokens_narrow_a_wildcard() -> None:
    assert CHAT_MESSAGE.narrowed(user_id="u1", other="x") == "ai.chat.user.u1.message"
    assert STATUS_VALUE.narrowed(runs_bucket="runs") == "$KV.runs.status.>"


def test_a_wildcard_inside_of_a_token_is_none() -> None:
    inside = next(row for row in SUBJECTS if "KV_{" in row.pattern)
    with pytest.raises(ValueError, match="NATS takes no wildcard inside of a token"):
        inside.narrowed()


@pytest.mark.parametrize(
    "row", [row for row in SUBJECTS if row.direction is Direction.ANSWER], ids=lambda row: row.pattern
)
def test_an_answer_may_go_where_clients_listen(row: Subject) -> None:
    subject = row.wildcard.replace("*", "x").replace(">", "x.y")
    assert may_be_answered(subject)


@pytest.mark.parametrize(
    "row", [row for row in SUBJECTS if row.direction is not Direction.ANSWER], ids=lambda row: row.pattern
)
def test_no_answer_goes_where_only_hearth_may_speak(row: Subject) -> None:
    """Hearth may publish there and its clients may not, so that a client could have it speak for them."""
    subject = re.sub(r"\{\w+\}", "x", row.pattern)
    assert not may_be_answered(subject)


@pytest.mark.parametrize("subject", ["my.inbox", "_INBOX.a.b", "_R_.x", "answers"])
def test_an_answer_may_go_to_any_subject_of_a_client_s_own(subject: str) -> None:
    assert may_be_answered(subject)
