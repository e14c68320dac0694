"""Which replica a session belongs to."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bridges.nats.ownership import SessionOwners

REPLICAS = ("a", "b", "c")
SESSIONS = [f"session-{number}" for number in range(300)]


def acquainted(*names: str) -> list[SessionOwners]:
    """Return replicas that have all heard of each other."""
    replicas = [SessionOwners(name) for name in names]
    for replica in replicas:
        for name in names:
            replica.heard(name, (), 0.0)
    return replicas


def test_a_lone_replica_has_every_session() -> None:
    assert all(SessionOwners("a").is_mine(session) for session in SESSIONS)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=50, unique=True))
def test_every_session_belongs_to_exactly_one(sessions: list[str]) -> None:
    replicas = acquainted(*REPLICAS)
    for session in sessions:
        assert sum(replica.is_mine(session) for replica in replicas) == 1


def test_sessions_are_shared_evenly() -> None:
    shares = Counter(replica.replica for replica in acquainted(*REPLICAS) for name in SESSIONS if replica.is_mine(name))
    assert min(shares.values()) > 60


def test_a_session_that_was_announced_stays_where_it_is() -> None:
    first, second = acquainted("a", "b")
    theirs = [name for name in SESSIONS if first.is_mine(name)]
    first.heard("b", theirs, 1.0)
    assert not any(first.is_mine(name) for name in theirs)
    assert second.others == ("a",)


def test_a_replica_that_is_not_heard_any_more_loses_its_sessions() -> None:
    first, _ = acquainted("a", "b")
    first.heard("b", SESSIONS, 1.0)
    assert first.forget_lost(3.9) == []
    assert first.forget_lost(4.1) == ["b"]
    assert all(first.is_mine(name) for name in SESSIONS)


def test_a_replica_that_leaves_is_gone_at_once() -> None:
    first, _ = acquainted("a", "b")
    first.left("b")
    assert first.others == ()


def test_of_two_that_opened_the_same_session_one_gives_way() -> None:
    first, second = acquainted("a", "b")
    lost_by_first = first.lost_to("b", SESSIONS, SESSIONS)
    lost_by_second = second.lost_to("a", SESSIONS, SESSIONS)
    assert lost_by_first | lost_by_second == set(SESSIONS)
    assert not lost_by_first & lost_by_second


def test_an_echo_of_one_s_own_announcement_changes_nothing() -> None:
    replica = SessionOwners("a")
    assert not replica.heard("a", SESSIONS, 0.0)
    assert replica.others == ()
