"""Settings of NATS that could not have an effect."""

import re

import pytest

from bridges.application import orchestration
from bridges.nats.settings_check import check_settings
from deployments.settings.orchestration import NatsSettings, OrchestrationSettings


@pytest.mark.parametrize(
    "subject",
    [
        *("_INBOX_HEARTH.>", "_INBOX_HEARTH.*", "_INBOX_HEARTH.x.>", "_INBOX_HEARTH.x.y"),
        *("hearth.audio.interrupt", "ai.chat.request", "ai.chat.user.*.message", "ai.chat.user.alice.login"),
    ],
)
def test_answers_where_nothing_is_ever_answered_are_refused(subject: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"nats.answer_subjects has {subject!r}")):
        check_settings(NatsSettings(answer_subjects=("my.answers.>", subject)))


def test_answers_that_go_somewhere_are_taken() -> None:
    taken = (
        "my.answers.>",
        "_INBOX_alice.>",
        "_INBOX_HEARTH",
        "ai.>",
        "hearth.*",
        "ai.chat.user.*.*",
        "ai.chat.request.x",
    )
    check_settings(NatsSettings(answer_subjects=taken))


@pytest.mark.parametrize("name", ["audio-stream", "chats"])
def test_a_limit_of_what_waits_for_no_turn_is_refused_when_it_is_deployed(name: str) -> None:
    settings = OrchestrationSettings.model_validate({"nats": {"limits": {name: {"in_flight": 5}}}})
    with pytest.raises(ValueError, match=rf"nats\.limits has '{name}'; one of chat-message, .* was expected"):
        orchestration(settings)


def test_each_request_that_waits_for_its_turn_may_be_limited() -> None:
    check_settings(
        NatsSettings.model_validate({"limits": {"chat-message": {"in_flight": 5}, "status": {"waiting": 1}}})
    )
