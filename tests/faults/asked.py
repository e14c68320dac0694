"""What clients ask, and what they hear: one request with all that came back for it."""

import io
import itertools
import wave
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from google.protobuf.message import Message

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.once_answer import WRITTEN_ANEW
from bridges.subjects import (
    CHAT_MESSAGE,
    CHAT_REQUEST,
    CHAT_RESPONSE,
    CHAT_STREAM,
    GREETING_REQUEST,
    GREETING_RESPONSE,
    VOICE_REQUEST,
    VOICE_RESPONSE,
    subject_for,
)
from tests.integration.durable_process import PAUSE_S, WORDS

TOKEN_MS = round(1000 * PAUSE_S)
"""How far apart the `WORDS` of an answer are; the models of `tests.benchmarks.zero_cost_models` are told it."""

ANSWERS = (CHAT_RESPONSE, CHAT_STREAM, GREETING_RESPONSE, VOICE_RESPONSE)
"""The subjects that answers come on."""


class Kind(StrEnum):
    """A kind of request.

    * STREAMED: a question whose answer is streamed.
    * RETRIEVED: a question that is answered from documents, in one message, on the subject of older clients.
    * GREETING: a greeting, which has no request id.
    * SPOKEN: a recorded question.
    """

    STREAMED = "streamed"
    RETRIEVED = "retrieved"
    GREETING = "greeting"
    SPOKEN = "spoken"


@dataclass(slots=True)
class Asked:
    """A request.

    Attributes:
        kind: Of what kind it is.
        name: Its request id, or its user's where it has none.
        subject: Where it is sent.
        payload: What is sent.
        sent_at: When it was sent first, in seconds of `time.monotonic()`; 0 while it was not.
        sends: How often it was sent.
        answered_at: When its first final message came; 0 while none has.
        finals: Final messages, by the subject that they came on.
        pieces: Pieces of its stream that came.
        ends: Ends of its stream that came.
    """

    kind: Kind
    name: str
    subject: str
    payload: bytes
    sent_at: float = 0.0
    sends: int = 0
    answered_at: float = 0.0
    finals: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    pieces: int = 0
    ends: int = 0

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same request may be sent again, and is known as the same."""
        return self.kind is not Kind.GREETING

    @property
    def seconds(self) -> float:
        """From when it was sent first to its first final message."""
        return self.answered_at - self.sent_at

    @property
    def is_twice(self) -> bool:
        """Whether something of its answer came twice: a final message, a piece of its stream, or the end of that.

        A request that was sent again with a reply subject is told there, too, what went out before.
        """
        different = {payload for payloads in self.finals.values() for payload in payloads}
        again = any(len(payloads) > 1 for payloads in self.finals.values())
        return again or len(different) > 1 or self.pieces > WORDS or self.ends > 1

    @property
    def error(self) -> str:
        """What its client was told to have failed; empty for nothing."""
        error, succeeded = _ERRORS[self.kind](self._final) if self.finals else ("", True)
        return "" if succeeded else error or "no reason"

    @property
    def is_anew(self) -> bool:
        """Whether its final message says that it is another answer than the one that was streamed."""
        return self.kind is Kind.STREAMED and bool(self.finals) and WRITTEN_ANEW in _chat(self._final)[0]

    @property
    def lacks_documents(self) -> bool:
        """Whether it was to be answered from documents, and was answered without."""
        if self.kind is not Kind.RETRIEVED or not self.finals or self.error:
            return False
        return not messages_pb2.ChatResponse.FromString(self._final).used_rag

    def heard(self, payload: bytes, subject: str, at: float) -> None:
        """Take a final message."""
        self.answered_at = self.answered_at or at
        self.finals.setdefault(subject, []).append(payload)

    @property
    def _final(self) -> bytes:
        return next(iter(self.finals.values()))[0]


def _chat(payload: bytes) -> tuple[str, bool]:
    response = messages_pb2.ChatResponse.FromString(payload)
    return response.error, response.success


def _greeting(payload: bytes) -> tuple[str, bool]:
    return "", bool(messages_pb2.GreetingResponse.FromString(payload).greeting)


def _voice(payload: bytes) -> tuple[str, bool]:
    response = messages_pb2.VoiceResponse.FromString(payload)
    return response.error, not response.error


_ERRORS: Mapping[Kind, Callable[[bytes], tuple[str, bool]]] = {
    Kind.STREAMED: _chat,
    Kind.RETRIEVED: _chat,
    Kind.GREETING: _greeting,
    Kind.SPOKEN: _voice,
}


def ask(kind: Kind, name: str) -> Asked:
    """Return a request that is not sent yet."""
    user, text = f"user-{name}", f"Question {name}, tokens={WORDS} every={TOKEN_MS}"
    subject, request = subject_for(CHAT_MESSAGE, user_id=user), _request(kind, name, user, text)
    match kind:
        case Kind.STREAMED:
            pass
        case Kind.RETRIEVED:
            subject = subject_for(CHAT_REQUEST)
        case Kind.GREETING:
            subject = subject_for(GREETING_REQUEST, user_id=user)
            name = user
        case Kind.SPOKEN:
            subject = subject_for(VOICE_REQUEST)
    return Asked(kind, name, subject, request.SerializeToString())


def _request(kind: Kind, name: str, user: str, text: str) -> Message:
    match kind:
        case Kind.STREAMED:
            return messages_pb2.ChatRequest(request_id=name, user_id=user, message=text, enable_streaming=True)
        case Kind.RETRIEVED:
            return messages_pb2.ChatRequest(
                request_id=name, user_id=user, message=text, enable_rag=True, enable_reranker=True
            )
        case Kind.GREETING:
            return messages_pb2.GreetingRequest(user_id=user, nickname="Ada")
        case Kind.SPOKEN:
            return messages_pb2.VoiceRequest(request_id=name, audio=_SILENCE)


def _silence() -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(3200))
    return written.getvalue()


_SILENCE = _silence()


@dataclass(frozen=True, slots=True)
class Happened:
    """When a fault happened, and what was open then.

    Attributes:
        at: Seconds of `time.monotonic()`.
        in_flight: Requests that were sent and not answered.
    """

    at: float
    in_flight: int


@dataclass(frozen=True, slots=True)
class Account:
    """What became of requests.

    Attributes:
        sent: How many were sent.
        once: How many were answered once, in time or late.
        twice: Of how many something came twice: see `Asked.is_twice`.
        lost: How many were never answered.
        late: How many were answered behind their client's time-out.
        failed: How many were told of an error.
        anew: How many got a final message that is another answer than the one that was streamed.
        without_documents: How many were to be answered from documents, and were answered without.
        sent_again: How many were sent again, by a client that had lost its connection.
        in_flight: How many were open when the fault happened, at most.
        recovery_s: Seconds from the fault to the last answer that came slowly, or failed, or to the time at which the
            last request was sent that was lost; 0 where none was touched. Of several faults, the longest.
        gap_s: The longest time in which no answer came, from the first fault on.
        steady_s: Median of the seconds that an answer took before the fault.
        errors: What clients were told, with how many of each.
    """

    sent: int
    once: int
    twice: int
    lost: int
    late: int
    failed: int
    anew: int
    without_documents: int
    sent_again: int
    in_flight: int
    recovery_s: float
    gap_s: float
    steady_s: float
    errors: dict[str, int]


_SLOW = 1.5
_SLOW_S = 0.25
"""An answer is slow that takes so many times as long as before the fault, and so many seconds more."""


def account(asked: list[Asked], faults: list[Happened], timeout_s: float) -> Account:
    """Return what became of requests.

    Args:
        asked: All that were sent.
        faults: When faults happened; at least one.
        timeout_s: Seconds after which a client waits no more.
    """
    first = faults[0].at
    before = sorted(one.seconds for one in asked if one.answered_at and one.answered_at < first)
    steady_s = before[len(before) // 2] if before else 0.0
    answered = [one for one in asked if one.answered_at]
    return Account(
        sent=len(asked),
        once=sum(not one.is_twice for one in answered),
        twice=sum(one.is_twice for one in asked),
        lost=len(asked) - len(answered),
        late=sum(one.seconds > timeout_s for one in answered),
        failed=sum(bool(one.error) for one in answered),
        anew=sum(one.is_anew for one in answered),
        without_documents=sum(one.lacks_documents for one in answered),
        sent_again=sum(one.sends > 1 for one in asked),
        in_flight=max(fault.in_flight for fault in faults),
        recovery_s=_recovery_s(asked, [fault.at for fault in faults], _SLOW * steady_s + _SLOW_S),
        gap_s=_longest_gap([first, *(one.answered_at for one in answered if one.answered_at >= first)]),
        steady_s=steady_s,
        errors=dict(Counter(one.error for one in answered if one.error)),
    )


def _recovery_s(asked: list[Asked], faults: list[float], slow_s: float) -> float:
    touched = [
        one.answered_at or one.sent_at for one in asked if not one.answered_at or one.error or one.seconds > slow_s
    ]
    longest = 0.0
    for at, following in zip(faults, [*faults[1:], float("inf")], strict=True):
        longest = max([longest, *(time - at for time in touched if at <= time < following)])
    return longest


def _longest_gap(times: list[float]) -> float:
    ordered = sorted(times)
    return max((after - before for before, after in itertools.pairwise(ordered)), default=0.0)
