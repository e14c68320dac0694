"""What became of requests, counted: each way in which one can go wrong is seen."""

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.once_answer import WRITTEN_ANEW
from tests.faults.asked import Account, Asked, Happened, Kind, account, ask
from tests.integration.durable_process import WORDS

SUBJECT, INBOX = "ai.chat.response.r", "_INBOX.x.r"
TIMEOUT_S = 10.0


def response(text: str = "Yes.", **fields: object) -> bytes:
    given: dict[str, object] = {"response": text, "success": True, "used_rag": True, **fields}
    return messages_pb2.ChatResponse(**given).SerializeToString()  # pyright: ignore[reportArgumentType]


def sent(at: float, kind: Kind = Kind.STREAMED) -> Asked:
    asked = ask(kind, "r")
    asked.sent_at, asked.sends = at, 1
    return asked


def answered(at: float, seconds: float = 0.5, payload: bytes = b"", kind: Kind = Kind.STREAMED) -> Asked:
    asked = sent(at, kind)
    asked.heard(payload or response(), SUBJECT, at + seconds)
    return asked


def accounted(*asked: Asked, faults: tuple[float, ...] = (100.0,)) -> Account:
    return account(list(asked), [Happened(at, 1) for at in faults], TIMEOUT_S)


def test_an_answer_that_came_once_is_nothing_else() -> None:
    found = accounted(answered(1.0), answered(101.0))
    assert (found.sent, found.once, found.twice, found.lost, found.late, found.failed) == (2, 2, 0, 0, 0, 0)
    assert found.recovery_s == 0.0


def test_a_final_message_that_comes_again_on_its_subject_is_one_too_many() -> None:
    asked = answered(1.0)
    asked.heard(response(), SUBJECT, 2.0)
    assert (accounted(asked).twice, accounted(asked).once) == (1, 0)


def test_who_asked_again_is_told_the_same_on_another_subject() -> None:
    asked = answered(1.0)
    asked.heard(response(), INBOX, 2.0)
    assert accounted(asked).twice == 0


def test_two_answers_to_one_request_are_one_too_many() -> None:
    asked = answered(1.0)
    asked.heard(response("No."), INBOX, 2.0)
    assert accounted(asked).twice == 1


@pytest.mark.parametrize(("pieces", "ends", "twice"), [(WORDS, 1, 0), (WORDS + 1, 1, 1), (3, 2, 1)])
def test_a_stream_has_its_pieces_and_its_end_once(pieces: int, ends: int, twice: int) -> None:
    asked = answered(1.0)
    asked.pieces, asked.ends = pieces, ends
    assert accounted(asked).twice == twice


def test_what_is_never_answered_is_lost_and_what_comes_behind_the_time_out_is_late() -> None:
    found = accounted(sent(1.0), answered(2.0, TIMEOUT_S + 1))
    assert (found.lost, found.late, found.once) == (1, 1, 1)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.STREAMED, response(success=False, error="gone")),
        (Kind.SPOKEN, messages_pb2.VoiceResponse(request_id="r", error="gone").SerializeToString()),
        (Kind.GREETING, messages_pb2.GreetingResponse(user_id="r").SerializeToString()),
    ],
)
def test_an_answer_that_tells_an_error_has_failed(kind: Kind, payload: bytes) -> None:
    assert accounted(answered(1.0, payload=payload, kind=kind)).failed == 1


def test_an_answer_that_was_written_anew_has_not_failed() -> None:
    found = accounted(answered(1.0, payload=response(error=WRITTEN_ANEW)))
    assert (found.anew, found.failed) == (1, 0)


def test_an_answer_without_the_documents_that_were_asked_for_is_counted() -> None:
    found = accounted(answered(1.0, payload=response(used_rag=False), kind=Kind.RETRIEVED))
    assert (found.without_documents, found.failed) == (1, 0)


def test_recovery_lasts_until_the_last_answer_that_was_slow_or_failed_or_lost() -> None:
    usual = [answered(at) for at in (90.0, 91.0, 92.0, 110.0)]
    slow, lost = answered(100.5, 4.0), sent(103.0)
    assert accounted(*usual, slow).recovery_s == 4.5
    assert accounted(*usual, lost).recovery_s == 3.0
    assert accounted(*usual, slow, lost, faults=(100.0, 102.0)).recovery_s == 2.5


def test_the_gap_is_the_longest_time_without_an_answer_from_the_fault_on() -> None:
    found = accounted(answered(1.0), answered(99.0), answered(100.0), answered(107.0))
    assert found.gap_s == 7.0
