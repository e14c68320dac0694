"""What is kept of the messages that come before a replica knows which sessions are its own."""

from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.early_messages import EarlyMessages

MIB = 1 << 20
UNREADABLE = b"\xff\xff\xff"


def message(session_id: str, kind: str, audio_bytes: int = 0) -> Msg:
    step = messages_pb2.STTStreamMessage(type=kind, audio=bytes(audio_bytes))
    return arrived(session_id, step.SerializeToString())


def arrived(session_id: str, data: bytes) -> Msg:
    return Msg(Client(), f"ai.voice.stream.{session_id}", data=data)


def kept(*messages: Msg) -> list[Msg]:
    """Return what is kept of messages, in order."""
    early = EarlyMessages()
    for one in messages:
        early.keep(one)
    return list(iter(early.next, None))


def test_a_session_that_begins_is_kept_whole_and_in_order() -> None:
    messages = [
        message("s", "start"),
        message("t", "start"),
        message("s", "chunk", 640),
        message("t", "end"),
        arrived("s", UNREADABLE),
        message("s", "end"),
    ]
    assert kept(*messages) == messages


def test_of_a_session_that_had_begun_before_nothing_is_kept() -> None:
    messages = [message("s", "chunk", 640), message("s", "end"), arrived("s", UNREADABLE)]
    assert kept(*messages) == []


def test_no_more_is_kept_than_32_mib() -> None:
    messages = [message(f"{number}", kind, MIB) for kind in ("start", "chunk") for number in range(20)]
    assert 30 * MIB < sum(len(one.data) for one in kept(*messages)) <= 32 * MIB


def test_a_session_that_is_heard_in_another_way_is_forgotten() -> None:
    early = EarlyMessages()
    others = [message("s", "start"), message("s", "chunk", 640)]
    for one in (others[0], message("t", "start"), others[1], message("t", "chunk", 640)):
        early.keep(one)
    early.forget("ai.voice.stream.t")
    early.keep(message("t", "chunk", 640))
    assert list(iter(early.next, None)) == others


def test_one_session_leaves_room_for_the_others() -> None:
    rude = [message("rude", "start"), *(message("rude", "chunk", MIB) for _ in range(40))]
    other = [message("other", "start"), message("other", "chunk", MIB)]
    found = kept(*rude, *other)
    assert found[-2:] == other
    assert sum(len(one.data) for one in found[:-2]) <= 8 * MIB
