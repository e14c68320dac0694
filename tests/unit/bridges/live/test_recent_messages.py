"""What is kept of another replica's session: what it takes to go on, and no more than there is room for."""

from zlib import crc32

from bridges.live.handover import SessionHandover
from bridges.live.recent_messages import RecentMessages

MIB = 1 << 20


def keeping(*payloads: bytes, keep_s: float = 30.0, max_bytes: int = MIB) -> RecentMessages:
    """Return what is kept of a session "s" whose messages came a second apart."""
    recent = RecentMessages(keep_s, max_bytes)
    recent.begin("s")
    add(recent, *payloads)
    return recent


def add(recent: RecentMessages, *payloads: bytes, session_id: str = "s", at: float = 0.0) -> None:
    for number, payload in enumerate(payloads):
        recent.add(session_id, at + number, payload, b"")


def told(taken: int, last: bytes, kept: int) -> SessionHandover:
    """Return what its replica tells: how many messages it has taken, the last of them, and how many it still needs."""
    return SessionHandover("s", settled=taken - kept, taken=taken, last_taken=crc32(last))


def rest(recent: RecentMessages) -> list[bytes]:
    return [message.data for message in recent.end("s")]


def test_what_was_transcribed_is_dropped_wherever_keeping_began() -> None:
    recent = keeping(b"8", b"9", b"10", b"11")
    recent.settle(told(10, b"10", kept=1))
    assert rest(recent) == [b"10", b"11"]


def test_messages_that_are_all_alike_are_counted() -> None:
    recent = keeping(b"start")
    recent.settle(told(1, b"start", kept=0))
    add(recent, *[b"silence"] * 50)
    recent.settle(told(41, b"silence", kept=10))
    assert len(rest(recent)) == 20


def test_a_message_that_has_not_come_here_yet_is_dropped_when_it_comes() -> None:
    recent = keeping(b"1", b"2")
    recent.settle(told(2, b"2", kept=0))
    recent.settle(told(3, b"3", kept=1))
    add(recent, b"3", b"4")
    assert [message.was_taken for message in recent.end("s")] == [True, False]


def test_a_session_that_begins_anew_is_counted_anew() -> None:
    recent = keeping(b"1", b"2", b"3")
    recent.settle(told(3, b"3", kept=0))
    add(recent, b"start", b"a", b"b")
    recent.settle(told(2, b"a", kept=0))
    assert rest(recent) == [b"b"]


def test_what_came_long_ago_is_dropped() -> None:
    assert rest(keeping(*(b"%d" % number for number in range(10)), keep_s=3.0)) == [b"6", b"7", b"8", b"9"]


def test_where_there_is_no_room_each_session_keeps_its_share() -> None:
    recent = RecentMessages(1e9, MIB)
    recent.begin("s")
    recent.begin("t")
    add(recent, *[bytes(10_000)] * 90)
    add(recent, *[bytes(10_000)] * 90, session_id="t")
    assert recent.size <= MIB
    shares = [sum(len(message.data) for message in recent.end(name)) for name in ("s", "t")]
    assert min(shares) > 0.3 * MIB
    assert recent.size == 0


def test_nothing_is_kept_of_other_sessions() -> None:
    recent = keeping(b"1")
    add(recent, b"2", session_id="t")
    assert rest(recent) == [b"1"]
    add(recent, b"3")
    assert (rest(recent), recent.size) == ([], 0)
