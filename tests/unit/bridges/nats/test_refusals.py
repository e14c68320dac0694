"""What counts as a refusal that a part of Hearth cannot do without, and for how long."""

import nats.errors
import pytest

from bridges.nats.refusals import Refusals
from bridges.nats_access import Violation, violation_of
from bridges.subjects import Role
from deployments.call import Call

SUBSCRIBED = ["ai.chat.request", "ai.voice.REQUEST"]


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def refusals(clock: Clock | None = None) -> Refusals:
    return Refusals(Role.NATS_INGRESS, clock or Clock())


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        (
            'nats: permissions violation for subscription to "ai.chat.request" using queue "hearth"',
            Violation("ai.chat.request", is_subscription=True),
        ),
        ('nats: permissions violation for publish to "ai.x"', Violation("ai.x", is_subscription=False)),
        ('nats: permissions violation for publish with reply of "ai.x"', Violation("ai.x", is_subscription=False)),
        ("nats: 'authorization violation'", None),
        ("nats: unexpected EOF", None),
    ],
)
def test_a_violation_is_read_out_of_the_server_s_word(text: str, violation: Violation | None) -> None:
    assert violation_of(nats.errors.Error(text)) == violation


async def test_a_refused_subscription_is_named_as_it_was_written_until_it_is_permitted() -> None:
    refused = refusals()
    assert await refused.components(Call.within(1)) == ()
    refused.refused(Violation("ai.voice.request", is_subscription=True), SUBSCRIBED)
    (component,) = await refused.components(Call.within(1))
    assert (component.ready, component.required) == (False, True)
    assert component.detail == "the server does not let NatsIngress subscribe to ai.voice.REQUEST"
    assert refused.arrived.is_set()
    refused.permitted("ai.voice.REQUEST")
    assert await refused.components(Call.within(1)) == ()


def test_a_publish_that_the_table_gives_counts_for_a_minute() -> None:
    clock = Clock()
    refused = refusals(clock)
    refused.refused(Violation("$js.api.stream.info.kv_talks", is_subscription=False), SUBSCRIBED)
    assert refused.check() == "the server does not let NatsIngress publish on $JS.API.STREAM.INFO.KV_talks"
    clock.at += 59.0
    assert refused.check()
    clock.at += 2.0
    assert not refused.check()


@pytest.mark.parametrize("subject", ["a.client.s.choice", "hearth.audio.replicas"])
def test_what_a_client_chose_or_another_part_says_makes_nobody_unready(subject: str) -> None:
    refused = refusals()
    refused.refused(Violation(subject, is_subscription=False), SUBSCRIBED)
    assert not refused.check()


def test_a_new_connection_begins_anew() -> None:
    refused = refusals()
    refused.refused(Violation("ai.chat.request", is_subscription=True), SUBSCRIBED)
    refused.refused(Violation("_inbox.a.b", is_subscription=False), SUBSCRIBED)
    refused.forget()
    assert not refused.check()


def test_no_more_subjects_are_named_than_a_person_reads() -> None:
    refused = refusals()
    for number in range(1000):
        refused.refused(Violation(f"ai.chat.response.{number}", is_subscription=False), SUBSCRIBED)
    assert refused.check().count("publish on") == 64
    assert "ai.chat.response.999" in refused.check()
