"""Whose request is next, and whose is refused."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest

from bridges.nats.admission import Admission, Refused, RowLimits, Ticket, row_limits
from bridges.requests import REQUESTS
from deployments.settings.orchestration import NatsSettings
from deployments.values.requests import RequestKind

ORDER = (RequestKind.VOICE, RequestKind.CHAT, RequestKind.INGESTION)
MIB = 1 << 20
NOW = 0.0


def limits(kind: RequestKind, in_flight: int = 8, waiting: int = 100, held_bytes: int = 64 * MIB) -> RowLimits:
    return RowLimits(kind, in_flight, waiting, held_bytes, wait_s=10.0)


def shipped(places: int = 8, user_share: float = 1.0, **changed: RowLimits) -> Admission[str]:
    rows = {
        "status": limits(RequestKind.CONTROL, in_flight=4),
        "voice": limits(RequestKind.VOICE),
        "chat": limits(RequestKind.CHAT),
        "older-chat": limits(RequestKind.CHAT),
        "documents": limits(RequestKind.INGESTION, in_flight=2),
    }
    return Admission(rows | changed, places, ORDER, user_share)


def ticket(row: str, user: str = "u", size: int = 100, arrived: float = 0.0, deadline: float = 60.0) -> Ticket[str]:
    return Ticket(row, user, size, arrived, deadline, f"{row} of {user}")


def offered(admission: Admission[str], *tickets: Ticket[str]) -> list[Refused[str]]:
    return [refused for entry in tickets for refused in admission.offer(entry)]


def taken(admission: Admission[str], now: float = NOW) -> Iterator[Ticket[str]]:
    while entry := admission.take(now):
        yield entry


def one_at_a_time(admission: Admission[str], now: float = NOW) -> Iterator[Ticket[str]]:
    """Yield the requests in the order of their turns, each ended before the next."""
    for entry in taken(admission, now):
        admission.ended(entry, now)
        yield entry


# Kinds.


def test_a_status_is_not_behind_anything() -> None:
    admission = shipped(places=2)
    offered(admission, *[ticket("chat", f"u{number}") for number in range(20)])
    assert len(list(taken(admission))) == 2
    offered(admission, ticket("status"))
    assert [entry.row for entry in taken(admission)] == ["status"]


def test_documents_leave_places_for_questions() -> None:
    admission = shipped(places=8)
    offered(admission, *[ticket("documents", f"u{number}") for number in range(10)])
    assert len(list(taken(admission))) == 2
    offered(admission, ticket("chat"))
    assert [entry.row for entry in taken(admission)] == ["chat"]


def test_voice_comes_before_chat_and_chat_before_documents() -> None:
    admission = shipped(places=1)
    offered(admission, ticket("chat"))
    (running,) = taken(admission)
    offered(admission, ticket("documents"), ticket("chat"), ticket("voice"))
    admission.ended(running, NOW)
    assert [entry.row for entry in one_at_a_time(admission)] == ["voice", "chat", "documents"]


def test_rows_of_one_kind_take_turns() -> None:
    admission = shipped(places=1)
    offered(admission, *[ticket("chat") for _ in range(3)], *[ticket("older-chat") for _ in range(3)])
    assert [entry.row for entry in one_at_a_time(admission)] == ["chat", "older-chat"] * 3


# Users.


def test_users_take_turns_however_much_one_of_them_asks() -> None:
    admission = shipped(places=1)
    offered(admission, *[ticket("chat", "rude") for _ in range(10)], ticket("chat", "a"), ticket("chat", "b"))
    assert [entry.user for entry in islice(one_at_a_time(admission), 4)] == ["rude", "a", "b", "rude"]


def test_whoever_holds_the_fewest_places_comes_first() -> None:
    admission = shipped(places=3)
    offered(admission, *[ticket("chat", "rude") for _ in range(10)])
    running = list(taken(admission))
    offered(admission, ticket("chat", "a"), ticket("chat", "b"), ticket("chat", "a"))
    admission.ended(running[0], NOW)
    admission.ended(running[1], NOW)
    assert [entry.user for entry in taken(admission)] == ["a", "b"]
    admission.ended(running[2], NOW)
    assert [entry.user for entry in taken(admission)] == ["rude"], "each holds one now, but it holds none"


def test_large_requests_get_no_more_time_than_small_ones() -> None:
    admission = shipped(places=1)
    offered(admission, *[ticket("documents", "large") for _ in range(3)])
    offered(admission, *[ticket("documents", "small") for _ in range(12)])
    now, seconds = 0.0, Counter[str]()
    for _ in range(10):
        entry = admission.take(now)
        assert entry
        takes = 4 if entry.user == "large" else 1
        now += takes
        seconds[entry.user] += takes
        admission.ended(entry, now)
    assert seconds["large"] == seconds["small"] == 8


def test_the_last_places_are_kept_from_whoever_has_held_much_more_than_others() -> None:
    admission = shipped(places=8)
    offered(admission, *[ticket("chat", "greedy") for _ in range(30)], ticket("chat", "a"))
    running = list(taken(admission, 0.0))
    for entry in running:
        admission.ended(entry, 10.0)
    again = list(taken(admission, 10.0))
    assert [entry.user for entry in again] == ["greedy"] * 5
    offered(admission, ticket("chat", "a"), ticket("chat", "b"))
    assert [entry.user for entry in taken(admission, 10.0)] == ["b", "a"]


def test_whoever_is_alone_has_every_place() -> None:
    admission = shipped(places=8)
    offered(admission, *[ticket("chat", "alone") for _ in range(30)])
    for entry in list(taken(admission, 0.0)):
        admission.ended(entry, 10.0)
    assert len(list(taken(admission, 10.0))) == 8


def test_with_time_alone_there_is_a_place_again() -> None:
    admission = shipped(places=4)
    offered(admission, *[ticket("chat", "greedy") for _ in range(3)])
    for entry in list(taken(admission, 0.0)):
        admission.ended(entry, 10.0)
    offered(admission, *[ticket("chat", user) for user in ("greedy", "greedy", "a", "a")])
    assert [entry.user for entry in taken(admission, 10.0)] == ["a", "greedy", "a"], "the last ones are kept"
    assert [entry.user for entry in taken(admission, 100.0)] == ["greedy"], "by now a has held more"


def test_of_one_user_s_requests_the_earliest_deadline_is_first() -> None:
    admission = shipped(places=1)
    offered(admission, *[ticket("chat", deadline=at) for at in (30.0, 10.0, 20.0, 10.0)])
    assert [entry.deadline for entry in one_at_a_time(admission)] == [10.0, 10.0, 20.0, 30.0]


def test_one_user_holds_a_share_of_the_places() -> None:
    admission = shipped(places=8, user_share=0.5)
    offered(admission, *[ticket("chat", "rude") for _ in range(20)])
    assert len(list(taken(admission))) == 4
    offered(admission, ticket("chat", "a"))
    assert [entry.user for entry in taken(admission)] == ["a"]


def test_the_smallest_share_is_one_place() -> None:
    admission = shipped(places=1, user_share=0.5)
    offered(admission, ticket("chat"))
    assert len(list(taken(admission))) == 1


# What is refused.


def test_a_full_row_refuses_what_comes() -> None:
    admission = shipped(places=1, chat=limits(RequestKind.CHAT, waiting=2))
    refused = offered(admission, ticket("chat"))
    list(taken(admission))
    refused += offered(admission, *[ticket("chat") for _ in range(3)])
    assert [(entry.limit, entry.allowed, entry.given) for entry in refused] == [("waiting", 2, 3)]


def test_a_row_without_room_to_wait_takes_what_can_begin_at_once() -> None:
    admission = shipped(places=2, chat=limits(RequestKind.CHAT, waiting=0))
    refused: list[Refused[str]] = []
    for _ in range(3):
        refused += offered(admission, ticket("chat"))
        list(taken(admission))
    assert len(refused) == 1


def test_a_newcomer_is_heard_and_who_waits_most_loses_the_last_of_it() -> None:
    admission = shipped(places=1, chat=limits(RequestKind.CHAT, waiting=4))
    offered(admission, ticket("voice"))
    list(taken(admission))
    offered(admission, *[ticket("chat", "rude", deadline=at) for at in (10.0, 11.0, 12.0, 13.0)])
    (refused,) = offered(admission, ticket("chat", "a"))
    assert (refused.ticket.user, refused.ticket.deadline) == ("rude", 13.0)
    (refused,) = offered(admission, ticket("chat", "rude", deadline=14.0))
    assert refused.ticket.deadline == 14.0, "nobody makes room for themselves"


def test_whoever_fills_a_row_with_bytes_loses_the_last_of_them() -> None:
    admission = shipped(places=1, documents=limits(RequestKind.INGESTION, held_bytes=4 * MIB))
    offered(admission, *[ticket("documents", "rude", size=MIB, deadline=at) for at in (1.0, 2.0, 3.0, 4.0)])
    refused = offered(admission, ticket("documents", "a", size=1000))
    assert [(one.ticket.user, one.ticket.deadline, one.limit) for one in refused] == [("rude", 4.0, "held_bytes")]
    for size in (2 * MIB, 5 * MIB):
        (refused_itself,) = offered(admission, ticket("documents", "b", size=size))
        assert refused_itself.ticket.user == "b", "nobody loses anything for what does not fit all the same"


def test_documents_leave_the_last_place_whatever_their_limits() -> None:
    admission = shipped(places=2, documents_delete=limits(RequestKind.INGESTION, in_flight=2))
    offered(admission, *[ticket(row, f"u{row}") for row in ("documents", "documents_delete") for _ in range(3)])
    assert len(list(taken(admission))) == 1
    offered(admission, ticket("chat"))
    assert [entry.row for entry in taken(admission)] == ["chat"]


def test_whoever_asked_before_is_not_overtaken_for_ever_by_newcomers() -> None:
    admission = shipped(places=1)
    offered(admission, ticket("chat", "a"))
    (first,) = taken(admission, 0.0)
    admission.ended(first, 1.0)
    offered(admission, *[ticket("chat", f"new{at}", arrived=float(at)) for at in range(2, 30)])
    offered(admission, ticket("chat", "a", arrived=20.0))
    order = [entry.user for entry in one_at_a_time(admission, 30.0)]
    assert 18 <= order.index("a") <= 24


def test_users_take_their_turns_over_all_rows_of_a_kind() -> None:
    admission = shipped(places=1)
    offered(admission, ticket("voice", "rude"))
    (running,) = taken(admission, 0.0)
    offered(admission, *[ticket(row, "rude", arrived=1.0) for row in ("chat", "older-chat") for _ in range(5)])
    offered(admission, ticket("chat", "a", arrived=2.0))
    admission.ended(running, 10.0)
    assert next(taken(admission, 10.0)).user == "a"


def test_payloads_together_are_bounded() -> None:
    admission = shipped(documents=limits(RequestKind.INGESTION, held_bytes=2 * MIB))
    refused = offered(admission, *[ticket("documents", size=MIB) for _ in range(3)])
    assert [(entry.limit, entry.given) for entry in refused] == [("held_bytes", 3 * MIB)]
    for entry in taken(admission):
        admission.ended(entry, NOW)
    assert not offered(admission, ticket("documents", size=MIB))


def test_what_has_waited_too_long_is_taken_out_once() -> None:
    admission = shipped(places=1)
    offered(admission, ticket("chat", arrived=0.0), ticket("chat", arrived=0.0), ticket("chat", arrived=5.0))
    next(taken(admission))
    late = admission.overdue(now=10.5)
    assert [(entry.limit, entry.given) for entry in late] == [("wait_s", 10.5)]
    assert admission.overdue(now=10.5) == []
    assert admission.waiting == 1


def test_what_is_past_its_deadline_waits_for_nothing() -> None:
    admission = shipped(places=1)
    offered(admission, ticket("voice"))
    list(taken(admission))
    offered(admission, ticket("chat", deadline=2.0))
    assert [entry.ticket.row for entry in admission.overdue(now=2.0)] == ["chat"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_nothing_is_lost_doubled_or_beyond_a_limit(seed: int) -> None:
    random = Random(seed)
    admission = shipped(places=4, user_share=0.5, chat=limits(RequestKind.CHAT, in_flight=3, waiting=5))
    offers, out = 0, list[Ticket[str]]()
    running: list[Ticket[str]] = []
    for now in range(400):
        if random.random() < 0.7:
            row = random.choice(["status", "voice", "chat", "older-chat", "documents"])
            size = random.choice([1, 40_000, 200_000])
            refused = admission.offer(ticket(row, f"u{random.randrange(4)}", size, now, now + random.randrange(1, 30)))
            offers += 1
            out += [one.ticket for one in refused]
        if running and random.random() < 0.5:
            done = running.pop(random.randrange(len(running)))
            admission.ended(done, now)
            out.append(done)
        running += taken(admission, now)
        out += [entry.ticket for entry in admission.overdue(now)]
        shared = [entry for entry in running if entry.row != "status"]
        assert len(shared) <= 4
        assert all(sum(other.user == entry.user for other in shared) <= 2 for entry in shared)
        assert offers == len(out) + len(running) + admission.waiting
        assert admission.in_flight == len(running)
    assert len(out) == len({id(entry) for entry in out})
    for entry in running:
        admission.ended(entry, 400.0)
    out += [*running, *one_at_a_time(admission, 400.0)]
    assert (len(out), admission.held()) == (offers, {})


# The limits of the rows.


def test_every_row_has_limits_and_the_settings_go_over_them() -> None:
    settings = NatsSettings.model_validate({"max_in_flight": 8, "limits": {"documents-ingest": {"in_flight": 1}}})
    of = {row.name: row_limits(row, settings) for row in REQUESTS}
    assert of["chat-message"].in_flight == 8
    assert (of["documents-ingest"].in_flight, of["documents-ingest"].waiting) == (1, 64)
    assert of["documents-delete"].in_flight == 2
    assert of["login"].in_flight == 2
    assert of["status"].kind is RequestKind.CONTROL


def test_documents_may_wait_longer_than_questions() -> None:
    of = {row.name: row_limits(row, NatsSettings(max_wait_s=10, ingest_timeout_s=300)) for row in REQUESTS}
    assert (of["documents-ingest"].wait_s, of["chat-message"].wait_s) == (150, 10)
