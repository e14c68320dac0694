"""What users may take, and name."""

from dataclasses import dataclass
from typing import Any

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.allowances import UNLIMITED, Allowances
from bridges.nats.askers import Asker
from bridges.nats.demands import Demand, Named, NameKind, demand_of
from deployments.errors import InvalidRequestError, Limit, OverloadedError
from deployments.settings.users import UserLimits
from tests.refusals import refused

ALICE, BOB = Asker("user", "alice"), Asker("user", "bob")
CHAT = "chat-message"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def allowances(clock: Clock | None = None, most_accounts: int = 100, **everybody: Any) -> Allowances:
    users = {"*": UserLimits.model_validate(everybody)}
    return Allowances(users, "knowledge_base", clock or Clock(), most_accounts)


def answered(these: Allowances, asker: Asker = ALICE, row: str = CHAT) -> OverloadedError | None:
    """Ask and be answered; return what it was refused with."""
    refusal = these.opened(asker, row)
    these.closed(asker, row)
    return refusal


def naming(kind: NameKind, name: str) -> Demand:
    return Demand(names=(Named(kind, kind.removesuffix("s"), name),))


class TestRequests:
    def test_come_so_many_at_once_and_then_by_the_minute(self) -> None:
        clock = Clock()
        these = allowances(clock, requests_per_minute=30, request_burst=2)
        assert [answered(these) for _ in range(2)] == [None, None]
        refusal = answered(these)
        assert refusal
        assert refusal.retry_after_s == pytest.approx(2.0)
        assert refusal.limit == Limit("nats.users.NAME.requests_per_minute", 2)
        assert refusal.message == "this user has used up its 30 requests per minute; try again in 2 s"
        clock.now += 2.0
        assert answered(these) is None

    def test_of_one_user_cost_no_other_anything(self) -> None:
        these = allowances(requests_per_minute=1)
        assert answered(these) is None
        assert answered(these) is not None
        assert answered(these, BOB) is None
        assert answered(these, Asker("session", "alice")) is None
        assert answered(these, Asker("connection", "alice")) is None

    def test_for_the_status_are_not_counted_so_that_one_may_see_what_is_wrong(self) -> None:
        these = allowances(requests_per_minute=1, open_requests=1)
        assert [answered(these, row="status") for _ in range(5)] == [None] * 5
        assert answered(these) is None

    def test_are_open_until_they_are_answered(self) -> None:
        these = allowances(open_requests=2)
        assert [these.opened(ALICE, CHAT) for _ in range(2)] == [None, None]
        refusal = these.opened(ALICE, CHAT)
        assert refusal
        assert (refusal.retryable, refusal.limit) == (True, Limit("nats.users.NAME.open_requests", 2, 3))
        these.closed(ALICE, CHAT)
        assert these.opened(BOB, CHAT) is None
        assert these.opened(ALICE, CHAT) is not None, "the refused one is answered, the two others are not"
        these.closed(ALICE, CHAT)
        these.closed(ALICE, CHAT)
        assert these.opened(ALICE, CHAT) is None

    def test_that_are_refused_as_one_too_many_do_not_use_up_a_rate(self) -> None:
        these = allowances(open_requests=1, requests_per_minute=2)
        these.opened(ALICE, CHAT)
        for _ in range(5):
            assert answered(these) is not None
        these.closed(ALICE, CHAT)
        assert answered(these) is None


class TestAmounts:
    def test_of_characters_come_back_in_time(self) -> None:
        clock = Clock()
        these = allowances(clock, characters_per_minute=600)
        these.take(ALICE, Demand(500, "message"))
        with refused(OverloadedError, limit=Limit("nats.users.NAME.characters_per_minute", 600)) as raised:
            these.take(ALICE, Demand(200, "message"))
        assert raised.value.retry_after_s == pytest.approx(10.0)
        these.take(ALICE, Demand(100, "message"))
        these.take(BOB, Demand(600, "message"))
        clock.now += 20.0
        these.take(ALICE, Demand(200, "message"))

    def test_that_no_waiting_helps_are_refused_for_good(self) -> None:
        limit = Limit("nats.users.NAME.characters_per_minute", 600, 601)
        with refused(InvalidRequestError, field="system_prompt", limit=limit, retryable=False):
            allowances(characters_per_minute=600).take(ALICE, Demand(601, "system_prompt"))

    def test_of_documents_come_back_by_the_hour(self) -> None:
        clock = Clock()
        these = allowances(clock, ingested_characters_per_hour=3600)
        these.take(ALICE, Demand(ingested_characters=3600, ingests=True))
        with refused(OverloadedError) as raised:
            these.take(ALICE, Demand(ingested_characters=60, ingests=True))
        assert raised.value.retry_after_s == pytest.approx(60.0)
        assert "3600 ingested characters per hour" in raised.value.message
        these.take(ALICE, Demand(50, "message"))

    def test_of_sound_count_when_they_are_known(self) -> None:
        clock = Clock()
        these = allowances(clock, sound_s_per_minute=60)
        these.take(ALICE, Demand(has_sound=True))
        these.heard(ALICE, 90.0)
        with refused(OverloadedError, limit=Limit("nats.users.NAME.sound_s_per_minute", 60)) as raised:
            these.take(ALICE, Demand(has_sound=True))
        assert raised.value.retry_after_s == pytest.approx(45.0)
        these.take(BOB, Demand(has_sound=True))
        these.take(ALICE, Demand(5, "message"))
        clock.now += 45.0
        these.check_sound(ALICE)


class TestNames:
    @pytest.mark.parametrize(
        ("kind", "name", "is_allowed"),
        [
            (NameKind.COLLECTION, "public_a", True),
            (NameKind.COLLECTION, "manuals", True),
            (NameKind.COLLECTION, "secret", False),
            (NameKind.COLLECTION, "", False),
            (NameKind.VOICE, "ann", True),
            (NameKind.VOICE, "bob", False),
            (NameKind.VOICE, "", True),
            (NameKind.PIPELINE, "rag-query", False),
            (NameKind.PIPELINE, "", False),
        ],
    )
    def test_are_those_that_the_settings_list(self, kind: NameKind, name: str, is_allowed: bool) -> None:
        these = allowances(collections=["public_*", "manuals"], voices=["ann"], pipelines=[])
        if is_allowed:
            these.take(ALICE, naming(kind, name))
        else:
            with refused(InvalidRequestError, field=kind.removesuffix("s"), retryable=False):
                these.take(ALICE, naming(kind, name))

    def test_that_are_refused_are_told_with_what_was_expected(self) -> None:
        with refused(InvalidRequestError) as raised:
            allowances(collections=["public_*", "manuals"]).take(ALICE, naming(NameKind.COLLECTION, "secret"))
        assert raised.value.message == "collection 'secret' is not one that you may name: expected public_*, manuals"

    def test_include_the_default_collection_only_where_it_is_listed(self) -> None:
        allowances(collections=["knowledge_*"]).take(ALICE, naming(NameKind.COLLECTION, ""))

    def test_are_checked_before_anything_is_counted(self) -> None:
        these = allowances(collections=["manuals"], characters_per_minute=10)
        with refused(InvalidRequestError, field="collection"):
            these.take(ALICE, Demand(10, "message", names=naming(NameKind.COLLECTION, "secret").names))
        these.take(ALICE, Demand(10, "message"))

    def test_differ_by_user(self) -> None:
        these = Allowances({"*": UserLimits(voices=()), "alice": UserLimits(voices=None)})
        assert these.names(ALICE).has(NameKind.VOICE, "ann")
        assert not these.names(BOB).has(NameKind.VOICE, "ann")


@pytest.mark.parametrize(("setting", "asked"), [("ingest", Demand(ingests=True)), ("delete", Demand(deletes=True))])
def test_who_may_not_change_documents_is_told(setting: str, asked: Demand) -> None:
    these = Allowances({"*": UserLimits.model_validate({setting: False})})
    with refused(InvalidRequestError, retryable=False):
        these.take(ALICE, asked)
    these.take(ALICE, Demand(names=naming(NameKind.COLLECTION, "c").names))


class TestSessions:
    def test_are_so_many_at_once(self) -> None:
        these = allowances(live_sessions=2)
        these.session_opens(ALICE, 1)
        with refused(OverloadedError, limit=Limit("nats.users.NAME.live_sessions", 2, 3)):
            these.session_opens(ALICE, 2)

    def test_count_as_requests(self) -> None:
        these = allowances(requests_per_minute=1)
        these.session_opens(ALICE, 0)
        with refused(OverloadedError):
            these.session_opens(ALICE, 0)
        assert answered(these) is not None


class TestAccounts:
    def test_are_forgotten_when_nothing_is_held_against_them(self) -> None:
        clock = Clock()
        these = allowances(clock, requests_per_minute=60)
        for number in range(50):
            answered(these, Asker("user", f"u{number}"))
        assert len(these) == 50
        clock.now += 60.0
        for number in range(50):
            answered(these, Asker("user", f"v{number}"))
        assert len(these) <= 51

    def test_are_never_more_than_allowed_and_those_of_the_longest_ago_go_first(self) -> None:
        these = allowances(most_accounts=10, requests_per_minute=1)
        for number in range(1000):
            answered(these, Asker("user", f"u{number}"))
        assert len(these) == 10
        assert answered(these, Asker("user", "u999")) is not None
        assert answered(these, Asker("user", "u0")) is None

    def test_with_an_open_request_are_kept(self) -> None:
        these = allowances(most_accounts=2, open_requests=1)
        these.opened(ALICE, CHAT)
        for number in range(100):
            answered(these, Asker("user", f"u{number}"))
        assert these.opened(ALICE, CHAT) is not None

    def test_of_long_ids_are_no_larger_and_not_the_same(self) -> None:
        these = allowances(requests_per_minute=1)
        one, other = (Asker("user", "x" * 100_000 + end) for end in "ab")
        assert answered(these, one) is None
        assert answered(these, other) is None
        assert answered(these, one) is not None

    def test_are_not_kept_where_nobody_is_limited(self) -> None:
        assert answered(UNLIMITED) is None
        UNLIMITED.take(ALICE, Demand(10**9, "message", names=naming(NameKind.COLLECTION, "any").names, ingests=True))
        UNLIMITED.heard(ALICE, 1e9)
        UNLIMITED.check_sound(ALICE)
        UNLIMITED.session_opens(ALICE, 10**6)
        assert len(UNLIMITED) == 0
        assert not UNLIMITED.is_limiting


def test_who_has_a_longer_name_than_a_name_may_have_is_only_one_of_everybody() -> None:
    users = {"*": UserLimits(open_requests=2), "guest-*": UserLimits(open_requests=1)}
    these = Allowances(users, name_characters=10)
    guest, nobody = Asker("user", "guest-7890"), Asker("user", "guest-78901")
    assert these.opened(guest, CHAT) is None
    assert these.opened(guest, CHAT) is not None
    assert these.opened(nobody, CHAT) is None
    assert these.opened(nobody, CHAT) is None


@pytest.mark.parametrize("these", [UNLIMITED, allowances(requests_per_minute=1)], ids=["without limits", "with some"])
def test_a_request_of_another_user_than_its_header_names_is_refused_whatever_the_limits(these: Allowances) -> None:
    mallory = Asker("user", "mallory", header_user="mallory")
    these.take(mallory, Demand(user="mallory"))
    with pytest.raises(InvalidRequestError, match="'bob'"):
        these.take(mallory, demand_of(messages_pb2.ChatRequest(user_id="bob")))
    for named in (messages_pb2.LoginEvent(user_id="bob"), messages_pb2.GreetingRequest(user_id="bob")):
        with pytest.raises(InvalidRequestError, match="'bob'"):
            these.take(mallory, demand_of(named))


def test_who_asks_is_told_with_what_they_may_name() -> None:
    assert UNLIMITED.names(ALICE).user == "alice"
    assert allowances(requests_per_minute=1).names(ALICE).user == "alice"
    assert UNLIMITED.names(Asker("connection", "_INBOX.x")).user == ""
