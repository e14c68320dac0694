"""What replicas tell each other of their sessions: little, in messages that fit, and right in the end."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.generated.hearth.v1 import audio_pb2, conversation_pb2
from bridges.live.client_messages import SessionState
from bridges.live.handover import SessionHandover, SessionTerms
from bridges.live.sound_reader import SoundFormat
from bridges.live.told_sessions import PeerSessions, ToldSessions
from deployments.errors import InvalidRequestError
from deployments.sound import wav

MAX_BYTES = 4096
PROMPT = conversation_pb2.ConversationRequest(system_prompt="x" * 500)


def session(name: str, sequence: int = 0, **fields: Any) -> SessionHandover:
    terms = SessionTerms("en", "ada", PROMPT)
    return SessionHandover(name, sequence, SessionState.LISTENING, "ada", terms=terms, **fields)


def by_name(sessions: Iterable[SessionHandover]) -> dict[str, SessionHandover]:
    return {one.session_id: one for one in sessions}


def test_all_that_is_told_arrives() -> None:
    told, peer = ToldSessions("a"), PeerSessions()
    for message in told.all([], MAX_BYTES):
        peer.take(message)
    for sessions in ([session("s"), session("t", epoch=2, turns=3)], [session("t", 5, epoch=3)], []):
        for message in told.changes(sessions, MAX_BYTES):
            peer.take(audio_pb2.AudioReplica.FromString(message.SerializeToString()))
        assert peer.sessions == by_name(sessions)
        assert peer.is_whole


def test_all_that_it_takes_to_go_on_arrives() -> None:
    told, peer = ToldSessions("a"), PeerSessions()
    sound = SoundFormat(8000, 2, 8, wav.MULAW)
    one = session("s", generation=2, answering=3, settled=90, taken=100, last_taken=0xFFFFFFFF, format=sound)
    for message in told.all([one], MAX_BYTES):
        peer.take(audio_pb2.AudioReplica.FromString(message.SerializeToString()))
    found = peer.sessions["s"]
    assert found == one
    assert (found.taken, found.kept, found.last_taken) == (100, 10, 0xFFFFFFFF)


def test_messages_that_are_taken_are_no_news_by_themselves() -> None:
    told = ToldSessions("a")
    told.changes([session("s", settled=90, taken=100)], MAX_BYTES)
    assert told.changes([session("s", settled=90, taken=150)], MAX_BYTES) == []
    assert told.changes([session("s", settled=91, taken=150)], MAX_BYTES)


def test_of_some_sessions_is_told_what_has_changed_in_them_and_nothing_else() -> None:
    told, peer = ToldSessions("a"), PeerSessions()
    for message in told.all([session("s"), session("t"), session("u")], MAX_BYTES):
        peer.take(message)
    for message in told.updates([("s", session("s", 1)), ("t", None), ("u", session("u")), ("x", None)], MAX_BYTES):
        peer.take(message)
        assert {one.session_id for one in message.changed} | set(message.gone) <= {"s", "t"}
    assert peer.sessions == by_name([session("s", 1), session("u")])
    assert peer.is_whole
    assert told.session_ids == {"s", "u"}


def test_what_has_not_changed_is_not_told_again() -> None:
    told, sessions = ToldSessions("a"), [session(f"s{number}") for number in range(100)]
    assert told.changes(sessions, MAX_BYTES)
    assert told.changes(sessions, MAX_BYTES) == []


def test_what_a_start_asked_for_is_told_once() -> None:
    told = ToldSessions("a")
    told.changes([session("s")], MAX_BYTES)
    (message,) = told.changes([session("s", 1)], MAX_BYTES)
    assert message.ByteSize() < 100


def test_a_heartbeat_is_small_however_many_sessions_there_are() -> None:
    told = ToldSessions("a")
    told.changes([session(f"s{number}") for number in range(1000)], MAX_BYTES)
    assert told.heartbeat().ByteSize() < 20


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_every_message_fits(count: int) -> None:
    told, sessions = ToldSessions("a"), [session(f"s{number}") for number in range(count)]
    messages = [*told.changes(sessions, MAX_BYTES), *told.all(sessions, MAX_BYTES), *told.changes([], MAX_BYTES)]
    assert max(message.ByteSize() for message in messages) <= MAX_BYTES


def test_a_peer_that_was_not_told_all_yet_knows_that_it_is_not() -> None:
    told, peer = ToldSessions("a"), PeerSessions()
    peer.take(told.heartbeat())
    assert not peer.is_whole


def test_a_peer_that_missed_something_knows_it_by_the_next_heartbeat() -> None:
    told, peer = ToldSessions("a"), PeerSessions()
    for message in told.all([], MAX_BYTES):
        peer.take(message)
    assert peer.is_whole
    told.changes([session("s")], MAX_BYTES)
    peer.take(told.heartbeat())
    assert not peer.is_whole


def test_a_peer_that_missed_a_piece_of_all_keeps_what_it_knew_and_knows_that_it_missed_it() -> None:
    told, peer, sessions = ToldSessions("a"), PeerSessions(), [session(f"s{number}") for number in range(50)]
    pieces = told.all(sessions, MAX_BYTES)
    assert len(pieces) > 3
    for piece in (*pieces[:1], *pieces[2:], told.heartbeat()):
        peer.take(piece)
    assert (peer.sessions, peer.is_whole) == ({}, False)


def test_news_say_what_changed_and_what_is_gone() -> None:
    told, peer = ToldSessions("a"), PeerSessions()
    (first,) = told.changes([session("s"), session("t")], MAX_BYTES)
    assert peer.take(first).changed == {"s", "t"}
    (whole,) = told.all([session("t"), session("u")], MAX_BYTES)
    news = peer.take(whole)
    assert (news.changed, news.gone) == ({"t", "u"}, {"s"})


def test_a_session_whose_state_is_none_is_refused() -> None:
    broken = audio_pb2.AudioReplica(replica="a", version=1, changed=[audio_pb2.AudioSession(state="dancing", terms={})])
    with pytest.raises(InvalidRequestError, match="dancing"):
        PeerSessions().take(broken)


STATES = st.dictionaries(st.sampled_from("stuvw"), st.integers(0, 3), max_size=5)


@given(st.lists(st.tuples(STATES, st.booleans()), max_size=12), st.lists(st.booleans(), max_size=60))
def test_whatever_is_lost_a_peer_that_asks_ends_with_the_right_picture(
    steps: list[tuple[dict[str, int], bool]], losses: list[bool]
) -> None:
    told, peer = ToldSessions("a"), PeerSessions()
    lost = iter(losses)
    sessions: list[SessionHandover] = []
    for state, tells_all in steps:
        sessions = [session(name, sequence) for name, sequence in state.items()]
        make = told.all if tells_all else told.changes
        for message in (*make(sessions, 1024), told.heartbeat()):
            if not next(lost, False):
                peer.take(message)
    # From here on nothing is lost.
    peer.take(told.heartbeat())
    if not peer.is_whole:
        for message in told.all(sessions, 1024):
            peer.take(message)
    assert (peer.sessions, peer.is_whole) == (by_name(sessions), True)
