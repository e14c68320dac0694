"""Which replicas there are, and which of them a session belongs to."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bridges.nats.ownership import SessionOwners

REPLICAS = ("a", "b", "c")
SESSIONS = [f"session-{number}" for number in range(300)]


def acquainted(*names: str) -> list[SessionOwners]:
    """Return replicas that have all heard of each other, and of themselves."""
    replicas = [SessionOwners(name) for name in names]
    for replica in replicas:
        for name in names:
            replica.heard(name, 0.0)
    return replicas


def hears_itself(replica: SessionOwners, since: int, until: int) -> None:
    for at in range(since, until + 1):
        replica.heard(replica.replica, float(at))


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


def test_a_replica_that_is_not_heard_any_more_is_lost_after_three_seconds() -> None:
    first, _ = acquainted("a", "b")
    first.heard("b", 1.0)
    hears_itself(first, 1, 4)
    assert first.forget_lost(3.9) == []
    assert first.forget_lost(4.1) == ["b"]
    assert all(first.is_mine(name) for name in SESSIONS)


def test_a_replica_that_does_not_hear_itself_loses_nobody() -> None:
    first, _ = acquainted("a", "b")
    hears_itself(first, 0, 2)
    assert first.forget_lost(60.0) == []


def test_a_replica_that_hears_itself_again_gives_the_others_their_time() -> None:
    first, _ = acquainted("a", "b")
    hears_itself(first, 60, 60)
    assert first.forget_lost(60.1) == []
    hears_itself(first, 61, 63)
    assert first.forget_lost(63.1) == ["b"]


def test_a_replica_that_leaves_is_gone_at_once() -> None:
    first, _ = acquainted("a", "b")
    first.left("b")
    assert first.others == ()


def test_of_two_that_opened_the_same_session_one_has_more_right_to_it() -> None:
    first, second = acquainted("a", "b")
    assert all(first.outweighs(name, "b") != second.outweighs(name, "a") for name in SESSIONS)


def test_an_echo_of_one_s_own_heartbeat_makes_nobody_known() -> None:
    replica = SessionOwners("a")
    assert not replica.heard("a", 0.0)
    assert replica.others == ()


def test_a_replica_that_misses_three_heartbeats_is_suspected_by_those_that_hear_themselves() -> None:
    first, _ = acquainted("a", "b")
    for quarter in range(1, 41):
        first.heard("a", quarter / 4)
        first.heard("b", min(quarter / 4, 9.0))
    assert first.suspects(9.7) == []
    assert first.suspects(10.0) == ["b"]
    assert first.suspects(11.0) == []


def test_after_the_server_was_away_the_others_are_given_time_to_come_back() -> None:
    first, _ = acquainted("a", "b")
    for quarter in range(41, 60):
        first.heard("a", quarter / 4)
        assert (first.suspects(quarter / 4) == ["b"]) == (quarter / 4 >= 10.25 + 2.0)


def test_the_successor_of_a_session_is_its_owner_once_its_replica_is_gone() -> None:
    first, *others = acquainted(*REPLICAS)
    for name in SESSIONS:
        owner = first.owner_of(name)
        expected = first.successor(name, owner)
        assert expected != owner
        assert {one.successor(name, owner) for one in others} == {expected}
    gone = others[-1].replica
    theirs = {name: first.successor(name, gone) for name in SESSIONS if first.owner_of(name) == gone}
    first.left(gone)
    assert theirs == {name: first.owner_of(name) for name in theirs}


def test_a_session_of_a_replica_alone_has_no_successor() -> None:
    assert SessionOwners("a").successor("s", "a") == ""
