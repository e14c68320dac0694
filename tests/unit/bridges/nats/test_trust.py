"""What a client may decide for others."""

import pytest

from bridges.nats.trust import Trust
from bridges.subjects import CHAT_RESPONSE, CHAT_STREAM, own_subjects
from deployments.errors import InvalidRequestError
from deployments.settings.orchestration import NatsSettings
from tests.refusals import refused

OWN = own_subjects((CHAT_STREAM, CHAT_RESPONSE), {"request_id": "r1"})
NOT_FOR_ANSWERS = [
    "$JS.API.STREAM.DELETE.X",
    "$SYS.REQ.SERVER.PING",
    "hearth.audio.interrupt",
    "hearth.audio.replicas",
    "hearth.pipelines.replicas",
    "ai.chat.request",
    "ai.chat.user.bob.message",
    "ai.pipeline.status.r1",
    "ai.chat.response.r2",
    "ai.chat.response.stream.r2",
    "my.answers",
    "",
    "a b",
    "_INBOX.*",
    "_INBOX.>",
    "_INBOX_HEARTH.x.1",
    "_INBOX_USER.alice.>",
    "_INBOX_alice.x",
]


@pytest.mark.parametrize("subject", NOT_FOR_ANSWERS)
def test_no_answer_goes_where_only_others_speak(subject: str) -> None:
    assert not Trust().allows_reply(subject, OWN)
    with refused(InvalidRequestError, field="response_subject"):
        Trust().response_subject(subject, "_INBOX.mine.1", OWN)


@pytest.mark.parametrize(
    "subject",
    [
        *("_INBOX.mine.1", "_INBOX.x", "_INBOX_USER.alice.mine.1"),
        *("ai.chat.response.r1", "ai.chat.response.stream.r1"),
    ],
)
def test_an_answer_goes_to_an_inbox_and_to_the_request_s_own_subjects(subject: str) -> None:
    assert Trust().allows_reply(subject, OWN)


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ("_INBOX.mine", ["_INBOX.another"]),
        ("_INBOX_USER.alice.mine", ["_INBOX_USER.alice.another", "_INBOX_USER.bob.mine", "_INBOX.mine"]),
        ("_INBOX_alice.mine", ["_INBOX_alice.another", "_INBOX_bob.mine"]),
    ],
)
def test_a_chosen_inbox_is_that_of_the_reply_subject(mine: str, others: list[str]) -> None:
    trust = Trust(answer_subjects=("_INBOX_alice.>", "_INBOX_bob.>"))
    assert trust.response_subject(f"{mine}.2", f"{mine}.1", OWN) == f"{mine}.2"
    for reply in (*(f"{other}.1" for other in others), ""):
        with refused(InvalidRequestError, field="response_subject"):
            trust.response_subject(f"{mine}.2", reply, OWN)


def test_no_setting_opens_the_inboxes_of_replicas() -> None:
    assert not Trust(answer_subjects=("_INBOX_HEARTH.>",)).allows_reply("_INBOX_HEARTH.x.1")


def test_a_request_may_name_its_own_answer_subject() -> None:
    assert Trust().response_subject("ai.chat.response.r1", "", OWN) == "ai.chat.response.r1"


@pytest.mark.parametrize(
    ("pattern", "subject"), [("my.>", "my.answers.1"), ("my.*.answers", "my.x.answers"), ("answers", "answers")]
)
def test_the_settings_list_further_subjects(pattern: str, subject: str) -> None:
    trust = Trust(answer_subjects=(pattern,))
    assert trust.allows_reply(subject, OWN)
    assert trust.response_subject(subject, "", OWN) == subject
    assert not trust.allows_reply(f"x.{subject}", OWN)


@pytest.mark.parametrize("pattern", ["ai.>", "hearth.>"])
def test_no_setting_opens_what_takes_requests_or_is_internal(pattern: str) -> None:
    trust = Trust(answer_subjects=(pattern,))
    assert not trust.allows_reply("ai.chat.request", OWN)
    assert not trust.allows_reply("hearth.audio.interrupt", OWN)


@pytest.mark.parametrize("subject", [">", "*.x", "$JS.>", "a..b", "a.>.b", ""])
def test_a_setting_that_opens_everything_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match=r"a subject such as 'my\.answers\.>' was expected"):
        NatsSettings.model_validate({"answer_subjects": [subject]})


@pytest.mark.parametrize("subject", ["my answers.>", "_INBOX_*.>", "a.b>", "a.\tb", "a.b\n"])
def test_a_setting_that_is_no_subject_is_refused_with_its_value(subject: str) -> None:
    with pytest.raises(ValueError, match="answer_subjects") as raised:
        NatsSettings.model_validate({"answer_subjects": [subject]})
    assert repr(subject) in str(raised.value)


@pytest.mark.parametrize(
    ("of_subject", "of_payload", "user"), [("alice", "", "alice"), ("alice", "alice", "alice"), ("", "bob", "bob")]
)
def test_the_user_is_that_of_the_subject_or_the_only_one_named(of_subject: str, of_payload: str, user: str) -> None:
    assert Trust().user(of_subject, of_payload) == user


def test_another_user_in_the_payload_is_refused_unless_the_settings_allow_it() -> None:
    with refused(InvalidRequestError, field="user_id"):
        Trust().user("alice", "bob")
    assert Trust(any_user=True).user("alice", "bob") == "bob"
