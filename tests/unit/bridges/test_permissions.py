"""What each role may do, as it follows from the table of subjects."""

from fnmatch import fnmatchcase

import pytest

from bridges.permissions import installation_names, permissions
from bridges.subjects import SUBJECTS, Direction, Role
from deployments.settings.orchestration import OrchestrationSettings

NAMES = {
    "conversations_bucket": "talks",
    "runs_bucket": "runs",
    "triggers_stream": "TRIGGERS",
    "requests_stream": "",
    "answers_bucket": "",
    "dead_stream": "",
}
DURABLE = NAMES | {"requests_stream": "REQUESTS", "answers_bucket": "answers", "dead_stream": "DEAD"}
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


def test_a_client_may_be_held_to_one_user() -> None:
    may = permissions(Role.CLIENT, {**NAMES, "user_id": "u1"})
    assert "ai.chat.user.u1.message" in may.publish
    assert not [subject for subject in (*may.publish, *may.subscribe) if "user.*" in subject]


@pytest.mark.parametrize("role", [Role.CLIENT, Role.OPERATOR])
def test_nobody_outside_comes_near_what_replicas_and_the_server_tell_each_other(role: Role) -> None:
    may = permissions(role, DURABLE)
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
    more = {role: set(permissions(role, DURABLE).publish) - set(permissions(role, NAMES).publish) for role in Role}
    assert more[Role.NATS_INGRESS] == {
        "$JS.ACK.*.hearth-requests.>",
        "$JS.API.CONSUMER.CREATE.*.hearth-requests",
        "$JS.API.CONSUMER.INFO.*.hearth-requests",
        "$JS.API.CONSUMER.MSG.NEXT.*.hearth-requests",
        "$JS.API.STREAM.CREATE.DEAD",
        "$JS.API.STREAM.CREATE.KV_answers",
        "$JS.API.STREAM.CREATE.REQUESTS",
        "$JS.API.STREAM.INFO.*",
        "$JS.API.STREAM.INFO.KV_answers",
        "$JS.API.STREAM.MSG.GET.KV_answers",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.UPDATE.DEAD",
        "$JS.API.STREAM.UPDATE.KV_answers",
        "$JS.API.STREAM.UPDATE.REQUESTS",
        "$KV.answers.asker.*",
        "$KV.answers.claim.*",
        "$KV.answers.final.*.>",
        "$KV.answers.sent.*",
        "hearth.dead.*",
    }
    assert more[Role.OPERATOR] == {
        "$JS.API.STREAM.INFO.DEAD",
        "$JS.API.STREAM.MSG.DELETE.DEAD",
        "$JS.API.STREAM.MSG.GET.DEAD",
    }
    assert [role for role, subjects in more.items() if subjects] == [Role.OPERATOR, Role.NATS_INGRESS]
