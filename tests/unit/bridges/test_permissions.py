"""What each role may do, as it follows from the table of subjects."""

from fnmatch import fnmatchcase

import pytest

from bridges.permissions import installation_names, permissions, user_permissions, users_for
from bridges.subjects import SUBJECTS, Direction, Role
from deployments.errors import InvalidRequestError
from deployments.settings.orchestration import OrchestrationSettings
from tests.refusals import refused

NAMES = {
    "conversations_bucket": "talks",
    "runs_bucket": "runs",
    "triggers_stream": "TRIGGERS",
    "requests_stream": "",
    "answers_bucket": "",
    "dead_stream": "",
}
DURABLE = NAMES | {"requests_stream": "REQUESTS", "answers_bucket": "answers", "dead_stream": "DEAD"}
ONE_USER = {**NAMES, "user_id": "u1"}
HEARTH = (Role.NATS_INGRESS, Role.AUDIO_INGRESS, Role.PIPELINES)


def test_a_client_publishes_requests_and_subscribes_to_answers() -> None:
    may = permissions(Role.CLIENT, NAMES)
    assert may.publish == (
        "ai.chat.request",
        "ai.chat.user.*.greeting.request",
        "ai.chat.user.*.login",
        "ai.chat.user.*.message",
        "ai.pipeline.trigger",
        "ai.voice.request",
        "ai.voice.stream.*",
        "ai.voice.tts.request.*",
        "ai.voice.tts.voices.list",
        "ai.voice.tts.voices.refresh",
        "hearth.documents.delete",
        "hearth.documents.ingest",
        "hearth.documents.list",
        "hearth.pipelines.list",
        "hearth.status",
    )
    assert may.subscribe == (
        "_INBOX.>",
        "ai.chat.response.*",
        "ai.chat.response.stream.*",
        "ai.chat.user.*.greeting.response",
        "ai.pipeline.status.>",
        "ai.voice.response.*",
        "ai.voice.transcription.*",
        "ai.voice.tts.audio.*",
        "ai.voice.tts.status.*",
        "hearth.conversation.text.*",
        "hearth.conversation.turn.*",
    )


def test_a_client_of_one_user_asks_for_that_user_and_hears_nobody_else() -> None:
    may = permissions(Role.USER, ONE_USER)
    assert may.publish == (
        "ai.chat.user.u1.greeting.request",
        "ai.chat.user.u1.login",
        "ai.chat.user.u1.message",
        "ai.pipeline.trigger",
        "ai.voice.tts.voices.list",
        "ai.voice.tts.voices.refresh",
        "hearth.documents.delete",
        "hearth.documents.ingest",
        "hearth.documents.list",
        "hearth.pipelines.list",
        "hearth.status",
    )
    assert may.subscribe == ("_INBOX_USER.u1.>", "ai.chat.user.u1.greeting.response")


def test_nothing_that_a_client_of_one_user_sends_names_another_user_or_a_session() -> None:
    """Only what the server sees, the subject, is held to the user; what a payload or a session id says is not."""
    sent = [row for row in SUBJECTS if Role.USER in row.publishers]
    assert all(row.tokens <= {"user_id"} for row in sent)
    unseen = [row for row in sent if "user_id" not in row.tokens]
    fields = {field.name for row in unseen for message in row.messages for field in message.DESCRIPTOR.fields}
    assert fields
    assert not fields & {"user_id", "session_id", "response_subject"}


@pytest.mark.parametrize("role", [Role.USER, Role.OPERATOR])
def test_whose_inboxes_somebody_hears_has_to_be_known(role: Role) -> None:
    with pytest.raises(ValueError, match=f"the user_id of {role} is not known"):
        permissions(role, NAMES)


def test_hearth_may_answer_where_the_settings_say() -> None:
    graph, clients, *_ = users_for([], ["my.answers.>"])
    assert "my.answers.>" in user_permissions(graph, NAMES)["publish"]["allow"]
    assert "my.answers.>" not in user_permissions(clients, NAMES)["publish"]["allow"]


def test_no_two_users_hear_each_other_s_inboxes() -> None:
    users = users_for(["alice", "bob", "a@b"])
    inboxes = [
        {subject for subject in user_permissions(user, NAMES)["subscribe"]["allow"] if subject.startswith("_INBOX")}
        for user in users
    ]
    assert inboxes == [
        {"_INBOX_HEARTH.>"},
        {"_INBOX.>"},
        {"_INBOX_USER.operator.>"},
        {"_INBOX_USER.alice.>"},
        {"_INBOX_USER.bob.>"},
        {"_INBOX_USER.a@b.>"},
    ]


@pytest.mark.parametrize("user_ids", [["a.b"], [""], ["*"], ["clients"], ["alice", "alice"], ["a-b", "a_b"]])
def test_a_user_id_is_one_token_and_no_other_user_s_name(user_ids: list[str]) -> None:
    with refused(InvalidRequestError, field="user_id"):
        users_for(user_ids)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.USER, Role.OPERATOR])
def test_nobody_outside_comes_near_what_replicas_and_the_server_tell_each_other(role: Role) -> None:
    may = permissions(role, DURABLE | ({} if role is Role.CLIENT else {"user_id": "u1"}))
    rows = [row for row in SUBJECTS if row.direction in (Direction.INTERNAL, Direction.SERVER)]
    inner = [row.narrowed(**DURABLE) for row in rows if role not in row.publishers]
    reached = [
        (subject, allowed)
        for subject in inner
        for allowed in (*may.publish, *may.subscribe)
        if fnmatchcase(subject, allowed.replace(">", "*"))
    ]
    assert reached == []


@pytest.mark.parametrize("role", HEARTH)
def test_no_part_of_hearth_may_send_requests_or_read_another_s(role: Role) -> None:
    may = permissions(role, NAMES)
    asked = {row.wildcard for row in SUBJECTS if row.direction is Direction.REQUEST}
    assert not asked & set(may.publish)
    taken = {row.wildcard for row in SUBJECTS if row.direction is Direction.REQUEST and role in row.subscribers}
    assert asked & set(may.subscribe) == taken


@pytest.mark.parametrize("role", HEARTH)
def test_a_part_of_hearth_reaches_its_own_buckets_only(role: Role) -> None:
    server = [subject for subject in permissions(role, NAMES).publish if subject.startswith("$")]
    assert server
    assert all(any(name in subject for name in NAMES.values() if name) for subject in server)


def test_a_bucket_or_stream_that_is_not_used_is_not_permitted() -> None:
    without = NAMES | {"conversations_bucket": "", "triggers_stream": ""}
    for role in HEARTH:
        subjects = permissions(role, without).publish
        assert not [subject for subject in subjects if subject.startswith("$") and "runs" not in subject]


def test_the_names_of_buckets_have_to_be_known() -> None:
    with pytest.raises(ValueError, match="conversations_bucket is not known"):
        permissions(Role.NATS_INGRESS, {})


def test_an_installation_s_names_come_from_its_settings() -> None:
    assert installation_names(OrchestrationSettings()) == {
        "conversations_bucket": "hearth_conversations",
        "runs_bucket": "hearth_pipelines",
        "triggers_stream": "HEARTH_PIPELINES",
        "requests_stream": "",
        "answers_bucket": "",
        "dead_stream": "",
    }
    durable = OrchestrationSettings.model_validate({"nats": {"durable": {"rows": ["greeting"]}}})
    assert installation_names(durable)["requests_stream"] == "HEARTH_REQUESTS"
    forgetful = OrchestrationSettings.model_validate({"memory": {"enabled": False}, "pipelines": {"stream": ""}})
    assert installation_names(forgetful)["conversations_bucket"] == ""
    assert installation_names(forgetful)["triggers_stream"] == ""


def test_what_kept_requests_need_is_permitted_where_there_are_any() -> None:
    durable, plain = DURABLE | {"user_id": "u1"}, NAMES | {"user_id": "u1"}
    more = {role: set(permissions(role, durable).publish) - set(permissions(role, plain).publish) for role in Role}
    assert more[Role.NATS_INGRESS] == {
        "$JS.ACK.*.hearth-requests.>",
        "$JS.API.CONSUMER.CREATE.*.hearth-requests",
        "$JS.API.CONSUMER.INFO.*.hearth-requests",
        "$JS.API.CONSUMER.MSG.NEXT.*.hearth-requests",
        "$JS.API.STREAM.CREATE.DEAD",
        "$JS.API.STREAM.CREATE.KV_answers",
        "$JS.API.STREAM.CREATE.REQUESTS",
        "$JS.API.STREAM.INFO.*",
        "$JS.API.STREAM.MSG.GET.KV_answers",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.UPDATE.DEAD",
        "$JS.API.STREAM.UPDATE.KV_answers",
        "$JS.API.STREAM.UPDATE.REQUESTS",
        "$KV.answers.asker.*.*",
        "$KV.answers.claim.*",
        "$KV.answers.final.*.>",
        "$KV.answers.sent.*",
        "$KV.answers.taken.*",
        "hearth.dead.*",
    }
    assert more[Role.OPERATOR] == {
        "$JS.API.STREAM.INFO.DEAD",
        "$JS.API.STREAM.MSG.DELETE.DEAD",
        "$JS.API.STREAM.MSG.GET.DEAD",
        "$JS.API.STREAM.MSG.GET.REQUESTS",
        # A dead letter is sent again as whose it was.
        "ai.chat.request",
        "ai.chat.user.*.greeting.request",
        "ai.chat.user.*.message",
        "ai.voice.request",
    }
    assert [role for role, subjects in more.items() if subjects] == [Role.OPERATOR, Role.NATS_INGRESS]
